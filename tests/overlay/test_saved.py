"""An adapter's own copies of modules: in float32 over half precision, and only where a copy is used."""

from lora_teach import LoRAModel, train
from tests.toy import TinyGPT, bits, mlp, numbers, same_bits

import pytest
import torch
from torch import nn

HALF = [torch.float16, torch.bfloat16]
OPTIONS = {"rank": 2, "target_modules": ["0"], "modules_to_save": ["2"]}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("afterwards", [False, True])
def test_copies_over_half_precision_are_float32_and_compute_as_the_module_does(dtype, afterwards):
    model = LoRAModel(mlp(torch.float32 if afterwards else dtype), **OPTIONS).to(dtype)
    copy, x = model.saved_modules["default"]["2"], numbers(3, 6, dtype=dtype)
    assert {p.dtype for p in model.trainable_parameters()} == {torch.float32}
    assert model(x).dtype == dtype and torch.equal(model(x), model.base_model(x))
    with model.disabled():
        assert torch.equal(model(x), mlp(dtype)(x))
    model(x).float().sum().backward()
    assert copy.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("head", ["head", "embedding", "norm"])
def test_small_steps_move_every_kind_of_copy(dtype, head):
    model = LoRAModel(TinyGPT(tied=False).to(dtype), rank=2, target_modules=["q_proj"], modules_to_save=[head])
    before = [p.detach().clone() for p in model.saved_modules.parameters()]
    tokens = torch.arange(11)[None]

    def loss(output, targets):
        return nn.functional.cross_entropy(output.float().flatten(0, 1), targets.flatten())

    train(model, [(tokens, tokens.flip(1))], loss, lr=2e-5, steps=10, progress=False)
    assert all((new != old).any() for new, old in zip(model.saved_modules.parameters(), before, strict=True))


def test_a_merge_puts_the_copy_back_into_the_bases_dtype(tmp_path):
    model = LoRAModel(mlp(torch.bfloat16), **OPTIONS)
    x = numbers(3, 6, dtype=torch.bfloat16)
    with torch.no_grad():
        model.saved_modules["default"]["2"].weight.add_(0.3)
    expected = model(x)
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(mlp(torch.bfloat16), tmp_path)
    assert torch.equal(again(x), expected) and same_bits(bits(again.saved_modules), bits(model.saved_modules))
    base = model.remove(merge=True)
    assert {p.dtype for p in base.parameters()} == {torch.bfloat16} and torch.equal(base(x), expected)


def test_other_conversions_are_followed():
    model = LoRAModel(mlp(), **OPTIONS).double()
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert {p.dtype for p in model.float().parameters()} == {torch.float32}
    assert {p.device.type for p in model.to("meta").parameters()} == {"meta"}


class Lists(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.proj = nn.Linear(8, 8)
        self.layers, self.named = nn.ModuleList([nn.Linear(8, 8)]), nn.ModuleDict({"a": nn.Linear(8, 8)})
        self.group, self.quantised = nn.Module(), nn.Linear(8, 8)
        self.group.inner = nn.Linear(8, 8)
        self.loose = nn.ParameterList([nn.Parameter(torch.zeros(2))])
        self.quantised.weight = nn.Parameter(torch.zeros(8, 8, dtype=torch.int8), requires_grad=False)


@pytest.mark.parametrize(
    ("name", "words"),
    [("layers", "ModuleList is a container.*'0'"), ("named", "ModuleDict is a container.*'a'"),
     ("group", "Module is a container.*'inner'"), ("loose", "ParameterList is a container.*Leave it out"),
     ("attention.out_proj", "never calls it"), ("quantised", "weight is quantised")],
)  # fmt: skip
def test_what_is_never_called_or_can_not_be_trained_is_refused(name, words):
    base = Lists()
    before = bits(base)
    with pytest.raises(ValueError, match=f"modules_to_save names '{name}'.*{words}"):
        LoRAModel(base, rank=2, target_modules=["proj"], modules_to_save=[name])
    assert same_bits(bits(base), before)
