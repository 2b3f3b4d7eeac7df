"""What must always hold: one test for each sentence of that list, over kinds of layers, dtypes and scalings."""

from lora_teach import LoRALayer, LoRAModel, train
from tests.toy import TinyGPT, bits, filled, mlp, numbers, same_bits, tokens

import pytest
import torch
from torch import nn

OPTIONS = {
    "plain": {},
    "rank_1": {"rank": 1, "alpha": 3},
    "rslora": {"scaling": "alpha/sqrt(r)", "alpha": 5},
    "constant": {"scaling": "alpha", "alpha": 0.3},
    "learnable": {"learnable_scaling": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 7}},
    "some": {"target_modules": ["v_proj"]},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["norm", "head"]},
}


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS)
def options(request):
    return request.param


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def dtype(request):
    return request.param


def base(dtype=torch.float32):
    return TinyGPT(tied=False).to(dtype).eval()


def limit(dtype):
    return 1e-12 if dtype == torch.float64 else 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_new_lora_layer_changes_nothing(options, dtype):
    expected = base(dtype)(tokens())
    assert torch.equal(LoRAModel(base(dtype), **options)(tokens()), expected)
    layer = LoRALayer(6, 4)
    assert not layer(numbers(3, 6)).any()


def test_only_adapters_get_gradients_and_only_adapters_move(options):
    model = filled(LoRAModel(base(), **options))
    before = bits(model)
    batches = [(tokens(seed=i), tokens(seed=i + 9).flatten()) for i in range(3)]

    def loss_fn(output, targets):
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trained == {name for name in before if name.startswith(("adapters.", "saved_modules."))}
        return nn.functional.cross_entropy(output.flatten(0, 1), targets)

    train(model, batches, loss_fn, lr=1e-2, steps=5, weight_decay=0.1, progress=False)
    moved = {name for name, value in bits(model).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith(("adapters.", "saved_modules."))}
    model(tokens()).sum().backward()
    assert all(p.grad is None for p in model.base_model.parameters())


def test_merged_equals_unmerged(options, dtype):
    model = filled(LoRAModel(base(dtype), **options)).eval()
    output = model(tokens())
    with model.merged():
        assert (model(tokens()) - output).abs().max() <= limit(dtype) * output.abs().max()
    merged = model.remove(merge=True)
    assert (merged(tokens()) - output).abs().max() <= limit(dtype) * output.abs().max()


@pytest.mark.parametrize("way", ["disabling", "removing", "unmerging", "deselecting"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_disabling_removing_and_unmerging_restore_to_the_last_bit(options, dtype, way):
    before, expected = bits(base(dtype)), base(dtype)(tokens())
    model = filled(LoRAModel(base(dtype), **options)).eval()
    assert not torch.equal(model(tokens()), expected)
    if way == "removing":
        model.merge()
        model.remove()
        assert torch.equal(model(tokens()), expected)
    elif way == "unmerging":
        model.merge()
        model.unmerge()
        assert not torch.equal(model(tokens()), expected)
    elif way == "deselecting":
        model.set_adapter(None)
        assert torch.equal(model(tokens()), expected)
    else:
        with model.disabled():
            assert torch.equal(model(tokens()), expected)
            assert same_bits(before, bits(model.base_model))
    assert same_bits(before, bits(model.base_model))


def test_save_then_load_is_equal_to_the_last_bit(options, dtype, tmp_path):
    model = filled(LoRAModel(base(dtype), **options)).eval()
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(base(dtype), tmp_path)
    assert same_bits(bits(model), bits(again))
    assert torch.equal(again(tokens()), model(tokens()))


def test_loading_uses_safetensors_only(tmp_path):
    model = filled(LoRAModel(mlp()))
    model.save_adapter(tmp_path)
    torch.save(dict(model.lora_layers.named_parameters()), tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="pickle"):
        LoRAModel.from_pretrained(mlp(), tmp_path)
