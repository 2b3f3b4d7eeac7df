"""The cases in which what a step costs is predicted and measured side by side."""

from contextlib import contextmanager

from lora_teach.bases.name_gpt import NameGPT, name_loss
from lora_teach.measure.flops import count_flops, predict_flops
from lora_teach.measure.measured_memory import measure_memory
from lora_teach.measure.predicted_memory import predict_memory
from lora_teach.model import LoRAModel

import torch

QUERY_VALUE = ["q_proj", "v_proj"]
SETTINGS = {
    "full": {},
    "full, checkpointed": {"checkpointing": True},
    "q v r4": {"rank": 4, "target_modules": QUERY_VALUE},
    "q v r4, checkpointed": {"rank": 4, "target_modules": QUERY_VALUE, "checkpointing": True},
    "all linear r8": {"rank": 8},
    "all linear r8, checkpointed": {"rank": 8, "checkpointing": True},
}
SIZES = {  # base -> the batches that are tried: (sequences, tokens in each)
    "NameGPT": ((4, 6), (32, 17), (256, 12)),
    "tiny Llama": ((1, 5), (3, 40), (16, 64)),
    "SmolLM2-135M": ((1, 32), (4, 32)),
}
TINY_LLAMA = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 64,
}  # fmt: skip


def new_base(name, dtype=torch.float32):
    """Return the base of that name in `SIZES`; the tiny Llama is random, SmolLM2 may have to be fetched."""
    if name == "NameGPT":
        return NameGPT().to(dtype)
    if name == "SmolLM2-135M":
        from lora_teach.bases.smollm2 import load_smollm2

        return load_smollm2()[0].to(dtype)
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY_LLAMA)).to(dtype)


def random_batch(model, batch_size, seq_len):
    """Return ``(batch, loss_fn)`` of random tokens, as `measure_memory` takes them."""
    vocabulary = next(module for module in model.modules() if isinstance(module, torch.nn.Embedding)).num_embeddings
    draw = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    # Two tensors, not two halves of one: a step that keeps one of them would hold the other as well.
    tokens, targets = (torch.randint(vocabulary, (batch_size, seq_len), generator=draw).to(device) for _ in range(2))
    if isinstance(model, NameGPT):
        return (tokens, targets), name_loss
    return {"input_ids": tokens, "labels": targets}, None


def compare_memory(base, batch_size, seq_len, setting):
    """Return ``(predicted, measured)``, a Memory each; ``setting`` is one of `SETTINGS`."""
    return _compare(predict_memory, measure_memory, base, batch_size, seq_len, setting)


def compare_flops(base, batch_size, seq_len, setting):
    """Return ``(predicted, counted)``: a Flops, and ``(forward, backward)`` as torch's counter has them."""
    return _compare(predict_flops, count_flops, base, batch_size, seq_len, setting)


def _compare(predict, measure, base, batch_size, seq_len, setting):
    options = dict(SETTINGS[setting])
    predicted = predict(base, batch_size, seq_len, **options)
    batch, loss_fn = random_batch(base, batch_size, seq_len)
    checkpointing = options.pop("checkpointing", False)
    with _adapted(base, options) as model:
        return predicted, measure(model, batch, loss_fn, checkpointing=checkpointing)


@contextmanager
def _adapted(base, options):
    """Within the block, the base with the adapters that are asked for; afterwards as it was."""
    if not options:
        yield base
        return
    model = LoRAModel(base, **options)
    try:
        yield model
    finally:
        model.remove()
