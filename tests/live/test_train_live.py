import asyncio
import inspect

from lora_teach import LoRAModel, train
from lora_teach.live import explore, monitor, train_live
from lora_teach.live import watch as watching
from lora_teach.live.train_live import Curve
from lora_teach.training import History, NonFiniteLoss, training_steps
from tests.live.toy import Toy

import ipywidgets
import numpy as np
import pytest
import torch
from torch import nn

BATCHES = [
    (x, x.sum(1, keepdim=True)) for x in torch.randn(20, 8, 6, generator=torch.Generator().manual_seed(0)).unbind()
]
LOSS = nn.functional.mse_loss


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))


def run(*arguments, **options):
    return asyncio.run(train_live(*arguments, **options))


@pytest.fixture
def eager(monkeypatch):
    """Looks at the page and draws after every step, so that nothing depends on the clock."""
    monkeypatch.setattr(watching, "PAUSE", -1.0)
    monkeypatch.setattr(monitor, "FRAME", -1.0)


@pytest.fixture
def seen(monkeypatch):
    """The monitors that were put up."""
    made = []

    class Seen(monitor.Monitor):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(watching, "Monitor", Seen)
    return made


def at_step(number, action, monkeypatch):
    """Makes ``action`` happen while the page is looked at after that many steps, as a click would."""
    original = monitor.Monitor.draw_if_due

    def draw(self, history):
        original(self, history)
        if len(history) == number:
            asyncio.get_running_loop().call_soon(action, self)

    monkeypatch.setattr(monitor.Monitor, "draw_if_due", draw)


def test_watching_changes_nothing_that_is_trained(eager):
    watched, plain = network(), network()
    history = run(watched, BATCHES, LOSS, steps=30, lr=1e-2, seed=3)
    expected = train(plain, BATCHES, LOSS, steps=30, lr=1e-2, seed=3, progress=False)
    assert history.loss == expected.loss and history.lr == expected.lr and history.stopped is None
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), plain.parameters(), strict=True))


def test_a_lora_model_trains_live():
    model = LoRAModel(network(), rank=1, target_modules=["0"])
    base = model.base_model[0].weight.detach().clone()
    history = run(model, BATCHES, LOSS, steps=20, lr=1e-2)
    assert len(history) == 20 and history.stopped is None
    assert (model.lora_layers["0"].lora_B != 0).any()
    assert torch.equal(model.base_model[0].weight, base)


def test_stop_ends_the_run_and_leaves_model_and_history(eager, seen, monkeypatch):
    at_step(7, lambda shown: shown.button.click(), monkeypatch)
    model = network().eval()
    history = run(model, BATCHES, LOSS, steps=1000)
    assert len(history) == 7 and history.stopped == "stopped after step 7 of 1000"
    assert seen[0].button.disabled
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert history.loss == run(network(), BATCHES, LOSS, steps=7).loss


def test_the_kernels_interrupt_of_a_waiting_cell_ends_the_run(eager, seen, monkeypatch):
    async def cell():
        task = asyncio.current_task()
        at_step(4, lambda shown: task.cancel(), monkeypatch)
        history = await train_live(network(), BATCHES, LOSS, steps=1000)
        await asyncio.sleep(0)  # the cell goes on undisturbed
        return history

    history = asyncio.run(cell())
    assert len(history) == 4 and history.stopped == "stopped after step 4 of 1000"


def test_a_keyboard_interrupt_inside_a_step_ends_the_run(seen):
    def interrupted(output, targets):
        interrupted.count += 1
        if interrupted.count == 6:
            raise KeyboardInterrupt
        return LOSS(output, targets)

    interrupted.count = 0
    history = run(network(), BATCHES, interrupted, steps=1000)
    assert len(history) == 5 and history.stopped == "stopped after step 5 of 1000"
    assert seen[0].drawing.losses._mean.get_xdata()[-1] == 5


def test_an_exception_of_the_loss_is_raised_and_the_curve_so_far_is_drawn(seen):
    def failing(output, targets):
        failing.count += 1
        if failing.count == 6:
            raise ZeroDivisionError("the sixth batch")
        return LOSS(output, targets)

    failing.count = 0
    with pytest.raises(ZeroDivisionError, match="the sixth batch"):
        run(network(), BATCHES, failing, steps=1000)
    assert seen[0].drawing.losses._mean.get_xdata()[-1] == 5


def test_a_loss_that_is_not_finite_keeps_the_history():
    def exploding(output, targets):
        exploding.count += 1
        return LOSS(output, targets) * (float("inf") if exploding.count == 4 else 1.0)

    exploding.count = 0
    with pytest.raises(NonFiniteLoss) as caught:
        run(network(), BATCHES, exploding, steps=10)
    assert len(caught.value.history) == 3
    assert caught.value.history.stopped == "not finite at step 4 of 10"


def test_a_model_in_which_nothing_trains_is_refused():
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        run(network().requires_grad_(False), BATCHES, LOSS)


def test_bad_arguments_are_refused_before_anything_is_shown(seen):
    with pytest.raises(ValueError):
        run(network(), BATCHES, LOSS, steps=0)
    with pytest.raises(TypeError):
        run(network(), BATCHES, LOSS, learning_rate=1.0)
    assert not seen


def test_the_bar_the_time_left_and_the_curve_follow(eager, seen, monkeypatch):
    states = []

    def look(shown):
        states.append((shown._bar.value, shown._text.value, len(shown.drawing.losses._raw.get_xdata())))

    for number in (3, 9):
        at_step(number, look, monkeypatch)
    run(network(), BATCHES, LOSS, steps=10)
    assert [state[0] for state in states] == [3, 9] and [state[2] for state in states] == [3, 9]
    assert states[0][1].startswith("step 3 of 10, ") and states[0][1].endswith(" s left")
    assert seen[0]._bar.max == 10


def test_without_steps_the_trainings_own_default_is_the_plan(seen):
    history = run(network(), BATCHES, LOSS)
    default = inspect.signature(training_steps).parameters["steps"].default
    assert len(history) == seen[0].planned == default


def test_what_stays_does_not_depend_on_when_it_was_drawn(seen, monkeypatch):
    run(network(), BATCHES, LOSS, steps=60, lr=1e-2)
    monkeypatch.setattr(watching, "PAUSE", -1.0)
    monkeypatch.setattr(monitor, "FRAME", -1.0)
    run(network(), BATCHES, LOSS, steps=60, lr=1e-2)
    assert np.array_equal(*(monitor.drawing.picture.whole() for monitor in seen))


def test_reference_runs_are_drawn_beside_it(seen):
    earlier = run(network(), BATCHES, LOSS, steps=10)
    run(network(), BATCHES, LOSS, steps=10, reference={"earlier": earlier, "a list": [9.0, 8.0, 7.0]}, title="Mine")
    axes = seen[1].drawing.losses.picture.figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels[:2] == ["earlier", "a list"] and axes.get_title(loc="left") == "Mine"
    assert list(axes.lines[1].get_ydata()) == [9.0, 8.0, 7.0]
    assert axes.get_ylim()[1] > 9.0


def test_the_sentence_tells_what_became_of_the_loss_and_nothing_of_the_clock():
    history = History(loss=[3.0, 2.0, 1.0, 0.5])
    assert Curve(4, "").sentence(history) == "4 steps: the loss went from 3.00 to 0.50."
    assert Curve(9, "").sentence(history) == "Ended after 4 of 9 steps: the loss went from 3.00 to 0.50."
    history.loss += [0.5] * 36  # a twentieth of the run is now two steps
    assert Curve(40, "").sentence(history) == (
        "40 steps: the loss went from 3.00 to 0.50, the mean of the last 2 steps."
    )


def test_an_explorer_moved_meanwhile_shows_its_last_place(eager, monkeypatch):
    explorer = explore(Toy())
    for number in range(2, 12):
        at_step(number, lambda shown, n=number: setattr(explorer.controls["speed"], "value", n), monkeypatch)
    history = run(network(), BATCHES, LOSS, steps=30)
    assert explorer.sentence == "At speed 11 the height is 1.00."
    assert history.loss == run(network(), BATCHES, LOSS, steps=30).loss


def test_many_runs_leave_no_widgets_behind():
    run(network(), BATCHES, LOSS, steps=3)
    before = len(ipywidgets.widgets.widget._instances)
    for _ in range(3):
        run(network(), BATCHES, LOSS, steps=3)
    assert len(ipywidgets.widgets.widget._instances) == before
