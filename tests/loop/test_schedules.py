"""Schedules of the learning rate are transformers' own, one step on, so that no step has a rate of zero."""

from lora_teach import LoRAModel, train
from lora_teach.loop.schedules import DECAYS, schedule_for

import pytest
import torch
from torch import nn


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize(("steps", "warmup"), [(20, 0.25), (20, 0.0), (7, 0.5), (1, 0.0), (100, 0.99)])
def test_the_factors_are_those_of_transformers(kind, steps, warmup):
    optimization = pytest.importorskip("transformers.optimization")
    rising = round(warmup * steps)
    ours = [schedule_for(kind, steps, warmup)(step / steps) for step in range(steps)]
    own = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    options = {} if kind == "constant" else {"num_training_steps": steps}
    make = getattr(optimization, f"get_{kind}_schedule_with_warmup")
    theirs = make(own, num_warmup_steps=rising, **options).lr_lambdas[0]
    assert ours[rising:] == pytest.approx([theirs(step) for step in range(rising, steps)])
    # Theirs begins at zero: the rise is one step longer here, and begins above it.
    assert ours[:rising] == pytest.approx([(step + 1) / (rising + 1) for step in range(rising)])
    assert all(0 < factor <= 1 for factor in ours)


def test_a_run_has_these_rates():
    torch.manual_seed(0)
    model = LoRAModel(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), rank=1)
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))]
    for kind, rates in (("constant", [1, 1, 1, 1]), ("linear", [1, 0.75, 0.5, 0.25])):
        schedule = schedule_for(kind, 4, warmup=0)
        history = train(model, batches, nn.CrossEntropyLoss(), lr=0.1, steps=4, schedule=schedule, progress=False)
        assert history.lr == pytest.approx([0.1 * rate for rate in rates])
    assert [schedule_for("cosine", 20)(step / 20) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])  # a tenth


def test_what_can_not_be_meant_is_refused():
    for kind in ("step", None, 1):
        with pytest.raises(ValueError, match=r"Use one of: 'constant', 'linear', 'cosine'"):
            schedule_for(kind, 10)
    for warmup in (1, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"warmup={warmup} is outside \[0, 1\)"):
            schedule_for("linear", 10, warmup)
    with pytest.raises(TypeError, match="warmup='x' is not a number"):
        schedule_for("linear", 10, "x")
    with pytest.raises(ValueError, match="steps=0"):
        schedule_for("linear", 0)
