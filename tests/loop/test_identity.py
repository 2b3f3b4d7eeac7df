"""A checkpoint belongs to one run: any other is refused with what differs, before anything is written."""

import math

from lora_teach import LoRAModel, train, training_steps
from lora_teach.loop.fingerprints import Digest, of_tensors
from tests.toy import bits, mlp, numbers, same_bits

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

mse = nn.functional.mse_loss


def data(seed=0, size=4, count=3):
    return [(numbers(size, 6, seed=seed + n), numbers(size, 4, seed=50 + seed + n)) for n in range(count)]


def run(
    folder, make=mlp, batches=None, wrap=True, base=None, optimizer=None, stop=None, loss_fn=mse, change=None, **options
):
    config = {"rank": 2} | {
        key: options.pop(key) for key in ("alpha", "dropout", "target_modules", "rank") if key in options
    }
    torch.manual_seed(0)
    model = LoRAModel(base or make(), **config) if wrap else make()
    if change:
        change(model)
    before = bits(model)
    given = optimizer and optimizer(model)
    try:
        for step in training_steps(model, batches or data(), loss_fn, steps=6, checkpoint=folder, checkpoint_every=2,
                                   optimizer=given, **options):  # fmt: skip
            if step.index == stop:
                break
    except ValueError:
        assert same_bits(bits(model), before), "something was written before it was refused"
        raise
    return model


def sgd(**options):
    return lambda model: torch.optim.SGD(model.parameters(), **({"lr": 0.1} | options))


def larger_dropout():
    return nn.Sequential(*mlp()[:2], nn.Dropout(0.2), mlp()[2])


def powered(power):
    return lambda output, targets: (output - targets).abs().pow(power).mean()


class Clipped(nn.Module):
    def __init__(self, limit):
        super().__init__()
        self.net, self.limit = mlp(), limit

    def forward(self, x):
        return self.net(x).clamp(-self.limit, self.limit)


# What is told by no name and no printed setting: (as it was, as it is, what differs).
UNNAMED = {
    "a lambda": ({"loss_fn": lambda o, t: mse(o, t)}, {"loss_fn": lambda o, t: (o - t).abs().mean()}, "loss_fn"),
    "a number it holds": ({"loss_fn": powered(2.0)}, {"loss_fn": powered(1.0)}, "loss_fn"),
    "a loss's setting": ({"loss_fn": nn.HuberLoss(delta=1.0)}, {"loss_fn": nn.HuberLoss(delta=0.1)}, "loss_fn"),
    "the last steps' rate": ({"schedule": lambda s: 1 - (s > 0.8)}, {"schedule": lambda s: 1 - (s > 0.85)}, "schedule"),
    "the base's limit": ({"make": lambda: Clipped(1.0)}, {"make": lambda: Clipped(0.1)}, "modules"),
}


@pytest.mark.parametrize("kind", UNNAMED)
def test_what_no_name_tells_counts_too(tmp_path, kind):
    was, now, words = UNNAMED[kind]
    run(tmp_path, stop=4, **was)
    with pytest.raises(ValueError, match=f"is of a run with [^=]*{words}"):
        run(tmp_path, **now)
    run(tmp_path, **was)


OTHERS = {
    "data": ({"batches": data(seed=7)}, "data='"),
    "one number of the data": ({"batches": [(x + (n == 2) * 1e-6, y) for n, (x, y) in enumerate(data())]}, "data='"),
    "batch size": ({"batches": data(size=3)}, "data='"),
    "one more batch": ({"batches": data(count=4)}, "data='"),
    "alpha": ({"alpha": 64}, "scaling of 0=1.0, and this one has scaling of 0=32.0"),
    "dropout": ({"dropout": 0.1}, "dropout of 0=0.0, and this one has dropout of 0=0.1"),
    "base": ({"base": mlp(seed=5)}, "base='"),
    "targets": ({"target_modules": ["0"]}, "the layer at 2='LoRALayer', and this one has the layer at 2=None"),
    "rank": ({"rank": 3}, r"\[6, 2\]"),
    "optimiser": ({"optimizer": sgd()}, "lr of the optimiser's group 0=None.*=0.1|optimizer=None"),
    "clipping": ({"max_grad_norm": 1.0}, "max_grad_norm=None, and this one has max_grad_norm=1.0"),
    "schedule": ({"schedule": lambda done: 1 - done}, "schedule=None"),
    "loss": ({"loss_fn": nn.functional.l1_loss}, "loss_fn='mse_loss', and this one has loss_fn='l1_loss'"),
    "mixture": ({"change": lambda model: model.set_adapter({"default": 0.5})}, "weight of adapter default=1.0"),
    "a layer": ({"change": lambda model: setattr(model.lora_layers["0"], "dropout", 0.5)}, "dropout of 0=0.0"),
    "frozen A": (
        {"change": lambda m: m.lora_layers["0"].lora_A.requires_grad_(False)},
        "parameter adapters.default.0.lora_A",
    ),
    "the base's dropout": ({"make": larger_dropout, "target_modules": ["0"]}, "this one has"),
    "a plain module": ({"wrap": False}, "this one has"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_run_is_refused_with_what_differs(tmp_path, kind):
    run(tmp_path, stop=4)
    options, words = OTHERS[kind]
    with pytest.raises(ValueError, match=f"is of a run with .*({words})"):
        run(tmp_path, **options)
    run(tmp_path)  # and the right one goes on


@pytest.mark.parametrize(
    ("was", "now"),
    [({}, {"lr": 0.2}), ({}, {"momentum": 0.9}), ({"nesterov": True, "momentum": 0.9}, {"momentum": 0.9})],
)
def test_an_optimiser_of_ones_own_counts_with_its_settings(tmp_path, was, now):
    run(tmp_path, stop=4, optimizer=sgd(**was))
    with pytest.raises(ValueError, match="of the optimiser's group 0="):
        run(tmp_path, optimizer=sgd(**now))
    with pytest.raises(ValueError, match="optimizer='SGD', and this one has optimizer=None"):
        run(tmp_path)
    run(tmp_path, optimizer=sgd(**was))


class OnTheFly:
    """Data that is made while it is read, so that nothing can be told of it beforehand."""

    seed = property(lambda self: self.__class__.first)
    first = 0

    def __iter__(self):
        return iter(data(seed=self.seed))


def test_data_that_is_made_on_the_fly_is_compared_as_far_as_it_was_read(tmp_path, monkeypatch):
    run(tmp_path, batches=OnTheFly(), stop=4)
    monkeypatch.setattr(OnTheFly, "first", 9)
    with pytest.raises(ValueError, match="other data: its 4 batches were not these"):
        run(tmp_path, batches=OnTheFly())
    monkeypatch.undo()
    run(tmp_path, batches=OnTheFly())


def loader(seed=0, **options):
    return DataLoader(TensorDataset(numbers(9, 6, seed=seed), numbers(9, 4)), **({"batch_size": 4} | options))


@pytest.mark.parametrize("other", [{"seed": 1}, {"batch_size": 3}, {"drop_last": True}, {"shuffle": True}])
def test_a_loader_counts_with_its_data_and_settings(tmp_path, other):
    run(tmp_path, batches=loader(), stop=2)
    with pytest.raises(ValueError, match="data="):
        run(tmp_path, batches=loader(**other))
    run(tmp_path, batches=loader())


def test_the_same_run_is_taken_up_again_whatever_it_is_called_by(tmp_path):
    for make in (mlp, lambda: mlp().eval()):
        model = run(tmp_path, make=make, stop=None)
    whole = run(None)
    assert same_bits(bits(model), bits(whole))


def test_a_plain_module_is_resumed_whatever_it_started_from(tmp_path):
    first = run(tmp_path, wrap=False)
    again = run(tmp_path, wrap=False, make=lambda: mlp(seed=3))
    assert same_bits(bits(first), bits(again))


VALUES = [
    *(None, True, 1, 1.0, "1", b"1", [1], [[1]], {"1": 1}, {"1": 2}, [], {}, math.nan, OnTheFly(), print, nn.Linear),
    *(torch.ones(1), torch.ones(1, dtype=torch.int32), torch.ones(1, 1), torch.ones(0), torch.tensor([math.nan])),
    *(np.ones(1), np.ones(1, dtype=np.float32), torch.ones(2).to_sparse()),
]


def test_digests_tell_values_apart_and_agree_on_the_same():
    digests = [str(Digest().add(value)) for value in VALUES]
    assert len(set(digests)) == len(VALUES)
    assert digests == [str(Digest().add(value)) for value in VALUES]
    view = torch.arange(6.0).view(2, 3).T
    assert str(Digest().add(view)) == str(Digest().add(view.contiguous()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.bool])
def test_the_digest_of_weights_sees_one_bit_and_a_swap(dtype):
    weight = (numbers(40, 30) > 0 if dtype is torch.bool else numbers(40, 30) * 50).to(dtype)
    before, changed = of_tensors({"w": weight}), weight.clone()
    changed.view(torch.uint8).view(-1)[777] ^= 1
    assert of_tensors({"w": changed}) != before == of_tensors({"w": weight.clone()})
    assert of_tensors({"v": weight}) != before and of_tensors({"w": weight.flip(0)}) != before
    assert of_tensors({"w": weight.to("meta")}) and of_tensors({"w": weight[:0]})


def test_no_digest_is_made_where_nothing_is_kept(monkeypatch):
    monkeypatch.setattr("lora_teach.loop.checkpoints.table", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(Digest, "add", lambda *_: pytest.fail("asked"))
    train(LoRAModel(mlp(), rank=2), data(), mse, steps=2, progress=False)
