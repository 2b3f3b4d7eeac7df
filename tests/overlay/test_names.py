"""Wrappers around a base, or around a part of it, show in no name, and change no effect."""

import re

from lora_teach import LoRAModel, train
from lora_teach.peft_format.lint import lint
from tests.toy import TinyGPT, bits, filled, mlp, numbers, same_bits, tokens

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

# torch.compile's own look at tensors where a compiled module follows an eager one.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


def compiled(module):
    return torch.compile(module, backend="eager")


def parts_compiled(base):
    for index in range(2):
        base.blocks[index] = compiled(base.blocks[index])
    base.blocks[0].q_proj = compiled(base.blocks[0].q_proj)
    return base


def checkpointed(base):
    base.blocks[1] = checkpoint_wrapper(base.blocks[1])
    return base


def called_before(base):
    base = compiled(base)
    base(tokens())
    return base


WRAPS = {
    "compiled": compiled,
    "compiled and called": called_before,
    "parts compiled": parts_compiled,
    "DataParallel": nn.DataParallel,
    "both": lambda base: nn.DataParallel(compiled(base)),
    "activation checkpointing": checkpointed,
}
OPTIONS = {
    "rank": 2,
    "target_modules": ["q_proj", "blocks.1.v_proj"],
    "modules_to_save": ["norm"],
    "rank_pattern": {"0.q_proj": 3},
}


@pytest.mark.parametrize("kind", WRAPS)
def test_a_wrapped_base_has_the_plain_ones_names_effect_and_file(tmp_path, kind):
    plain, wrapped = (
        filled(LoRAModel(wrap(TinyGPT(tied=False).eval()), **OPTIONS)) for wrap in (lambda b: b, WRAPS[kind])
    )
    assert list(wrapped.lora_layers) == list(plain.lora_layers)
    expected = plain(tokens())
    assert torch.allclose(wrapped(tokens()), expected, atol=1e-6)
    for model in (plain, wrapped):
        model.save_adapter(tmp_path / str(model is plain))
    ours, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("True", "False"))
    assert same_bits(dict(sorted(ours.items())), dict(sorted(theirs.items())))
    assert (tmp_path / "True/adapter_config.json").read_text() == (tmp_path / "False/adapter_config.json").read_text()
    by_peft = peft.PeftModel.from_pretrained(TinyGPT(tied=False).eval(), tmp_path / "False")
    assert torch.allclose(by_peft(tokens()), expected, atol=1e-5)
    for base in (TinyGPT(tied=False), WRAPS[kind](TinyGPT(tied=False))):
        assert torch.allclose(
            LoRAModel.from_pretrained(base.eval(), tmp_path / "False").eval()(tokens()), expected, atol=1e-6
        )
    with wrapped.merged():
        assert torch.allclose(wrapped(tokens()), expected, atol=1e-5)
    assert torch.equal(wrapped.remove()(tokens()), TinyGPT(tied=False).eval()(tokens()))


@pytest.mark.parametrize("kind", ["compiled", "compiled and called", "parts compiled"])
def test_adapters_over_compiled_modules_train(kind):
    model = LoRAModel(WRAPS[kind](TinyGPT(tied=False)), rank=2)
    before = bits(model.adapters)
    train(model, [(tokens(), tokens())], lambda o, t: nn.functional.cross_entropy(o.flatten(0, 1), t.flatten()),
          steps=2, progress=False)  # fmt: skip
    after = bits(model.adapters)
    assert not any(torch.equal(before[key], after[key]) for key in before)


def test_an_adapter_added_after_compiling_counts():
    model, x = LoRAModel(mlp(), rank=2, target_modules=["0"]), numbers(3, 6)
    fast = compiled(model)
    fast(x)
    model.add_adapter("b", rank=2, target_modules=["2"])
    filled(model).set_adapter("b")
    assert torch.equal(fast(x), model(x)) and not torch.allclose(fast(x), mlp()(x))


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "_orig_mod.module.", "_fsdp_wrapped_module."])
def test_a_file_that_was_saved_from_a_wrapped_model_is_understood_and_linted(tmp_path, wrapper):
    model = filled(LoRAModel(mlp(), rank=2, rank_pattern={"0": 3}))
    model.save_adapter(tmp_path)
    file, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    tensors = {key.replace("base_model.model.", f"base_model.model.{wrapper}"): v for key, v in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    text = config.read_text()
    config.write_text(text.replace("^0", "^" + re.escape(wrapper).replace("\\", "\\\\") + "0"))
    assert torch.equal(LoRAModel.from_pretrained(mlp(), tmp_path)(numbers(3, 6)), model(numbers(3, 6)))
    found = [str(departure) for departure in lint(tmp_path)]
    assert wrapper == "module." or any("carries a wrapper's name" in one for one in found)


def test_a_base_of_many_layers_named_one_by_one_can_be_read_again(tmp_path):
    def base():
        return nn.ModuleDict(
            {
                "student": nn.Sequential(*[nn.Linear(2, 2) for _ in range(1500)]),
                "teacher": nn.Sequential(nn.Linear(2, 2)),
            }
        )

    model = filled(LoRAModel(base(), rank=1, target_modules=r"student\.(?!7$).*"))
    assert len(model.lora_layers) == 1499
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(base(), tmp_path)
    assert same_bits(bits(again.adapters), bits(model.adapters))


@pytest.mark.parametrize("names", ["deep", "deeper"])
def test_names_that_end_as_an_adapted_one_does_stay_out_of_the_file(tmp_path, names):
    def base():
        inner = nn.ModuleDict({"q": nn.Linear(2, 2), "k": nn.Linear(2, 2)})
        outer = nn.ModuleDict({"a": inner, "b": nn.ModuleDict({"a": nn.ModuleDict({"q": nn.Linear(2, 2)})})})
        return outer if names == "deep" else nn.ModuleDict({"a": nn.ModuleDict({"q": nn.Linear(2, 2)}), "x": outer})

    model = filled(LoRAModel(base(), rank=1, target_modules=r"a\.q"))
    assert list(model.lora_layers) == ["a.q"]
    model.save_adapter(tmp_path)
    assert list(LoRAModel.from_pretrained(base(), tmp_path).lora_layers) == ["a.q"]
    theirs = peft.PeftModel.from_pretrained(base(), tmp_path)
    assert [name for name, _ in theirs.named_parameters() if "lora_A" in name] == [
        "base_model.model.a.q.lora_A.default.weight"
    ]
