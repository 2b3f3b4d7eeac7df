"""llama.cpp as the oracle of GGUF files: a base of transformers' is written for it, and it answers by the token."""

from tests.tiny_language_model import WORDS

import pytest
import torch

KINDS = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def tiny(architecture, **options):
    """A random model of two layers with fewer heads for k and v than for q."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{KINDS[architecture]}Config")(
        **{
            "vocab_size": len(WORDS), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.3,
            "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 1, "max_position_embeddings": 128,
        } | options
    )  # fmt: skip
    return getattr(transformers, f"{KINDS[architecture]}ForCausalLM")(config).eval()


def write_base(model, file, architecture, tokens=WORDS):
    """Write the whole model as a GGUF file in float32; prompts are given to it as token ids."""
    gguf = pytest.importorskip("gguf")
    config, writer = model.config, gguf.GGUFWriter(file, architecture)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for add, value in {
        "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers, "feed_forward_length": config.intermediate_size,
        "head_count": config.num_attention_heads, "head_count_kv": config.num_key_value_heads, "key_length": head,
        "value_length": head, "rope_dimension_count": head, "layer_norm_rms_eps": config.rms_norm_eps,
        "rope_freq_base": getattr(config, "rope_theta", None) or config.rope_parameters["rope_theta"],
        "vocab_size": config.vocab_size,
        "tokenizer_model": "gpt2", "tokenizer_pre": "default", "token_list": tokens, "token_merges": ["a b"],
        "eos_token_id": config.eos_token_id,
    }.items():  # fmt: skip
        getattr(writer, f"add_{add}")(value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            # As llama.cpp's convert_hf_to_gguf.py does: the two halves of each head are interleaved.
            tensor = tensor.unflatten(0, (heads, 2, -1)).swapaxes(1, 2).flatten(0, 2)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def answers(base, prompts, tokens, adapter=None):
    """Ask llama.cpp: for each list of token ids, ``[(id, log-probability), …]`` of the likeliest next ones."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp's answers: pip install xllamacpp")
    asked = xllamacpp.CommonParams()
    asked.model.path, asked.n_ctx, asked.n_gpu_layers, asked.cpuparams.n_threads = str(base), 512, 0, 1
    asked.warmup, asked.fit_params, asked.use_jinja, asked.verbosity = False, False, False, -1
    asked.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it would be in float16
    asked.cache_type_k = asked.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    if adapter is not None:
        asked.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server, found = xllamacpp.Server(asked), []
    for prompt in prompts:
        given = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "top_k": 1, "n_probs": 1}
        told = server.handle_completions(given)["choices"][0]["logprobs"]["content"]
        found.append([(one["id"], one["logprob"]) for one in told])
    return found


@torch.no_grad()
def our_answers(model, prompts, tokens, end):
    """The same of ours, up to and with the end mark."""
    found = []
    for prompt in prompts:
        ids, told = torch.tensor([prompt]), []
        while len(told) < tokens and (not told or told[-1][0] != end):
            odds = model(ids).logits[0, -1].log_softmax(-1)  # (vocabulary,)
            told.append((odds.argmax().item(), odds.max().item()))
            ids = torch.cat([ids, odds.argmax().view(1, 1)], dim=1)
        found.append(told)
    return found
