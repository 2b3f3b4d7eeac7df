"""Real architectures without their weights: the published totals, and counts that real adapters confirm."""

import math
import re
import warnings

from lora_teach import LoRAModel
from lora_teach.measure.architectures import (
    ARCHITECTURES,
    LAYOUTS,
    LINEAR,
    WHICH,
    build,
    targets,
    total_parameters,
    trainable_per_rank,
)
from lora_teach.measure.counting import lora_parameters
from lora_teach.measure.published_counts import verdict

import pytest
import torch

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
EXACT = {  # as the checkpoints' own metadata or a tool that loaded them have it
    "Llama-2-7B": 6_742_609_920 - 4_194_304,  # torchtune's tutorial: base and adapter, less the adapter
    "Llama-3.2-3B": 3_221_924_864 - 9_175_040,  # PEFT's benchmark: num_total_params less num_trainable_params
    "NameGPT": 342_720,
}
SMALL = {  # the same classes and proportions, small enough to be real: GQA stays GQA, 3d stays 3d
    "NameGPT": {"width": 32, "layers": 2},
    "Roberta": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"vocab_size": 50},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50},
    "DebertaV2": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"vocab_size": 50, "pooler_hidden_size": 32},
    "OPT": {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 128, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "vocab_size": 50},
    "Llama": {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "vocab_size": 50},
    "Qwen2": {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "vocab_size": 50},
}
OF_FAMILY = {one.family: name for name, one in ARCHITECTURES.items()}


def trained_by_peft(model, rank, wanted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.get_peft_model(model, peft.LoraConfig(r=rank, target_modules=wanted))
    return sum(parameter.numel() for parameter in twin.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_total_is_the_published_one(name):
    assert verdict(ARCHITECTURES[name].printed, total_parameters(name))[0] == "agrees"
    assert total_parameters(name) == EXACT.get(name, total_parameters(name))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_of_its_size_is_allocated(name):
    model = build(name)
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_gpt_3_is_built_and_counted_in_less_than_a_gigabyte():
    resource = pytest.importorskip("resource")
    build("NameGPT")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lora_parameters(build("GPT-3 175B"), 64)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB on Linux, bytes on macOS
    assert grown < 2**20  # its weights alone are 650 GiB in float32


GROUPS = (*LINEAR, "embeddings", "head", "other")


def parameters_by_group(name):
    """``{group: numbers}`` over GROUPS, which add up to the total; GPT-2's c_attn is split into q, k and v."""
    layout, counts = LAYOUTS[ARCHITECTURES[name].family], dict.fromkeys(GROUPS, 0)
    model = build(name)
    for path, parameter in model.named_parameters():
        module = path.rpartition(".")[0]
        if isinstance(model.get_submodule(module), torch.nn.Embedding):
            found = ["embeddings"]
        else:
            found = [group for group, pattern in layout.items() if re.fullmatch(pattern, module)] or ["other"]
        for group in found:
            counts[group] += parameter.numel() // len(found)
    return counts


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_groups_add_up_to_the_total_and_none_is_missing(name):
    counts = parameters_by_group(name)
    assert list(counts) == list(GROUPS) and sum(counts.values()) == total_parameters(name)
    assert all(counts[group] > 0 for group in (*WHICH["all linear"], "embeddings"))
    assert counts["other"] < 0.01 * total_parameters(name)


def test_only_untied_heads_have_numbers_of_their_own():
    own = {name for name in ARCHITECTURES if parameters_by_group(name)["head"] > 0.01 * total_parameters(name)}
    assert own == {"Llama-2-7B", "Llama-3.1-8B", "Qwen2.5-7B"}


@pytest.mark.parametrize("family", LAYOUTS)
@pytest.mark.parametrize("which", WHICH)
def test_small_twins_with_real_adapters_train_as_many_numbers_as_are_counted(family, which):
    name = OF_FAMILY[family]
    wanted = targets(name, which)
    counted = lora_parameters(build(name, **SMALL[family]), 3, wanted)
    small = build(name, device="cpu", **SMALL[family])
    assert counted == LoRAModel(small, rank=3, target_modules=wanted).count()[0]
    assert counted == trained_by_peft(build(name, device="cpu", **SMALL[family]), 3, wanted)


@pytest.mark.parametrize("name", ["Llama-2-7B", "Llama-3.1-8B", "Qwen2.5-7B"])
def test_an_untied_head_is_counted_if_it_is_asked_for(name):
    model = build(name)
    head = sum(model.lm_head.weight.shape)
    assert trainable_per_rank(name, "MLP", head=True) == trainable_per_rank(name, "MLP") + head
    with pytest.raises(ValueError, match="tied"):
        trainable_per_rank("Llama-3.2-1B", "MLP", head=True)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_peft_on_the_meta_device_counts_the_same_at_full_size(name):
    if name == "GPT-3 175B":
        assert trainable_per_rank(name, "q v") == 96 * 2 * 2 * 12_288
        return
    with torch.device("meta"):
        assert trained_by_peft(build(name), 2, targets(name, "all linear")) == 2 * trainable_per_rank(
            name, "all linear"
        )


def test_grouped_query_attention_has_a_narrower_v():
    sizes = {name: tuple(build("Llama-3.2-3B").get_submodule(f"model.layers.0.self_attn.{name}_proj").weight.shape)
             for name in "qkvo"}  # fmt: skip
    assert sizes == {"q": (3072, 3072), "k": (1024, 3072), "v": (1024, 3072), "o": (3072, 3072)}


def test_gpt_2s_c_attn_counts_as_q_and_v_would_apart():
    layer = build("GPT-2 medium").transformer.h[0].attn.c_attn
    assert tuple(layer.weight.shape) == (1024, 3 * 1024)
    assert trainable_per_rank("GPT-2 medium", "q v") == trainable_per_rank("RoBERTa-large", "q v")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="GPT-4.*Use one of NameGPT, "):
        build("GPT-4")
    with pytest.raises(ValueError, match="'everything'.*q v, attention"):
        targets("NameGPT", "everything")


def test_they_stand_in_the_order_of_their_sizes():
    totals = [total_parameters(name) for name in ARCHITECTURES]
    assert totals == sorted(totals) and math.log10(totals[-1] / totals[0]) > 5
