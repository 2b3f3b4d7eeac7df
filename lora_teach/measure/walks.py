"""The architectures that can be predicted from shapes: each is led through a `Tape` operation by operation.

Read a walk beside the model's own ``forward``: it has the same lines.
"""

from lora_teach.bases.name_gpt import NameGPT
from lora_teach.config import LoRAConfig
from lora_teach.measure.tape import FLOAT, Tape
from lora_teach.model import LoRAModel
from lora_teach.overlay.targets import choose
from lora_teach.utils.validation import check_count

KNOWN = "NameGPT and transformers' Llama, Qwen2 and OPT"


def walk(model, batch_size, seq_len, *, rank=None, target_modules=None, dtype=None, padded=False):
    """Return ``(tape, adapted)``: what a training step of ``model`` keeps and multiplies, and its adapted layers.

    Args:
        model: A NameGPT, or transformers' Llama, Qwen2 or OPT. Only sizes are read: it may lie on the meta device.
        batch_size: Sequences in a batch.
        seq_len: Tokens in each.
        rank: Rank of every adapted layer; None for full fine-tuning.
        target_modules: As LoRAConfig takes them; None means every linear layer that can be adapted.
        dtype: Of the weights and of what is computed; None for the model's own.
        padded: Whether some of the tokens are padding that an attention mask hides.

    Raises:
        TypeError: A model that no walk is known for, or one that is a LoRAModel already.
        ValueError: A size out of its range, an attention that keeps other tensors, or an adapter beside another layer.
    """
    way = _way(model)
    check_count("batch_size", batch_size)
    check_count("seq_len", seq_len)
    if rank is None and target_modules is not None:
        raise ValueError(
            f"target_modules={target_modules!r} without a rank: full fine-tuning adapts none. Give a rank."
        )
    dtype = next(model.parameters()).dtype if dtype is None else dtype
    adapted = {} if rank is None else choose(model, LoRAConfig(rank=rank, target_modules=target_modules)).adapted
    ranks = None if rank is None else dict.fromkeys(adapted.values(), rank)
    tape = Tape(batch_size, seq_len, dtype.itemsize, ranks, adapter_itemsize(dtype), padded)
    way(model, tape)
    for name, layer in adapted.items():
        if layer not in tape.met:
            raise ValueError(
                f"an adapter beside {name!r}, a {type(layer).__name__}: the rule knows linear layers only."
            )
    return tape, adapted


def adapter_itemsize(dtype):
    """Bytes of a number of A and B: float32 over everything but float64."""
    return max(dtype.itemsize, FLOAT)


def _way(model):
    if isinstance(model, LoRAModel):
        raise TypeError("the model is a LoRAModel. Give its base, model.base_model, with rank and target_modules.")
    if isinstance(model, NameGPT):
        return _name_gpt
    for kind in type(model).__mro__:  # by name, so that transformers need not be imported
        if kind.__name__ in WAYS and kind.__module__.startswith("transformers."):
            return WAYS[kind.__name__]
    raise TypeError(
        f"what a {type(model).__name__} keeps for the backward pass is not known here: the rule holds for {KNOWN} "
        "with their head (…ForCausalLM). Measure a step instead: measure_memory(model, batch), "
        "count_flops(model, batch)."
    )


def _check(model, act, dropouts):
    config = model.config
    dropout = max(getattr(config, name) for name in dropouts) if model.training else 0.0
    if config._attn_implementation != "sdpa" or dropout:
        raise ValueError(
            f"attention {config._attn_implementation!r}, dropout {dropout:g}: the rule holds for 'sdpa' without "
            "dropout, and others keep more: masks, or matrices of (seq, seq). Build the model with "
            f"attn_implementation='sdpa', {', '.join(f'{name}=0.0' for name in dropouts)}."
        )
    if act not in ("silu", "relu"):
        raise ValueError(f"an MLP with {act!r}: the rule knows 'silu' for Llama and 'relu' for OPT. Measure a step.")


def _name_gpt(model, tape):
    if tape.padded:
        raise ValueError(
            "padded=True: NameGPT takes no attention mask; its padding is ordinary tokens without targets."
        )
    if tape.seq > model.position.num_embeddings:
        raise ValueError(f"seq_len={tape.seq} is longer than the model's {model.position.num_embeddings} positions.")
    x = tape.embedding(model.embedding.embedding_dim)
    for block in model.blocks:
        tape.enter_block(x)
        attention, mlp = block.attention, block.mlp
        inner = tape.layer_norm(x)
        q, k, v = (tape.linear(inner, layer) for layer in (attention.q_proj, attention.k_proj, attention.v_proj))
        x = tape.add(x, tape.linear(tape.attention(q, k, v, attention.heads), attention.o_proj))
        inner = tape.layer_norm(x)
        x = tape.add(x, tape.linear(tape.gelu(tape.linear(inner, mlp.up_proj)), mlp.down_proj))
    tape.leave_blocks()
    tape.cross_entropy(tape.linear(tape.layer_norm(x), model.head), tape.itemsize)


def _llama(model, tape):
    config = model.config
    _check(model, config.hidden_act, ["attention_dropout"])
    x = tape.embedding(config.hidden_size)
    for block in model.model.layers:
        tape.enter_block(x)
        attention, mlp = block.self_attn, block.mlp
        inner = tape.rms_norm(x)
        q, k, v = (tape.linear(inner, layer) for layer in (attention.q_proj, attention.k_proj, attention.v_proj))
        q, k = tape.rotate(q, attention.head_dim), tape.rotate(k, attention.head_dim)
        x = tape.add(x, tape.linear(tape.attention(q, k, v, config.num_attention_heads), attention.o_proj))
        inner = tape.rms_norm(x)
        gate, up = tape.linear(inner, mlp.gate_proj), tape.linear(inner, mlp.up_proj)
        x = tape.add(x, tape.linear(tape.times(tape.silu(gate), up), mlp.down_proj))
    tape.leave_blocks()
    tape.cross_entropy(tape.linear(tape.rms_norm(x), model.lm_head), FLOAT)  # the logits are cast to float32 first


def _opt(model, tape):
    config, decoder = model.config, model.model.decoder
    _check(model, config.activation_function, ["dropout", "attention_dropout"])
    if decoder.project_in is not None or not config.do_layer_norm_before:
        raise ValueError("an OPT that projects its embedding or norms after its layers (350M): the rule doesn't hold.")
    x = tape.add(tape.embedding(config.hidden_size), tape.embedding(config.hidden_size, "positions"))
    for block in decoder.layers:
        tape.enter_block(x)
        attention = block.self_attn
        inner = tape.layer_norm(x)
        q, k, v = (tape.linear(inner, layer) for layer in (attention.q_proj, attention.k_proj, attention.v_proj))
        x = tape.add(x, tape.linear(tape.attention(q, k, v, config.num_attention_heads), attention.out_proj))
        x = tape.add(x, tape.linear(tape.relu(tape.linear(tape.layer_norm(x), block.fc1)), block.fc2))
    tape.leave_blocks()
    tape.cross_entropy(tape.linear(tape.layer_norm(x), model.lm_head), FLOAT)


WAYS = {"LlamaForCausalLM": _llama, "Qwen2ForCausalLM": _llama, "OPTForCausalLM": _opt}  # Qwen2 has biases besides
