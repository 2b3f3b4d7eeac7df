"""Held-out batches: the loss is a mean over what counts, the best numbers are kept, by a resumed run too."""

import itertools

from lora_teach import LoRAModel, train, training_steps
from lora_teach.loop.validation import losses, mean_loss

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

DATA = [(torch.randn(16, 6, generator=torch.Generator().manual_seed(n)), torch.arange(16) % 3) for n in range(3)]
HELD_OUT = [(torch.randn(8, 6, generator=torch.Generator().manual_seed(9)), torch.arange(8) % 3)]


def model(**options):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 12), nn.Dropout(0.5), nn.ReLU(), nn.Linear(12, 3))
    return LoRAModel(base, **({"rank": 3} | options))


def numbers(one):
    return [parameter.detach().clone() for parameter in one.trainable_parameters()]


def same(ours, theirs):
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_the_mean_is_over_the_targets_that_count():
    one = model()
    inputs, targets = torch.randn(7, 6), torch.tensor([0, 1, -100, 2, 2, -100, 1])
    parts = [(inputs[:2], targets[:2]), (inputs[2:3], targets[2:3]), (inputs[3:], targets[3:])]  # one counts nothing
    one.train()
    found = losses(one, parts, F.cross_entropy)
    assert [count for _, count in found] == [2, 3]
    assert one.training and one.base_model[1].training  # and it was measured without dropout:
    one.eval()
    whole = F.cross_entropy(one(inputs), targets).item()
    assert mean_loss(one, parts, F.cross_entropy) == pytest.approx(whole, rel=1e-6)
    assert not one.training
    with pytest.raises(ValueError, match="no batch with a target that counts"):
        losses(one, [parts[1]], F.cross_entropy)


def test_the_numbers_of_the_lowest_loss_are_kept():
    # Few examples and a high rate: the validation loss falls, then rises.
    one, seen = model(), {}
    for step in training_steps(one, DATA[:1], F.cross_entropy, lr=0.1, steps=40, validation=HELD_OUT, validate_every=3):
        if step.validation is not None:
            assert step.validation == mean_loss(one, HELD_OUT, F.cross_entropy)
            seen[step.index] = step.validation, numbers(one)
    assert list(seen) == [*range(3, 40, 3), 40]
    best = min(seen, key=lambda step: seen[step][0])
    assert 3 <= best < 40 and same(numbers(one), seen[best][1])

    two = model()
    history = train(
        two, DATA[:1], F.cross_entropy, lr=0.1, steps=40, validation=HELD_OUT, validate_every=3, progress=False
    )
    assert history.best == best and history.validation == [(step, loss) for step, (loss, _) in seen.items()]
    assert same(numbers(two), seen[best][1])


def test_looking_changes_nothing_of_the_run():
    plain, looked = model(dropout=0.3), model(dropout=0.3)
    options = {"lr": 0.01, "steps": 9}
    rows = list(zip(*HELD_OUT[0], strict=True))
    held_out = DataLoader(rows, batch_size=3, shuffle=True)  # which draws random numbers
    data = DataLoader(list(zip(*DATA[0], strict=True)), batch_size=5, shuffle=True)
    without = [(step.loss, numbers(plain)) for step in training_steps(plain, data, F.cross_entropy, **options)]
    before = torch.get_rng_state()
    steps = training_steps(looked, data, F.cross_entropy, validation=held_out, **options)
    for (loss, kept), step in zip(without, steps, strict=True):
        assert torch.equal(torch.get_rng_state(), before)
        assert step.loss == loss and same(numbers(looked), kept)
        assert step.validation is not None  # a tenth of nine steps is one
    history = train(model(), DATA, F.cross_entropy, steps=25, validation=HELD_OUT, progress=False)
    assert [step for step, _ in history.validation] == [3, 6, 9, 12, 15, 18, 21, 24, 25]
    history = train(model(), DATA, F.cross_entropy, steps=2, progress=False)
    assert history.validation == [] and history.best is None


@pytest.mark.parametrize("killed_after", [5, 12, 40])
def test_a_resumed_run_keeps_its_best(killed_after, tmp_path):
    options = {"lr": 0.1, "steps": 40, "validation": HELD_OUT, "validate_every": 3, "checkpoint_every": 5}
    whole, resumed = model(), model()
    expected = train(whole, DATA[:1], F.cross_entropy, progress=False, **options)
    steps = training_steps(model(), DATA[:1], F.cross_entropy, checkpoint=tmp_path, **options)
    list(itertools.islice(steps, killed_after))
    history = train(resumed, DATA[:1], F.cross_entropy, checkpoint=tmp_path, progress=False, **options)
    assert history.validation == expected.validation and history.best == expected.best
    assert same(numbers(resumed), numbers(whole))


def test_a_run_with_other_held_out_batches_is_not_resumed(tmp_path):
    options = {"steps": 4, "checkpoint": tmp_path, "progress": False}
    train(model(), DATA, F.cross_entropy, **options)
    with pytest.raises(ValueError, match="validation=None, and this one has validation='"):
        train(model(), DATA, F.cross_entropy, validation=HELD_OUT, validate_every=1, **options)
    train(model(), DATA, F.cross_entropy, validation=HELD_OUT, **(options | {"checkpoint": tmp_path / "other"}))
    with pytest.raises(ValueError, match="is of a run with validation"):
        train(model(), DATA, F.cross_entropy, validation=DATA[:1], **(options | {"checkpoint": tmp_path / "other"}))


@pytest.mark.parametrize(("error", "after"), [(KeyboardInterrupt, 3), (RuntimeError, 3), (KeyboardInterrupt, 1)])
def test_a_look_that_is_broken_off_leaves_the_best(error, after, monkeypatch):
    import lora_teach.loop.validation as validation

    looks, one, kept = [], model(), []

    def measured(*arguments, mean_loss=mean_loss):
        looks.append(1)
        if len(looks) > after:
            raise error("broken off")
        return mean_loss(*arguments)

    monkeypatch.setattr(validation, "mean_loss", measured)
    try:
        for step in training_steps(one, DATA, F.cross_entropy, steps=20, validation=HELD_OUT, validate_every=2):
            if step.validation is not None:
                kept.append((step.validation, numbers(one)))
    except error:
        pass
    assert len(kept) == after and same(numbers(one), min(kept, key=lambda look: look[0])[1])


def test_a_validation_loss_that_is_not_finite_ends_the_run():
    from lora_teach.training import NonFiniteLoss

    broken = [(torch.full((2, 6), torch.nan), torch.tensor([0, 1]))]
    with pytest.raises(NonFiniteLoss, match="validation loss is nan after step 2"):
        train(model(), DATA, F.cross_entropy, steps=20, validation=broken, progress=False)


def test_what_can_not_be_meant_is_refused():
    with pytest.raises(ValueError, match="validate_every=3 without validation"):
        train(model(), DATA, F.cross_entropy, steps=2, validate_every=3)
    with pytest.raises(ValueError, match="validate_every=0"):
        train(model(), DATA, F.cross_entropy, steps=2, validation=HELD_OUT, validate_every=0)
    for empty in ([], [(torch.ones(2, 6), torch.tensor([-100, -100]))]):
        with pytest.raises(ValueError, match="no batch with a target"):
            train(model(), DATA, F.cross_entropy, steps=2, validation=empty)
    with pytest.raises(ValueError, match="validation can be iterated only once"):
        train(model(), DATA, F.cross_entropy, steps=2, validation=iter(HELD_OUT))
