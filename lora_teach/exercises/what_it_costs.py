"""Checks of notebook 10: an adapter counted from a model card, and the batch from which LoRA saves little memory."""

from lora_teach.exercises.check import check, compare
from lora_teach.measure.architectures import ARCHITECTURES, build, targets
from lora_teach.measure.predicted_memory import predict_memory

COUNTED = (("Llama-3.2-3B", 32), ("Llama-2-7B", 8), ("Qwen2.5-0.5B", 4))
BATCHES = (("SmolLM2-135M", 512, 8, 1.5), ("SmolLM2-135M", 128, 8, 1.5), ("Qwen2.5-0.5B", 512, 16, 2.0))


@check
def check_count_q_v(count_q_v):
    """Check ``count_q_v(width, heads, kv_heads, layers, rank)``: the numbers of an adapter on every q and v."""
    for name, rank in COUNTED:
        sizes = ARCHITECTURES[name].sizes
        width, layers = sizes["hidden_size"], sizes["num_hidden_layers"]
        heads, kv_heads = sizes["num_attention_heads"], sizes["num_key_value_heads"]
        narrow = width // heads * kv_heads  # v's outputs
        q, v = rank * (width + width), rank * (width + narrow)
        mistakes = [
            (layers * 2 * q, "v is not square here: it has kv_heads heads' outputs, and each has width / heads."),
            (q + v, "That is one layer's: there are as many of each as layers."),
            (layers * q, "That is q alone, or A alone: count A and B of q and of v."),
            (layers * v, "That is v alone, or B alone: count A and B of q and of v."),
            (layers * 2 * v, "q is square: it has all the heads. Only k and v are narrower."),
            (layers * (q + rank * (width + kv_heads)), "kv_heads counts heads; each has width / heads outputs."),
            (layers * (q + rank * (width + width // kv_heads)), "v has kv_heads heads of width / heads outputs each."),
            (layers * (q + v) // rank, "The rank is missing."),
            (layers * (width * width + width * narrow), "Those are the frozen weights: A and B beside them train."),
        ]
        call = f"count_q_v(width={width}, heads={heads}, kv_heads={kv_heads}, layers={layers}, rank={rank}), {name}"
        compare(count_q_v(width, heads, kv_heads, layers, rank), layers * (q + v), call, mistakes)
    return "9,175,040 for Llama-3.2-3B at rank 32, the number that PEFT's benchmark prints; two more models as well."


@check
def check_smallest_batch(smallest_batch):
    """Check ``smallest_batch(model, targets, seq_len, rank, limit)``: where full / LoRA first falls below the limit."""
    for name, seq_len, rank, limit in BATCHES:
        model, wanted = build(name), targets(name, "q v")
        ratios = [_ratio(model, wanted, batch, seq_len, rank) for batch in range(1, 65)]
        right = 1 + next(at for at, ratio in enumerate(ratios) if ratio < limit)
        everywhere = next(batch for batch in range(1, 65) if _ratio(model, None, batch, seq_len, rank) < limit)
        mistakes = [
            (right - 1, "That is the last batch size with the whole saving; one more sequence is asked for."),
            (right + 1, "One too many: the batch before is below the limit already."),
            (1, "At a batch of 1 the saving is the largest. Is the ratio upside down? It is full over LoRA."),
            (seq_len * right, "Those are tokens; a batch size counts sequences."),
            (ratios[right - 1], "That is the ratio; return the batch size at which it is reached."),
            (ratios[0], "That is the ratio at a batch of 1. Go up until it is below the limit; return the batch size."),
            (everywhere, "That is with LoRA on all linear layers; for q and v give target_modules=targets."),
            (None, "No batch size was found. Compare totals, activations included: weights alone never change."),
        ]
        call = f"smallest_batch({name}, its q and v, seq_len={seq_len}, rank={rank}, limit={limit})"
        compare(smallest_batch(model, wanted, seq_len, rank, limit), right, call, mistakes)
    return "for two sequence lengths, two models and two limits."


def _ratio(model, wanted, batch_size, seq_len, rank):
    """Full fine-tuning's bytes over LoRA's."""
    full = predict_memory(model, batch_size, seq_len)
    return full.total / predict_memory(model, batch_size, seq_len, rank=rank, target_modules=wanted).total
