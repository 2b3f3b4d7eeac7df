"""FourBits: rounding by other codes, the noise beside it, and what the view says."""

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.bases.quantized import normal_float, quantize
from lora_teach.datasets import names
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.pictures.four_bits import FourBits, rounded, stored
from lora_teach.pictures.four_bits.numbers import changed, losses

import pytest
import torch


def test_rounding_to_nf4_s_codes_is_what_the_library_does():
    weight = torch.randn(10, 13, generator=torch.Generator().manual_seed(0))
    for bits, block_size in ((4, 16), (2, 64), (3, 7)):
        expected = quantize(weight, bits, block_size, double=False).dequantize()
        assert torch.equal(rounded(weight, normal_float(bits), block_size), expected)
    assert torch.equal(rounded(torch.zeros(2, 4), normal_float(4), 4), torch.zeros(2, 4))


def test_every_matrix_of_the_blocks_is_changed_in_a_copy():
    base = load_name_gpt()
    model = changed(base, lambda weight: 2 * weight)
    for name, weight in block_matrices(base).items():
        assert torch.equal(block_matrices(model)[name], 2 * weight)
    assert torch.equal(model.embedding.weight, base.embedding.weight)


def test_losses_are_those_of_the_changed_models():
    base, few = load_name_gpt(), names.load("English").test[:40]
    found = losses(base, few, 2, 64)
    assert found["NormalFloat"] == evaluate(changed(base, lambda weight: stored(weight, 2, 64)[0]), few)
    assert evaluate(base, few) < found["NormalFloat"] < found["even"]


def test_the_view_tells_the_bits_the_error_and_the_guess():
    view = FourBits(3)
    sentence = view.move(4, 64)
    kept = quantize(view.weight)
    error = (kept.dequantize() - view.weight).norm() / view.weight.norm()
    assert f"{kept.bits_per_number:.2f} bits a number" in sentence and f"{error:.1%} of the weight" in sentence
    assert view.shares(kept.dequantize() - view.weight).sum() == pytest.approx(1)
    assert "Your guess" not in sentence and "Your guess for 2 bits: 3.00" in view.move(2, 64)
