"""An adapter as a GGUF file, for llama.cpp and what is built on it: written by the ``gguf`` package.

llama.cpp keeps the base in one file and adds an adapter from another (``llama-cli -m base.gguf --lora adapter.gguf``).
It knows layers by names of its own, and one alpha for all of them: a layer's update is ``alpha / r · B A``.
"""

from collections import Counter

from lora_teach.overlay.adapter import check_known
from lora_teach.overlay.inspection import check_in_place
from lora_teach.overlay.names import unwrapped
from lora_teach.overlay.nested_modules import walk
from lora_teach.peft_format.folder import layer_classes
from lora_teach.utils.atomic_write import replace_file
from lora_teach.utils.outputs import check_new_file

import torch

# Class of the base -> (llama.cpp's name of the architecture, whether it orders the rows of q and k in its own way).
ARCHITECTURES = {
    "LlamaForCausalLM": ("llama", True),
    "MistralForCausalLM": ("llama", True),
    "Qwen2ForCausalLM": ("qwen2", False),
    "Qwen3ForCausalLM": ("qwen3", False),
}


def save_gguf(model, file, adapter_name="default"):
    """Write one adapter of a LoRAModel as a GGUF file, float32; an existing file is replaced, whole or not at all.

    llama.cpp takes it beside a GGUF file of the same base. The scales are exact also where the layers' differ: what
    the one alpha can't say goes into B.

    Args:
        model: A LoRAModel over one of transformers' Llama, Mistral, Qwen2 or Qwen3 language models.
        file: Where it is written; its folder is made if it is not there.
        adapter_name: Which adapter.

    Raises:
        ImportError: The ``gguf`` package is not installed.
        KeyError: No adapter of that name.
        RuntimeError: The base was changed under the adapter.
        ValueError: A base or a part of the adapter that llama.cpp has no place for, or a file that can't be written;
            the message names it.
    """
    import gguf

    base = unwrapped(model.base_model)
    if type(base).__name__ not in ARCHITECTURES:
        raise ValueError(
            f"a {type(base).__name__} can't be told to llama.cpp here. Use one of {', '.join(ARCHITECTURES)}, or merge "
            "the adapter (remove(merge=True)) and convert the whole model with llama.cpp's convert_hf_to_gguf.py."
        )
    name, reordered = ARCHITECTURES[type(base).__name__]
    check_known(adapter_name, model.adapters)
    check_in_place(model)
    file = check_new_file(file, overwrite=True)
    if model.saved_modules[adapter_name]:
        saved = ", ".join(model.saved_modules[adapter_name])
        raise ValueError(f"modules_to_save ({saved}) are trained copies, not factors: a GGUF adapter has none. {MERGE}")
    layers = dict(walk(model.adapters[adapter_name]))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[name.upper()], base.config.num_hidden_layers)
    places = {path: _place(path, layer, names, base) for path, layer in layers.items()}
    parts = {path: layer.file_parts() for path, layer in layers.items()}
    alphas = {path: _scale(layer) * len(parts[path]["A"]) for path, layer in layers.items()}
    alpha = Counter(alphas.values()).most_common(1)[0][0] or 1.0  # 0 means 1 to llama.cpp

    def write(temporary):
        writer = gguf.GGUFWriter(temporary, name)
        try:
            writer.add_type(gguf.GGUFType.ADAPTER)
            writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
            writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
            for path in layers:
                A, B = (parts[path][one].detach() for one in "AB")  # (rank, in_features), (out_features, rank)
                B = B.double() * (alphas[path] / alpha)
                if reordered and path.endswith(("q_proj", "k_proj")):
                    B = _in_pairs(B, _heads(base.config, path))
                for suffix, factor in (("lora_a", A), ("lora_b", B)):
                    writer.add_tensor(f"{places[path]}.{suffix}", factor.float().cpu().contiguous().numpy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()

    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, write)


MERGE = "Merge it into the base (remove(merge=True)) and convert the whole model instead."


def _scale(layer):
    return torch.as_tensor(layer.scaling, dtype=torch.float64).item()


def _heads(config, path):
    return config.num_attention_heads if path.endswith("q_proj") else config.num_key_value_heads


def _in_pairs(B, heads):
    """Reorder the rows of B ``(out, rank)``: transformers rotates i and i + half of a head, llama.cpp 2i and 2i + 1."""
    return B.reshape(heads, 2, -1, B.shape[1]).transpose(1, 2).reshape(B.shape)


def _place(path, layer, names, base):
    """Return the name under which llama.cpp keeps the weight at ``path``; ValueError if it can't be adapted there."""
    if hasattr(layer, "trained_bias"):
        raise ValueError(f"{path} has a trained bias, which a GGUF adapter has no place for. {MERGE}")
    known = type(layer) in layer_classes() and layer.in_peft and layer.kind == "Linear"
    if not known or layer.file_parts().keys() != {"A", "B"}:
        raise ValueError(f"{path}: a {type(layer).__name__} has no place in a GGUF adapter. {MERGE}")
    if not (torch.isfinite(layer.lora_A).all() and torch.isfinite(layer.lora_B).all()):
        raise ValueError(f"{path} holds nan or inf. Load an earlier checkpoint; the training blew up.")
    found = names.get_name(f"{path}.weight", try_suffixes=(".weight",))
    if found is None:
        raise ValueError(f"{path} is no layer that llama.cpp knows in a {type(base).__name__}. {MERGE}")
    if found == "output.weight" and base.config.tie_word_embeddings:
        raise ValueError(f"{path} is tied to the embedding, and llama.cpp has one weight for both. Leave it out.")
    return found
