"""A loss that can't be learnt from is told what it is; what stays usable after one that is not finite."""

import signal
import subprocess
import sys
import textwrap

from lora_teach import LoRAModel, NonFiniteLoss, train, training_steps
from tests.toy import BadGradient, TinyGPT, bits, mlp, numbers, same_bits, tokens

import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


def data(count=2):
    return [(numbers(5, 6, seed=n), numbers(5, 4, seed=10 + n)) for n in range(count)]


def cross_entropy(output, targets):
    return nn.functional.cross_entropy(output.flatten(0, -2), targets.flatten())


def shifted(output, batch):
    return cross_entropy(output[:, :-1], batch["labels"][:, 1:])


class Named(TinyGPT):
    def forward(self, tokens, labels=None):
        return super().forward(tokens)


ALL, FIRST = torch.full((3, 5), -100), torch.full((3, 5), -100)
FIRST[:, 0] = 4
ZERO = nn.CrossEntropyLoss(ignore_index=0)
SPOILT = {
    "all ignored": ((tokens(), ALL), cross_entropy, "Every label of this batch is -100"),
    "in a mapping": ({"tokens": tokens(), "labels": ALL}, shifted, "Every label of this batch is -100"),
    "all but the first, which is shifted away": ({"tokens": tokens(), "labels": FIRST}, shifted, "Every label"),
    "another mark": ((tokens(3, 5)[0], tokens(3, 5)[0] * 0), ZERO, "Every label of this batch is 0"),
    "no examples": ((tokens()[:0], ALL[:0]), cross_entropy, "are empty"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_batch_with_nothing_to_learn_from_is_called_so(kind):
    batch, loss_fn, words = SPOILT[kind]
    model = LoRAModel(Named(tied=False), rank=2)
    before = bits(model)
    with pytest.raises(NonFiniteLoss, match=f"at step 1. .*{words}") as caught:
        train(model, [batch], loss_fn, steps=2, progress=False)
    assert "learning rate" not in str(caught.value) and same_bits(bits(model), before)


def test_nan_in_data_and_in_parameters_are_told_apart():
    good, bad = data()
    with pytest.raises(NonFiniteLoss, match="the inputs of this batch hold nan"):
        train(LoRAModel(mlp(), rank=2), [(bad[0] * torch.nan, bad[1])], mse, progress=False)
    with pytest.raises(NonFiniteLoss, match="the targets of this batch hold nan"):
        train(LoRAModel(mlp(), rank=2), [(bad[0], bad[1] / 0)], mse, progress=False)
    model = LoRAModel(mlp(), rank=2)
    model.lora_layers["0"].lora_A.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteLoss, match="parameters hold nan or inf already"):
        train(model, [good], mse, progress=False)


LOSSES = {
    "none": (lambda o, t: mse(o, t, reduction="none"), ValueError, r"shape \(5, 4\).*reduction='mean'"),
    "rows": (lambda o, t: ((o - t) ** 2).mean(1), ValueError, r"shape \(5,\)"),
    "a float": (lambda o, t: mse(o, t).item(), TypeError, "gives a float.*without .item"),
    "an array": (lambda o, t: mse(o, t).detach().numpy(), TypeError, "gives a ndarray"),
    "nothing": (lambda o, t: None, TypeError, "gives a NoneType"),
    "a pair": (lambda o, t: (mse(o, t), o), TypeError, "gives a tuple"),
    "detached": (lambda o, t: mse(o, t).detach(), ValueError, "carries no gradient"),
    "by argmax": (lambda o, t: (o.argmax(-1) != 0).float().mean(), ValueError, "argmax"),
    "of the targets": (lambda o, t: t.mean(), ValueError, "carries no gradient"),
    "complex": (lambda o, t: (o.to(torch.complex64) * 1j).mean(), TypeError, "complex"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_that_is_no_number_with_a_gradient_is_named(kind):
    loss_fn, exception, words = LOSSES[kind]
    model = LoRAModel(mlp(), rank=2)
    before = bits(model)
    with pytest.raises(exception, match=f"loss_fn.*{words}|{words}"):
        train(model, data(), loss_fn, progress=False)
    assert same_bits(bits(model), before) and model.training


def test_a_loss_of_one_element_is_one_number():
    assert (
        len(train(LoRAModel(mlp(), rank=2), data(), lambda o, t: mse(o, t)[None, None], steps=2, progress=False)) == 2
    )


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode, lambda: torch.set_grad_enabled(False)])
def test_training_where_no_gradient_is_recorded_is_refused(off):
    model, words = LoRAModel(mlp(), rank=2), "under torch.(no_grad|inference_mode)"
    with off(), pytest.raises(RuntimeError, match=words):
        train(model, data(), mse, progress=False)
    steps = training_steps(model, data(), mse)
    next(steps)
    with off(), pytest.raises(RuntimeError, match=words):
        next(steps)
    torch.set_grad_enabled(True)


def test_data_and_adapters_made_under_inference_mode():
    with torch.inference_mode():
        batches, made = data(), LoRAModel(mlp(), rank=2)
    assert len(train(LoRAModel(mlp(), rank=2), batches, mse, steps=2, progress=False)) == 2
    with pytest.raises(RuntimeError, match="made under torch.inference_mode"):
        train(made, data(), mse, progress=False)


class Momentum(torch.optim.SGD):
    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1, momentum=0.9)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adagrad, torch.optim.RMSprop, Momentum])
@pytest.mark.parametrize("fault", ["a gradient", "the loss", "the parameters"])
def test_an_optimiser_of_ones_own_can_be_used_on_after_nan(kind, fault):
    model = LoRAModel(mlp(), rank=2)
    optimizer, calls = kind(model.trainable_parameters()), []

    def loss_fn(output, targets):
        calls.append(1)
        if len(calls) != 3:
            return mse(output, targets)
        if fault == "the parameters":
            optimizer.param_groups[0]["lr"] = 1e38 if kind is not torch.optim.AdamW else 1e37
        loss = mse(BadGradient.apply(output) if fault == "a gradient" else output, targets)
        return loss * torch.inf if fault == "the loss" else loss

    with pytest.raises(NonFiniteLoss, match="step 3"):
        train(model, data(), loss_fn, steps=6, optimizer=optimizer, progress=False)
    for state in optimizer.state.values():
        assert all(torch.isfinite(v).all() for v in state.values() if isinstance(v, torch.Tensor))
    optimizer.param_groups[0]["lr"] = 0.01
    assert len(train(model, data(), mse, steps=3, optimizer=optimizer, progress=False)) == 3


SETTINGS = [
    ({"max_grad_norm": -1}, ValueError, "max_grad_norm=-1 is not above 0"),
    ({"max_grad_norm": 0}, ValueError, "max_grad_norm=0 is not above 0"),
    ({"max_grad_norm": float("nan")}, ValueError, "max_grad_norm=nan"),
    ({"max_grad_norm": "1"}, TypeError, "max_grad_norm='1' is not a number"),
    ({"lr": 0}, ValueError, "lr=0 is not above 0"),
    ({"lr": -1e-3}, ValueError, "lr=-0.001"),
    ({"lr": None}, TypeError, "lr=None"),
    ({"schedule": lambda done: -1.0}, ValueError, "schedule gives the factor -1.0"),
    ({"schedule": lambda done: float("nan")}, ValueError, "schedule gives the factor nan"),
    ({"schedule": lambda done: None}, ValueError, "schedule gives the factor None"),
    ({"schedule": "cosine"}, TypeError, "schedule='cosine' is no function"),
    ({"loss_fn": "mse"}, TypeError, "loss_fn='mse' is no function"),
    ({"loss_fn": nn.CrossEntropyLoss}, TypeError, r"is a class. Give one that is made, CrossEntropyLoss\(\)"),
    ({"betas": 0.9}, ValueError, "betas=0.9 are not two numbers"),
    ({"betas": (0.9, 1.0)}, ValueError, r"betas=\(0.9, 1.0\)"),
    ({"betas": ("a", "b")}, ValueError, r"betas=\('a', 'b'\)"),
    ({"weight_decay": "no"}, ValueError, "weight_decay='no' is no number"),
    ({"weight_decay": float("nan")}, ValueError, "weight_decay=nan"),
    ({"seed": None}, ValueError, "seed=None is no whole number"),
    ({"seed": 2**70}, ValueError, "seed=11805.* of 64 bits"),
    ({"batches": 5}, TypeError, "batches is a int. Give a DataLoader"),
    ({"validation": 5}, TypeError, "validation is a int. Give a DataLoader"),
    ({"optimizer": torch.optim.SGD}, TypeError, "is no optimiser"),
    ({"optimizer": "adamw"}, TypeError, "is no optimiser"),
]


@pytest.mark.parametrize(("options", "exception", "words"), SETTINGS)
def test_settings_that_can_not_be_meant_are_refused_before_a_step(options, exception, words):
    model = LoRAModel(mlp(), rank=2)
    before = bits(model)
    with pytest.raises(exception, match=words):
        train(model, **{"batches": data(), "loss_fn": mse, "progress": False} | options)
    assert same_bits(bits(model), before)


@pytest.mark.parametrize("kind", [torch.optim.LBFGS])
def test_an_optimiser_that_needs_a_closure_is_refused_by_name(kind):
    model = LoRAModel(mlp(), rank=2)
    with pytest.raises(ValueError, match="LBFGS computes the loss several times a step"):
        train(model, data(), mse, optimizer=kind(model.trainable_parameters()), progress=False)


INTERRUPTED = """
    import signal, sys, importlib
    from importlib.abc import MetaPathFinder
    import torch
    from torch import nn
    from lora_teach import LoRAModel, train

    class Interrupting(MetaPathFinder):  # a Ctrl-C in the middle of torch's own import
        come = False
        def find_spec(self, name, path, target=None):
            if name == {module!r} and not self.come:
                Interrupting.come = True
                signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background is given another
    sys.meta_path.insert(0, Interrupting())
    model = LoRAModel(nn.Sequential(nn.Linear(6, 4)), rank=2)
    def run():
        return train(model, [(torch.ones(2, 6), torch.ones(2, 4))], nn.functional.mse_loss, steps=2, progress=False)
    first = run()
    assert Interrupting.come and first.stopped == "interrupted after step 0 of 2", first
    assert len(run()) == 2
"""


@pytest.mark.parametrize("module", ["torch._dynamo.convert_frame", "torch._dynamo.utils", "torch._dynamo.config"])
def test_ctrl_c_in_torchs_lazy_import_leaves_nothing_broken(module):
    code = textwrap.dedent(INTERRUPTED).replace("{module!r}", repr(module))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_handler_of_ctrl_c_is_the_one_that_was_found():
    found = signal.getsignal(signal.SIGINT)
    train(LoRAModel(mlp(), rank=2), data(), mse, steps=1, progress=False)
    assert signal.getsignal(signal.SIGINT) is found
