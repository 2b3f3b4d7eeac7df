"""Real architectures on the meta device: the shapes of models from NameGPT to GPT-3, and not one of their weights.

Each is transformers' own class, built from numbers that stand here with their source; nothing is fetched and nothing of
a model's size is ever allocated. What the numbers must come to is each model's published count of parameters.

GPT-2 computes q, k and v in one layer, c_attn, of d → 3d. An adapter of rank r on it has r (d + 3d) numbers, as many as
two adapters on d → d, so "q v" counts there what it counts elsewhere (the authors' code gives q and v a rank of r each
inside c_attn: r (d + d) twice). "attention" counts c_attn once, and attn.c_proj.

GPT-3 is built as OPT, which has its sizes and separate q, k, v and o, as the LoRA paper counts them.
"""

import functools
from dataclasses import dataclass, field

from lora_teach.bases import NameGPT
from lora_teach.measure.counting import lora_parameters

import torch

ATTENTION, LINEAR = ("q", "k", "v", "o"), ("q", "k", "v", "o", "MLP")
WHICH = {"q v": ("q", "v"), "attention": ATTENTION, "MLP": ("MLP",), "all linear": LINEAR}
LLAMA = {**{one: rf".*\.{one}_proj" for one in ATTENTION}, "MLP": r".*\.(gate|up|down)_proj", "head": "lm_head"}
LAYOUTS = {  # class -> group -> the modules that belong to it, as a regular expression over their names
    "NameGPT": LLAMA | {"head": "head"},
    "Llama": LLAMA,
    "Qwen2": LLAMA,
    "OPT": LLAMA | {"o": r".*\.out_proj", "MLP": r".*\.fc[12]"},
    "GPT2": dict.fromkeys("qkv", r".*\.c_attn")
    | {"o": r".*\.attn\.c_proj", "MLP": r".*\.mlp\.c_(fc|proj)", "head": "lm_head"},
    "Roberta": {"q": r".*\.query", "k": r".*\.key", "v": r".*\.value"}
    | {"o": r".*\.attention\.output\.dense", "MLP": r".*\.\d+\.(intermediate|output)\.dense", "head": r"lm_head\..*"},
    "DebertaV2": {"q": r".*\.query_proj", "k": r".*\.key_proj", "v": r".*\.value_proj"}
    | {"o": r".*\.attention\.output\.dense", "MLP": r".*\.\d+\.(intermediate|output)\.dense", "head": r"lm_head\..*"},
}
MODELS = {"Roberta": "RobertaForMaskedLM", "GPT2": "GPT2LMHeadModel", "DebertaV2": "DebertaV2Model"}


@dataclass(frozen=True)
class Architecture:
    """What a model is built from: transformers' family and its sizes, with the published count and where it stands."""

    family: str
    printed: str
    source: str
    sizes: dict = field(repr=False)


def _llama(printed, source, family="Llama", *, vocab, width, inner, layers, heads, kv_heads, tied):
    sizes = {"vocab_size": vocab, "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers}
    sizes |= {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "tie_word_embeddings": tied}
    return Architecture(family, printed, source, sizes)


def _roberta(printed, width, layers, heads):
    sizes = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1, "hidden_size": width}
    sizes |= {"intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return Architecture("Roberta", printed, "Liu et al. 2019, arXiv 1907.11692, section 5 and table 9", sizes)


def _gpt2(printed, width, layers, heads):
    sizes = {"vocab_size": 50_257, "n_positions": 1024, "n_embd": width, "n_layer": layers, "n_head": heads}
    return Architecture("GPT2", printed, "Radford et al. 2019, table 2; counts from OpenAI's repository gpt-2", sizes)


DEBERTA = {
    "vocab_size": 128_100, "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 48,
    "num_attention_heads": 24, "max_position_embeddings": 512, "type_vocab_size": 0, "relative_attention": True,
    "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
    "conv_kernel_size": 3, "conv_act": "gelu", "position_biased_input": False,
}  # fmt: skip
GPT3 = {
    "vocab_size": 50_257, "hidden_size": 12_288, "word_embed_proj_dim": 12_288, "ffn_dim": 49_152,
    "num_hidden_layers": 96, "num_attention_heads": 96, "max_position_embeddings": 2048, "dropout": 0.0,
}  # fmt: skip
LLAMA_3 = "Dubey et al. 2024, arXiv 2407.21783, table 3; meta-llama's model cards and config.json"
QWEN = "Qwen Team 2024, arXiv 2412.15115, table 1; Qwen's model cards and config.json"

ARCHITECTURES = {  # smallest first
    "NameGPT": Architecture("NameGPT", "342,720", "lora_teach/bases/name_gpt.py", {}),
    "RoBERTa-base": _roberta("125M", 768, 12, 12),
    "SmolLM2-135M": _llama(
        "135M", "HuggingFaceTB's model card and config.json",
        vocab=49_152, width=576, inner=1536, layers=30, heads=9, kv_heads=3, tied=True,
    ),
    "GPT-2 medium": _gpt2("355M", 1024, 24, 16),
    "RoBERTa-large": _roberta("355M", 1024, 24, 16),
    "Qwen2.5-0.5B": _llama(
        "0.49B", QWEN, "Qwen2", vocab=151_936, width=896, inner=4864, layers=24, heads=14, kv_heads=2, tied=True
    ),
    "GPT-2 large": _gpt2("774M", 1280, 36, 20),
    "Llama-3.2-1B": _llama(
        "1.23B", LLAMA_3, vocab=128_256, width=2048, inner=8192, layers=16, heads=32, kv_heads=8, tied=True
    ),
    "DeBERTa-v2-XXL": Architecture(
        "DebertaV2", "1.5B", "He et al. 2021, arXiv 2006.03654; microsoft/deberta-v2-xxlarge's config.json", DEBERTA
    ),
    "Llama-3.2-3B": _llama(
        "3.21B", LLAMA_3, vocab=128_256, width=3072, inner=8192, layers=28, heads=24, kv_heads=8, tied=True
    ),
    "Llama-2-7B": _llama(
        "6.74B", "Touvron et al. 2023, arXiv 2307.09288; meta-llama's model card and config.json",
        vocab=32_000, width=4096, inner=11_008, layers=32, heads=32, kv_heads=32, tied=False,
    ),
    "Qwen2.5-7B": _llama(
        "7.61B", QWEN, "Qwen2", vocab=152_064, width=3584, inner=18_944, layers=28, heads=28, kv_heads=4, tied=False
    ),
    "Llama-3.1-8B": _llama(
        "8.03B", LLAMA_3, vocab=128_256, width=4096, inner=14_336, layers=32, heads=32, kv_heads=8, tied=False
    ),
    "GPT-3 175B": Architecture("OPT", "175B", "Brown et al. 2020, arXiv 2005.14165, table 2.1", GPT3),
}  # fmt: skip


def build(name, device="meta", **changes):
    """Return a model of this architecture, on the meta device: shapes without numbers.

    Args:
        name: One of `ARCHITECTURES`.
        device: Where else to build it; off the meta device the weights are random, and take the room that they take.
        changes: Sizes to change, by the names of transformers' config: ``num_hidden_layers=2``.

    Raises:
        ValueError: An unknown name; the message lists the known ones.

    >>> sum(parameter.numel() for parameter in build("Llama-3.1-8B").parameters())
    8030261248
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"name={name!r} is no architecture that is known here. Use one of {', '.join(ARCHITECTURES)}.")
    one = ARCHITECTURES[name]
    with torch.device(device):
        if one.family == "NameGPT":
            return NameGPT(**changes)
        import transformers

        config = getattr(transformers, f"{one.family}Config")(**one.sizes | changes)
        return getattr(transformers, MODELS.get(one.family, f"{one.family}ForCausalLM"))(config)


def targets(name, which, head=False):
    r"""Return the ``target_modules`` that mean "q v", "attention", "MLP" or "all linear" in this architecture.

    Args:
        name: One of `ARCHITECTURES`.
        which: One of `WHICH`; "all linear" leaves out the output head, as PEFT's "all-linear" does.
        head: Whether the output head, or unembedding, is adapted too.

    >>> targets("Llama-3.2-3B", "q v")
    '.*\\.q_proj|.*\\.v_proj'
    """
    if which not in WHICH:
        raise ValueError(f"which={which!r} names no group of layers. Use one of {', '.join(WHICH)}.")
    layout = LAYOUTS[ARCHITECTURES[name].family]
    wanted = [layout[group] for group in (*WHICH[which], *(["head"] if head else []))]
    return "|".join(dict.fromkeys(wanted))  # GPT-2's q, k and v are one module


@functools.cache
def _kept(name):
    """The model of this name, built once, to be looked at only."""
    return build(name)


@functools.cache
def trainable_per_rank(name, which, head=False):
    """Numbers that an adapter trains for each unit of rank: the count is proportional to the rank."""
    return lora_parameters(_kept(name), 1, targets(name, which, head))


@functools.cache
def total_parameters(name):
    """Numbers in the whole model; a head that is tied to the embedding counts once."""
    return sum(parameter.numel() for parameter in _kept(name).parameters())
