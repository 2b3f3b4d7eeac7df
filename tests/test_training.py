"""The training loop."""

import inspect
import math

from lora_teach import History, LoRAModel, NonFiniteLoss, Step, train, training_steps
from tests.toy import BadGradient, TinyGPT, bits, filled, fixed, mlp, pairs, picture, same_bits, tokens

import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


def trained(model, **options):
    """The losses of a short run."""
    return [step.loss for step in training_steps(model, pairs(), mse, **({"lr": 1e-2, "steps": 7} | options))]


@pytest.fixture
def model():
    return filled(LoRAModel(mlp()))


# What a step is.


def test_steps_count_from_one_and_tell_loss_lr_and_seconds(model):
    with torch.no_grad():
        first = mse(model(pairs()[0][0]), pairs()[0][1]).item()
    steps = list(training_steps(model, pairs(), mse, lr=1e-2, steps=7))
    assert [step.index for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert steps[0].loss == pytest.approx(first)  # the batch's loss before the update
    assert {step.lr for step in steps} == {1e-2}
    assert all(isinstance(step, Step) and step.seconds > 0 for step in steps)


def test_the_loop_is_adamw_written_out(model):
    other = filled(LoRAModel(mlp()))
    optimizer = torch.optim.AdamW(other.lora_layers.parameters(), lr=1e-2, weight_decay=0.1, betas=(0.8, 0.95))
    losses = []
    for index in range(7):
        inputs, targets = pairs()[index % 3]
        optimizer.zero_grad()
        loss = mse(other(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert trained(model, weight_decay=0.1, betas=(0.8, 0.95)) == pytest.approx(losses, rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_training_lowers_the_loss(model):
    losses = trained(model, steps=60)
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_nothing_is_computed_before_the_first_step_is_asked_for(model):
    before = picture(model)
    training_steps(model, pairs(), mse)
    assert picture(model)["bits"].keys() == before["bits"].keys()
    assert same_bits(before["bits"], bits(model))


def test_gradients_can_be_looked_at_between_steps_and_are_gone_afterwards(model):
    for _ in training_steps(model, pairs(), mse, steps=2):
        assert all(p.grad is not None for p in model.lora_layers.parameters())
        assert all(p.grad is None for p in model.base_model.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_train_returns_the_history_and_its_lengths_agree(model, capsys):
    history = train(model, pairs(), mse, lr=1e-2, steps=7, progress=False)
    assert isinstance(history, History)
    assert len(history) == len(history.loss) == len(history.lr) == len(history.seconds) == 7
    assert history.stopped is None
    assert history.loss == trained(filled(LoRAModel(mlp())))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_train_and_training_steps_have_the_same_defaults():
    mine, whole = (inspect.signature(function).parameters for function in (train, training_steps))
    shared = mine.keys() & whole.keys()
    assert {"loss_fn", "lr", "steps", "checkpoint", "seed"} <= shared
    assert {name: mine[name].default for name in shared} == {name: whole[name].default for name in shared}
    assert (whole["lr"].default, whole["steps"].default, whole["seed"].default) == (1e-3, 200, 0)


def test_the_progress_bar_is_on_stderr(model, capsys):
    train(model, pairs(), mse, steps=3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "training: 100%" in shown.err and "3/3" in shown.err
    assert "loss=" in shown.err


# The optimiser.


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, None])
def test_bad_numbers_of_steps_are_refused(model, steps):
    with pytest.raises((ValueError, TypeError), match="steps="):
        list(training_steps(model, pairs(), mse, steps=steps))


def test_a_schedule_multiplies_the_learning_rate_by_its_factor_of_the_run(model):
    asked = []

    def schedule(done):
        asked.append(done)
        return 1 - done

    steps = list(training_steps(model, pairs(), mse, lr=0.1, steps=4, schedule=schedule))
    assert asked == [0, 0.25, 0.5, 0.75]
    assert [step.lr for step in steps] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_clipping_limits_the_gradients_total_norm(model):
    for _ in training_steps(model, pairs(), mse, steps=2, max_grad_norm=1e-3):
        total = torch.cat([p.grad.flatten() for p in model.trainable_parameters()]).norm()
        assert total.item() == pytest.approx(1e-3, rel=1e-3)


# Modes.


def test_the_model_trains_in_training_mode_and_comes_back_in_the_one_it_was_found_in():
    model = LoRAModel(TinyGPT(), dropout=0.1).eval()
    model.base_model.blocks[0].norm.train()
    before = picture(model)["modes"]
    batches = [(tokens(), tokens(seed=4).flatten())]

    def loss_fn(output, targets):
        return nn.functional.cross_entropy(output.flatten(0, 1), targets)

    for _ in training_steps(model, batches, loss_fn, steps=2):
        assert model.training
        assert model.base_model.blocks[1].dropout.training
    assert picture(model)["modes"] == before


def test_a_part_that_the_user_holds_in_evaluation_stays_there():
    base = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    model = LoRAModel(base).train()
    base[1].eval()
    before, statistics = picture(model)["modes"], base[1].running_mean.clone()
    for _ in training_steps(model, pairs(), mse, steps=2):
        assert picture(model)["modes"] == before
    assert picture(model)["modes"] == before
    assert torch.equal(base[1].running_mean, statistics)


def test_evaluating_between_steps_does_not_end_training_mode(model):
    modes = []
    model.base_model[0].register_forward_pre_hook(lambda module, args: modes.append(module.training))
    for _ in training_steps(model, pairs(), mse, steps=3):
        model.eval()
    assert modes == [True] * 3


def test_leaving_the_loop_early_restores_the_mode_and_keeps_the_last_whole_step(model):
    model.eval()
    for step in training_steps(model, pairs(), mse, steps=100):
        if step.index == 2:
            state = bits(model)
            break
    assert not model.training
    assert same_bits(state, bits(model))
    assert all(p.grad is None for p in model.parameters())


def test_closing_the_generator_does_the_same(model):
    model.eval()
    steps = training_steps(model, pairs(), mse, steps=100)
    next(steps)
    assert model.training
    steps.close()
    assert not model.training


# What goes wrong.


def spoilt(at, value=math.nan):
    """A loss that is ``value`` at step ``at``."""
    calls = []

    def loss_fn(output, targets):
        calls.append(1)
        return mse(output, targets) * (value if len(calls) == at else 1.0)

    return loss_fn


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_loss_that_is_not_finite_stops_the_run_where_it_was_last_finite(model, at, value):
    states = [bits(model)]  # as they were when each step's loss was computed
    with pytest.raises(NonFiniteLoss, match=f"loss is -?(nan|inf) at step {at}.*learning rate.*alpha.*data") as caught:
        for _ in training_steps(model, pairs(), spoilt(at, value), lr=0.1, steps=5):
            states.append(bits(model))
    assert caught.value.step == at
    assert same_bits(bits(model), states[max(at - 2, 0)])
    assert all(p.grad is None for p in model.parameters())
    list(training_steps(model, pairs(), mse, steps=1))  # and the model is usable


def test_train_gives_the_history_along_with_the_error(model):
    with pytest.raises(NonFiniteLoss) as caught:
        train(model, pairs(), spoilt(4), steps=9, progress=False)
    assert len(caught.value.history) == 3
    assert all(map(math.isfinite, caught.value.history.loss))


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_gradient_that_is_not_finite_stops_the_run_at_that_step(model, at):
    calls, states = [], [bits(model)]

    def loss_fn(output, targets):
        calls.append(1)
        return mse(BadGradient.apply(output) if len(calls) == at else output, targets)

    with pytest.raises(NonFiniteLoss, match=f"not finite after step {at}") as caught:
        for _ in training_steps(model, pairs(), loss_fn, lr=0.1, steps=5):
            states.append(bits(model))
            assert all(torch.isfinite(p).all() for p in model.parameters())  # usable after every step
    assert len(states) == at
    assert "the loss is" not in str(caught.value)
    assert same_bits(bits(model), states[at - 1])


def test_a_learning_rate_that_explodes_leaves_finite_parameters(model):
    with pytest.raises(NonFiniteLoss):
        train(model, pairs(), mse, lr=1e30, steps=20, progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("moment", ["forward", "backward", "before_step", "half_way", "after_step"])
def test_ctrl_c_leaves_the_last_whole_step_and_the_history(model, moment):
    class Interrupting(torch.optim.SGD):
        calls = 0

        def step(self, closure=None):
            Interrupting.calls += 1
            if Interrupting.calls == 3 and moment == "before_step":
                raise KeyboardInterrupt
            if Interrupting.calls == 3 and moment == "half_way":
                with torch.no_grad():
                    self.param_groups[0]["params"][0].add_(1)
                raise KeyboardInterrupt
            return super().step(closure)

    calls = []

    class Interrupted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise KeyboardInterrupt

    def loss_fn(output, targets):
        calls.append(1)
        if len(calls) == 3 and moment == "forward":
            raise KeyboardInterrupt
        return mse(Interrupted.apply(output) if len(calls) == 3 and moment == "backward" else output, targets)

    def batches():
        for index, batch in enumerate(pairs(9)):
            if index == 2 and moment == "after_step":
                raise KeyboardInterrupt
            yield batch

    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    optimizer = Interrupting(model.trainable_parameters(), lr=0.1)
    history = train(model.eval(), list(pairs(9)) if moment != "after_step" else batches(), loss_fn, steps=9,
                    optimizer=optimizer, progress=False)  # fmt: skip
    assert torch.equal(torch.rand(2), expected)
    other = filled(LoRAModel(mlp()))
    train(
        other, pairs(9), mse, steps=2, optimizer=torch.optim.SGD(other.trainable_parameters(), lr=0.1), progress=False
    )
    assert len(history) == 2
    assert history.stopped == "interrupted after step 2 of 9"
    assert same_bits(bits(model), bits(other))
    assert not model.training


def test_an_error_in_the_optimiser_undoes_the_step(model):
    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            raise OSError("disk")

    before = bits(model)
    with pytest.raises(OSError, match="disk"):
        train(model, pairs(), mse, optimizer=Broken(model.trainable_parameters(), lr=0.1), progress=False)
    assert same_bits(before, bits(model))


def test_a_merged_model_is_refused(model):
    model.merge()
    before = bits(model)
    with pytest.raises(RuntimeError, match=r"merged.*unmerge\(\)"):
        train(model, pairs(), mse, progress=False)
    assert same_bits(before, bits(model))
    assert model.is_merged


# Full fine-tuning, and what moves.


def test_a_plain_module_is_fine_tuned_whole():
    base = mlp()
    before = bits(base)
    history = train(base, pairs(), mse, lr=1e-2, steps=30, progress=False)
    assert history.loss[-1] < history.loss[0]
    assert not any(torch.equal(value, before[key]) for key, value in bits(base).items())


def test_frozen_parameters_of_a_plain_module_stay():
    base = mlp()
    base[0].requires_grad_(False)
    before = bits(base[0])
    train(base, pairs(), mse, steps=3, weight_decay=0.5, progress=False)
    assert same_bits(before, bits(base[0]))


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_fifty_steps_do_not_move_the_base_by_one_bit(weight_decay):
    model = LoRAModel(TinyGPT())
    model.add_adapter("inactive")
    filled(model)
    before = bits(model)
    batches = [(tokens(seed=i), tokens(seed=i + 50).flatten()) for i in range(5)]

    def loss_fn(output, targets):
        return nn.functional.cross_entropy(output.flatten(0, 1), targets)

    train(model, batches, loss_fn, lr=1e-2, steps=50, weight_decay=weight_decay, progress=False)
    after = bits(model)
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert moved == {key for key in after if key.startswith("adapters.default.")}


def test_saved_modules_and_learnable_scalings_train_too():
    model = LoRAModel(TinyGPT(tied=False), modules_to_save=["head"], learnable_scaling=True)
    filled(model)
    before = bits(model)
    batches = [(tokens(), tokens(seed=9).flatten())]
    train(model, batches, lambda o, t: nn.functional.cross_entropy(o.flatten(0, 1), t), steps=2, progress=False)
    after = bits(model)
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert moved == {key for key in after if key.startswith(("adapters.", "saved_modules."))}
    assert any(key.endswith("scaling") for key in moved)


def test_mixtures_are_trained_together(model):
    model.add_adapter("b")
    filled(model).set_adapter({"default": 0.5, "b": 0.5})
    before = bits(model)
    train(model, pairs(), mse, steps=2, progress=False)
    moved = {key for key, value in bits(model).items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.startswith("adapters.")}


def test_a_replaced_layer_trains():
    model = LoRAModel(mlp())
    model.lora_layers["2"] = fixed(nn.Linear(8, 4))
    before = model.lora_layers["2"].weight.detach().clone()
    train(model, pairs(), mse, steps=1, progress=False)
    assert not torch.equal(model.lora_layers["2"].weight, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_bases_of_other_dtypes_train(dtype):
    model = filled(LoRAModel(mlp(dtype), rank=2))
    batches = [(x.to(dtype), y.to(dtype)) for x, y in pairs()]
    history = train(model, batches, lambda o, t: mse(o.float(), t.float()), lr=1e-2, steps=30, progress=False)
    assert history.loss[-1] < history.loss[0]
