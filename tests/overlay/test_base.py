"""What the overlay needs to know about the base, and what it copies from it."""

from lora_teach import LoRAModel
from lora_teach.model import Hook
from lora_teach.overlay.base import check_base, plain_copy, stay_dense
from tests.toy import TinyGPT, bits, mlp, numbers, picture, same_bits, same_picture, tokens

import pytest
import torch
from torch import nn

# Bases on which no overlay can lie.


def test_only_a_module_can_be_a_base():
    with pytest.raises(TypeError, match="base_model is a str, not a module"):
        check_base("gpt2")
    check_base(mlp())


def test_an_overlay_anywhere_in_a_base_is_seen_and_a_hook_of_the_users_own_is_none():
    base = mlp()
    base[2].register_forward_hook(lambda module, args, output: None)
    check_base(base)
    model = LoRAModel(base, target_modules=["2"])
    for whole in (base, base[2], nn.Sequential(nn.Sequential(base))):
        with pytest.raises(ValueError, match=r"overlay already. Call remove\(\)"):
            check_base(whole)
    check_base(base[0])
    model.remove()
    check_base(base)


def test_parameters_without_a_shape_are_named():
    base = nn.Sequential(nn.Linear(6, 4), nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"without a shape yet \(1.weight\). Call it once"):
        check_base(base)
    base(numbers(2, 6))
    check_base(base)


# Copies.


def test_a_plain_copy_has_the_same_bits_and_no_hook_of_an_overlay():
    base, seen = TinyGPT(), []
    own = base.blocks[1].q_proj.register_forward_hook(lambda module, args, output: seen.append(module))
    model = LoRAModel(base)
    before = picture(model)
    copy = plain_copy(base.blocks[1])
    assert same_picture(before, picture(model))
    assert same_bits(bits(copy), bits(base.blocks[1]))
    assert not {p.data_ptr() for p in copy.parameters()} & {p.data_ptr() for p in model.parameters()}
    assert list(copy.q_proj._forward_hooks) == [own.id]  # the user's own goes along
    assert not copy.v_proj._forward_hooks and not copy.v_proj._forward_hooks_with_kwargs
    assert any(isinstance(hook, Hook) for hook in base.blocks[1].v_proj._forward_hooks.values())
    copy(numbers(2, 8))
    assert seen == [copy.q_proj]
    model.eval()(tokens())
    assert seen == [copy.q_proj, base.blocks[1].q_proj]


def test_every_floating_point_parameter_of_a_copy_trains_and_no_other_can():
    module = mlp().requires_grad_(False)
    module.table = nn.Parameter(torch.arange(3), requires_grad=False)
    flags = {name: p.requires_grad for name, p in plain_copy(module).named_parameters()}
    assert flags == {"table": False, "0.weight": True, "0.bias": True, "2.weight": True, "2.bias": True}
    assert not any(p.requires_grad for p in module.parameters())


# Padded inputs of a TransformerEncoder.


@pytest.fixture
def encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()


def test_in_evaluation_with_gradients_the_input_is_made_to_need_one(encoder):
    x, mask = numbers(2, 3, 16), torch.ones(3, 3)
    (src, passed), kwargs = stay_dense(encoder, (x, mask), {"is_causal": True})
    assert src.requires_grad and torch.equal(src, x) and not x.requires_grad
    assert passed is mask and kwargs == {"is_causal": True}
    args, kwargs = stay_dense(encoder, (), {"src": x, "mask": mask})
    assert args == () and set(kwargs) == {"src", "mask"} and kwargs["mask"] is mask
    assert kwargs["src"].requires_grad and torch.equal(kwargs["src"], x)


def test_an_input_that_is_dense_anyway_is_left_alone(encoder):
    x = numbers(2, 3, 16)
    with torch.no_grad():
        assert stay_dense(encoder, (x,), {}) is None
    assert stay_dense(encoder, (x.clone().requires_grad_(),), {}) is None
    assert stay_dense(encoder.train(), (x,), {}) is None
