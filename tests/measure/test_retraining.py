"""DigitNet retrained: what a slider may rely on."""

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.measure.retraining import CHANCE, HIDDEN, Retrained, digit_batches, retrain
from lora_teach.measure.tuning import trainable_copy
from lora_teach.training import train
from lora_teach.utils.threads import one_thread

import pytest
import torch
import torch.nn.functional as F

TURNED = digits.rotated(30)


def test_it_is_the_librarys_own_training_and_repeats_to_the_last_bit():
    model = trainable_copy(load_digit_net(), 4, seed=3, target_modules=HIDDEN, alpha=8)
    with one_thread():
        history = train(
            model, digit_batches(TURNED, seed=3), F.cross_entropy, lr=0.02, steps=12, seed=3, progress=False
        )
    for _ in range(2):
        run = retrain(TURNED, 4, lr=0.02, steps=12, seed=3, alpha=8)
        assert run.loss == history.loss
        assert run.accuracy == accuracy(model, *TURNED.test)


def test_lora_and_full_fine_tuning_cure_digits_turned_by_30_degrees():
    base = accuracy(load_digit_net(), *TURNED.test)
    lora, full = retrain(TURNED, 4), retrain(TURNED)
    assert base < 0.6 < 0.9 < min(lora.accuracy, full.accuracy)
    assert lora.model.count()[0] == 4 * (64 + 128) + 4 * (128 + 128)
    assert sum(parameter.numel() for parameter in full.model.parameters() if parameter.requires_grad) == 26_122
    assert max(lora.final_loss, full.final_loss) < 0.2 and not lora.blew_up


def test_the_base_given_and_the_callers_random_numbers_and_threads_stay_as_they_are():
    base, state, threads = load_digit_net(), torch.get_rng_state(), torch.get_num_threads()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    retrain(TURNED, 2, steps=5, base=base)
    retrain(TURNED, steps=5, base=base)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_final_loss_is_the_mean_of_the_last_20_steps():
    losses = [float(step**2) for step in range(30)]
    assert Retrained(None, losses, 0.5, False).final_loss == sum(losses[10:]) / 20
    assert Retrained(None, losses, 0.5, True).final_loss == float("inf")


def test_a_run_that_blows_up_says_so():
    run = retrain(TURNED, lr=1e30, steps=30)
    assert run.blew_up and run.final_loss == float("inf") and len(run.loss) < 30


def test_batches_are_drawn_from_the_training_digits_by_seed():
    batches, again, other = digit_batches(TURNED), digit_batches(TURNED), digit_batches(TURNED, seed=1)
    assert len(batches) == 50 and all(x.shape == (64, 64) and y.shape == (64,) for x, y in batches)
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(batches, again, strict=True))
    assert not torch.equal(batches[0][0], other[0][0])
    rows = {tuple(row) for row in TURNED.train[0].tolist()}
    assert all(tuple(row) in rows for row in batches[0][0].tolist())


def test_full_fine_tuning_takes_no_options_of_lora():
    with pytest.raises(TypeError, match=r"full fine-tuning \(rank=None\) has no alpha"):
        retrain(TURNED, alpha=4)


def test_chance_is_the_loss_of_guessing():
    assert F.cross_entropy(torch.zeros(1, 10), torch.tensor([3])).item() == pytest.approx(CHANCE)


def test_threads_are_restored_after_a_failure():
    threads = torch.get_num_threads()
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == threads
