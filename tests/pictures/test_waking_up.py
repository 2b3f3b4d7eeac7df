"""WakingUp's numbers and sentences, compared with numbers that are computed another way."""

from lora_teach.measure.fitting import examples
from lora_teach.pictures.waking_up.view import STARTS, STEPS, WakingUp, gradient_norms, start_layer

import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def waking_up():
    return WakingUp()


def test_the_gradients_are_autograds(waking_up):
    x, y = examples(waking_up.target)[0]
    for start in STARTS:
        layer = start_layer(waking_up.target, start)
        nn.functional.mse_loss(layer(x), y).backward()
        norms = gradient_norms(layer.lora_A.detach(), layer.lora_B.detach(), layer.scaling, x, y)
        assert norms == pytest.approx((layer.lora_A.grad.norm().item(), layer.lora_B.grad.norm().item()), rel=1e-4)


def test_with_one_factor_at_zero_only_that_one_has_a_gradient_at_step_0(waking_up):
    for start, zero in (("B = 0", 1), ("A = 0", 0)):
        norms = waking_up.run(start)[2][0]
        assert norms[zero] > 0 and norms[1 - zero] == 0


def test_both_zero_never_paints_and_both_random_spoils_step_0(waking_up):
    fit, loss, norms, _ = waking_up.run("both 0")
    assert not fit.A.any() and not fit.B.any() and not any(map(any, norms))
    assert (loss == 100).all()
    assert waking_up.run("both random")[1][0] > 110


def test_the_singular_values_shown_are_those_of_the_product(waking_up):
    fit, _, _, sigma = waking_up.run("B = 0")
    for step in (0, 7, STEPS):
        slow = torch.linalg.svdvals(fit.product(step))[: sigma.shape[1]]
        assert torch.allclose(sigma[step], slow, atol=1e-4 * waking_up.target.norm())


def test_the_largest_singular_value_is_filled_first(waking_up):
    sigma = waking_up.run("B = 0")[3]
    wanted = torch.linalg.svdvals(waking_up.target)
    reached = [int((sigma[:, i] > 0.9 * wanted[i]).nonzero()[0]) for i in range(3)]
    assert reached == sorted(reached)


def test_the_sentence_tells_the_loss_and_the_gradients_of_where_it_stands(waking_up):
    sentence = waking_up.move("B = 0", 0)
    assert "loss is 100 %" in sentence and "gradient of A is exactly 0" in sentence
    for start in STARTS:
        for step in (0, 150, STEPS):
            assert f"{waking_up.run(start)[1][step]:.0f} %" in waking_up.move(start, step)


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="B = 0"):
        start_layer(torch.ones(4, 4), "zero")


@pytest.mark.parametrize("guess", [-1, 181, float("nan"), "130"])
def test_a_guess_outside_the_picture_is_refused(guess):
    with pytest.raises((TypeError, ValueError), match="Give a number of % from 0 to 180"):
        WakingUp(guess)
