"""GGUF adapter files: llama.cpp makes of one what our model makes of it; what it has no place for is refused."""

from contextlib import nullcontext

from lora_teach import LoRAModel
from lora_teach.bases import load_name_gpt
from lora_teach.overlay.nested_modules import walk
from lora_teach.peft_format.gguf import save_gguf
from tests.peft_format.llama_cpp import KINDS, answers, our_answers, tiny, write_base

import pytest
import torch

gguf = pytest.importorskip("gguf")
PROMPTS = [[3, 11, 12, 13, 9, 15, 1, 4], [3, 8, 1, 4], [7, 14, 10, 10, 2, 0, 5]]


def adapted(base, **options):
    """An adapter over ``base`` whose A and B are both random."""
    model = LoRAModel(base, **({"rank": 4, "alpha": 8} | options))
    torch.manual_seed(1)
    for parameter in model.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def read(file):
    """The file's fields, and ``{layer: (A, B)}`` as tensors."""
    reader, factors = gguf.GGUFReader(file), {}
    for tensor in reader.tensors:
        layer, _, factor = tensor.name.rpartition(".lora_")
        factors.setdefault(layer, {})[factor] = torch.tensor(tensor.data)
    return {name: field.contents() for name, field in reader.fields.items()}, factors


def update(fields, factors, layer):
    """ΔW as llama.cpp computes it: alpha over the rank times B A; an alpha of 0 counts as no scale at all."""
    A, B = factors[layer]["a"], factors[layer]["b"]
    scale = fields["adapter.lora.alpha"] / A.shape[0] if fields["adapter.lora.alpha"] else 1.0
    return scale * (B.double() @ A.double())


def equals(found, layer):
    """Whether an update is that of our layer, within what float32 rounds."""
    expected = layer.delta_weight().detach().double()
    return (found - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("architecture", KINDS)
def test_llama_cpp_answers_as_our_model_does(architecture, tmp_path):
    pytest.importorskip("xllamacpp", reason="llama.cpp's answers: pip install xllamacpp")
    base = tiny(architecture)
    write_base(base, tmp_path / "base.gguf", architecture)
    targets = [*("q_proj k_proj v_proj o_proj gate_proj up_proj down_proj lm_head".split())]
    model = adapted(base, target_modules=targets, rank_pattern={"layers.1.*": 3}, alpha_pattern={".*k_proj": 5})
    save_gguf(model, tmp_path / "adapter.gguf")
    said = {}
    for adapter, state in ((None, model.disabled()), (tmp_path / "adapter.gguf", nullcontext())):
        theirs = answers(tmp_path / "base.gguf", PROMPTS, 16, adapter)
        with state:
            ours = our_answers(model, PROMPTS, 16, base.config.eos_token_id)
        for one, other in zip(theirs, ours, strict=True):
            assert [token for token, _ in one] == [token for token, _ in other]
            assert max(abs(mine - their) for (_, mine), (_, their) in zip(one, other, strict=True)) < 1e-4
        said[adapter] = theirs
    assert len({str(told) for told in said.values()}) == 2  # the adapter counts


def test_each_update_is_the_layers_own_in_llama_cpps_order(tmp_path):
    # What transformers does to the weights of a Llama that it reads from a GGUF file.
    reading = pytest.importorskip("transformers.modeling_gguf_pytorch_utils").LlamaTensorProcessor()
    model = adapted(tiny("llama"))
    save_gguf(model, tmp_path / "a.gguf")
    fields, factors = read(tmp_path / "a.gguf")
    assert fields["general.type"] == "adapter" and fields["adapter.type"] == "lora"
    assert fields["general.architecture"] == "llama" and fields["adapter.lora.alpha"] == 8
    assert len(factors) == len(model.lora_layers) == 15
    names = {"q_proj": ("attn_q", 4), "k_proj": ("attn_k", 2), "down_proj": ("ffn_down", None)}
    for path, layer in walk(model.lora_layers):
        theirs, heads = names.get(path.rpartition(".")[2], (None, None))
        if theirs is None:
            continue
        found = update(fields, factors, f"blk.{path.split('.')[2]}.{theirs}.weight")
        if heads is not None:
            found = torch.as_tensor(reading._reverse_permute_weights(found.numpy(), 4, heads))
        assert equals(found, layer), path


@pytest.mark.parametrize(
    "options",
    [
        {"scaling": "alpha/sqrt(r)"}, {"scaling": "alpha", "alpha": 0.01}, {"alpha": 0}, {"learnable_scaling": True},
        {"rank_pattern": {"k_proj": 2}, "alpha_pattern": {"v_proj": 3, "k_proj": 0}},
    ],
    ids=str,
)  # fmt: skip
def test_any_scale_is_kept(options, tmp_path):
    model = adapted(tiny("qwen2"), **options)
    save_gguf(model, tmp_path / "a.gguf")
    fields, factors = read(tmp_path / "a.gguf")
    for path, layer in walk(model.lora_layers):
        for ours, theirs in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v")):
            if path.endswith(ours):
                found = update(fields, factors, f"blk.{path.split('.')[2]}.{theirs}.weight")
                assert equals(found, layer), path


@pytest.mark.parametrize("variant", ["pissa", "lora_fa"])
def test_a_variant_whose_file_is_plain_lora_is_written_as_that(variant, tmp_path):
    model = adapted(tiny("qwen2"), variant=variant, target_modules=["v_proj"])
    save_gguf(model, tmp_path / "a.gguf")
    fields, factors = read(tmp_path / "a.gguf")
    for path, layer in walk(model.lora_layers):
        assert equals(update(fields, factors, f"blk.{path.split('.')[2]}.attn_v.weight"), layer)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "dora"}, "a DoRALayer has no place"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"target_modules": ["embed_tokens"]}, "a LoRAEmbedding has no place"),
    ],
    ids=str,
)
def test_what_llama_cpp_has_no_place_for_is_refused(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        save_gguf(adapted(tiny("llama"), **options), tmp_path / "a.gguf")
    assert not list(tmp_path.iterdir())


def test_other_bases_names_and_numbers_are_refused(tmp_path):
    file = tmp_path / "a.gguf"
    with pytest.raises(ValueError, match=r"a NameGPT can't be told to llama\.cpp.*LlamaForCausalLM"):
        save_gguf(LoRAModel(load_name_gpt()), file)
    model = adapted(tiny("llama"))
    with pytest.raises(KeyError, match="no adapter 'other'"):
        save_gguf(model, file, "other")
    next(iter(model.lora_layers.parameters())).data[0] = torch.nan
    with pytest.raises(ValueError, match="holds nan or inf"):
        save_gguf(model, file)
    assert not list(tmp_path.iterdir())


def test_a_place_that_can_not_be_and_a_base_that_was_changed_are_told_before_anything_is_written(tmp_path):
    model = adapted(tiny("llama"))
    (tmp_path / "file").write_text("mine")
    for place, words in ((tmp_path, "is a folder. Name a file"), (tmp_path / "file" / "a", "can't be written")):
        with pytest.raises(ValueError, match=words):
            save_gguf(model, place)
    save_gguf(model, tmp_path / "new" / "a.gguf")
    layer = model.base_model.model.layers[0].self_attn
    layer.q_proj = torch.nn.Linear(layer.q_proj.in_features, layer.q_proj.out_features, bias=False)
    with pytest.raises(RuntimeError, match="q_proj' was replaced"):
        save_gguf(model, tmp_path / "b.gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "new"]


def test_a_file_that_is_there_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file, model = tmp_path / "a.gguf", adapted(tiny("llama"))
    file.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
        save_gguf(model, file)
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
    save_gguf(model, file)
    assert len(read(file)[1]) == len(model.lora_layers)
