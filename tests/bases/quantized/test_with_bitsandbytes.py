"""bitsandbytes' layers in the place of plain ones: which, with what in them, and what is refused."""

import sys

from lora_teach.bases.quantized import QuantizedLinear, quantize_, quantize_with_bitsandbytes_
from tests.toy import TinyGPT, mlp, numbers, picture, same_picture

import pytest
import torch
from torch import nn


def wide(width=64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32, bias=False)).eval()


@pytest.mark.parametrize("double", [True, False])
def test_four_bits_compute_as_ours(double):
    bnb = pytest.importorskip("bitsandbytes")
    theirs, x = quantize_with_bitsandbytes_(wide(), double=double), numbers(5, 64)
    ours = quantize_(wide(), double=double)
    assert [type(layer) for layer in theirs] == [bnb.nn.Linear4bit, nn.ReLU, bnb.nn.Linear4bit]
    assert not theirs[0].training and theirs[0].weight.quant_state.nested == double
    assert torch.equal(theirs[0].weight.flatten(), ours[0].weight)
    # With double a scale near the middle between two codes may be rounded the other way.
    torch.testing.assert_close(theirs(x), ours(x), rtol=1e-5, atol=1e-2 if double else 1e-5)


def test_eight_bits_come_close_and_the_choice_is_ours():
    bnb = pytest.importorskip("bitsandbytes")
    base, x = wide(), numbers(5, 64)
    expected = base(x)
    eight = quantize_with_bitsandbytes_(base, "int8", ["0"])
    assert [type(layer) for layer in eight] == [bnb.nn.Linear8bitLt, nn.ReLU, nn.Linear]
    assert (eight.train()(x) - expected).norm() < 0.02 * expected.norm()


def test_a_layer_under_two_names_is_one_afterwards():
    pytest.importorskip("bitsandbytes")
    layer = nn.Linear(64, 64)
    model = quantize_with_bitsandbytes_(nn.Sequential(layer, nn.Sequential(layer)))
    assert model[0] is model[1][0] is not layer


@pytest.mark.parametrize(
    "make, options, words",
    [
        (lambda: wide(96), {}, "0: its rows of 96 are no whole blocks of 64.*divides 96"),
        (lambda: nn.Linear(64, 8), {}, "itself the linear layer.*nn.Sequential"),
        (mlp, {"kind": "nf8"}, "kind='nf8' is unknown.*'nf4', 'int8'"),
        (lambda: TinyGPT(), {"target_modules": ["head"]}, "tied to the embedding"),
        (lambda: quantize_(wide()), {}, "quantised already"),
    ],
    ids=["rows", "one layer", "kind", "tied", "twice"],
)
def test_what_cannot_be_is_refused_and_nothing_changes(make, options, words):
    pytest.importorskip("bitsandbytes")
    model = make()
    found = picture(model)
    with pytest.raises(ValueError, match=words):
        quantize_with_bitsandbytes_(model, **options)
    assert same_picture(found, picture(model))


def test_where_it_is_missing_the_command_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match="pip install"):
        quantize_with_bitsandbytes_(wide())
    assert isinstance(quantize_(wide())[0], QuantizedLinear)
