"""Adapters with biases of their own, which PEFT trains in the base: here the base keeps its own."""

import copy
import warnings

from lora_teach import LoRAModel
from lora_teach.peft_format.xray import lint
from tests.peft_format.folders import change_config, change_tensors
from tests.toy import bits, filled, fixed, numbers, picture, same_bits, same_picture

import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers with bias")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.up = nn.Conv2d(3, 6, 2), nn.LayerNorm(6), nn.Linear(6, 8)
        self.down = nn.Linear(8, 4, bias=False)

    def forward(self, x):
        return self.down(self.up(self.norm(self.conv(x).amax((-1, -2)))).relu())


def base():
    return fixed(Net()).double().eval()


X = numbers(5, 3, 4, 4, dtype=torch.float64)
KINDS = {
    "linear": {"target_modules": ["up"]},
    "no_bias": {"target_modules": ["down", "up"]},
    "dora": {"target_modules": ["up", "down"], "use_dora": True},
    "conv": {"target_modules": ["conv", "up"]},
}


def by_peft(folder, only=lambda name: True, **options):
    """An adapter whose factors and biases PEFT has moved, saved; returns PEFT's model."""
    twin = peft.get_peft_model(base(), peft.LoraConfig(r=2, lora_alpha=3, **options), autocast_adapter_dtype=False)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if parameter.requires_grad and only(name):
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
    twin.save_pretrained(folder)
    return twin.eval()


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_pefts_biases_act_while_the_adapter_does_and_the_base_keeps_its_own(tmp_path, options):
    twin = by_peft(tmp_path, bias="lora_only", **options)
    assert lint(tmp_path) == []
    expected, before = twin(X), bits(base())
    model = LoRAModel.from_pretrained(base(), tmp_path)
    assert torch.allclose(model(X), expected, atol=1e-12)
    assert same_bits(before, bits(model.base_model))
    with model.disabled():
        assert torch.equal(model(X), base().requires_grad_(False)(X))
    with model.merged():
        assert torch.allclose(model(X), expected, atol=1e-12)
        assert not torch.equal(model.base_model.up.bias, base().up.bias)
    assert same_bits(before, bits(model.base_model))
    assert torch.allclose(copy.deepcopy(model).remove(merge=True)(X), expected, atol=1e-12)
    assert same_bits(before, bits(model.remove()))


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_they_are_saved_again_to_the_last_bit_and_peft_reads_them(tmp_path, options):
    by_peft(tmp_path / "theirs", bias="lora_only", **options)
    model = LoRAModel.from_pretrained(base(), tmp_path / "theirs")
    model.save_adapter(tmp_path / "ours")
    assert lint(tmp_path / "ours") == []
    again = LoRAModel.from_pretrained(base(), tmp_path / "ours")
    assert any(key.endswith("trained_bias") for key in bits(model.adapters))
    assert same_bits(bits(model.adapters), bits(again.adapters))
    assert torch.equal(again(X), model(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.PeftModel.from_pretrained(base(), tmp_path / "ours", autocast_adapter_dtype=False).eval()
    assert torch.allclose(twin(X), model(X), atol=1e-12)


def test_an_adapter_without_biases_is_saved_without():
    assert not any("bias" in key for key in filled(LoRAModel(base(), rank=2)).adapters.state_dict())


def test_a_mixture_takes_its_share_of_the_bias(tmp_path):
    by_peft(tmp_path, bias="lora_only", target_modules=["up"])
    model = LoRAModel.from_pretrained(base(), tmp_path)
    layer, up = model.lora_layers["up"], model.base_model.up
    model.set_adapter({"default": 0.25})
    with torch.no_grad():
        weight = up.weight + 0.25 * layer.delta_weight()
        bias = up.bias + 0.25 * (layer.trained_bias - up.bias)
    h = numbers(3, 6, dtype=torch.float64)
    assert torch.allclose(up(h), nn.functional.linear(h, weight, bias), atol=1e-12)
    with model.merged():
        assert torch.allclose(up.bias, bias, atol=1e-12)


def test_biases_of_layers_that_are_not_adapted_are_refused_if_they_were_moved(tmp_path):
    by_peft(tmp_path / "moved", bias="all", target_modules=["up"])
    plain = base()
    before = picture(plain)
    with pytest.raises(ValueError, match="trained biases of layers that it does not adapt.*merge_and_unload"):
        LoRAModel.from_pretrained(plain, tmp_path / "moved")
    assert same_picture(before, picture(plain))
    twin = by_peft(
        tmp_path / "own", lambda name: "norm" not in name and "conv" not in name, bias="all", **KINDS["linear"]
    )
    assert lint(tmp_path / "own") == []
    assert torch.allclose(LoRAModel.from_pretrained(plain, tmp_path / "own")(X), twin(X), atol=1e-12)


def test_a_bias_of_another_shape_is_refused_and_nothing_changes(tmp_path):
    by_peft(tmp_path, bias="lora_only", target_modules=["up"])
    change_tensors(tmp_path, lambda t: t.update({"base_model.model.up.base_layer.bias": torch.ones(9)}))
    plain = base()
    before = picture(plain)
    with pytest.raises(ValueError, match=r"up.base_layer.bias has shape \(9,\); here it must be \(8,\)"):
        LoRAModel.from_pretrained(plain, tmp_path)
    assert same_picture(before, picture(plain))
    change_config(tmp_path, bias="none")
    assert "bias is 'none'" in "".join(map(str, lint(tmp_path)))


def test_copies_and_merging_with_nan_leave_nothing_behind(tmp_path):
    by_peft(tmp_path, bias="lora_only", target_modules=["up"])
    model = copy.deepcopy(LoRAModel.from_pretrained(base(), tmp_path))
    model.lora_layers["up"].bias_shift[0] = float("nan")
    before = bits(model.base_model)
    with pytest.raises(ValueError, match="up: the merged bias is not finite"):
        model.merge()
    assert same_bits(before, bits(model.base_model))
