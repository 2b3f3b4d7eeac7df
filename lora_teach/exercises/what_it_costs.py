"""Checks of notebook 10: an adapter counted from a model card, and the batch from which LoRA saves little memory."""

from lora_teach.exercises.check import attempt, cases, check, compare
from lora_teach.measure.architectures import ARCHITECTURES, build, targets
from lora_teach.measure.predicted_memory import predict_memory

COUNTED = [("Llama-3.2-3B", 32), ("Llama-2-7B", 8), ("Qwen2.5-0.5B", 4), ("SmolLM2-135M", 1)]
BATCHES = [("SmolLM2-135M", 512, 8, 1.5), ("SmolLM2-135M", 300, 2, 1.5), ("Qwen2.5-0.5B", 512, 16, 2.0)]


@check
def check_count_q_v(count_q_v):
    """Check ``count_q_v(width, heads, kv_heads, layers, rank)``: the numbers of an adapter on every q and v."""
    for name, rank in cases(COUNTED):
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
        call = {"width": width, "heads": heads, "kv_heads": kv_heads, "layers": layers, "rank": rank}
        compare(attempt(count_q_v, **call), layers * (q + v), mistakes)
    return "9,175,040 for Llama-3.2-3B at rank 32, the number that PEFT's benchmark prints; three more models as well."


@check
def check_smallest_batch(smallest_batch):
    """Check ``smallest_batch(model, targets, seq_len, rank, limit)``: where full / LoRA first falls below the limit."""
    for name, seq_len, rank, limit in cases(BATCHES):
        model, wanted = build(name), targets(name, "q v")
        ratios = _ratios(model, wanted, seq_len, rank, limit)
        right, everywhere = len(ratios), len(_ratios(model, None, seq_len, rank, limit))
        mistakes = [
            (right - 1, "That is the last batch size with the whole saving; one more sequence is asked for."),
            (right + 1, "One too many: the batch before is below the limit already."),
            (1, "At a batch of 1 the saving is the largest. Is the ratio upside down? It is full over LoRA."),
            (seq_len * right, "Those are tokens; a batch size counts sequences."),
            (ratios[-1], "That is the ratio; return the batch size at which it is reached."),
            (ratios[0], "That is the ratio at a batch of 1. Go up until it is below the limit; return the batch size."),
            (everywhere, "That is with LoRA on all linear layers; for q and v give target_modules=targets."),
            (None, "No batch size was found. Compare totals, activations included: weights alone never change."),
        ]
        got = attempt(smallest_batch, ("model",), model=model, targets=wanted, seq_len=seq_len, rank=rank, limit=limit)
        compare(got, right, mistakes)
    return "for two sequence lengths, two models and two limits."


def _ratios(model, wanted, seq_len, rank, limit):
    """Full fine-tuning's bytes over LoRA's, for a batch of 1, 2 … until they are below the limit."""
    ratios = []
    while not ratios or ratios[-1] >= limit:
        full = predict_memory(model, len(ratios) + 1, seq_len)
        lora = predict_memory(model, len(ratios) + 1, seq_len, rank=rank, target_modules=wanted)
        ratios.append(full.total / lora.total)
    return ratios
