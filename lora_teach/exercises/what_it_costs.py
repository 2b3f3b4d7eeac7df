"""Checks of notebook 10: an adapter counted from a model card, and the bytes that a training step holds."""

import re
from functools import cache

from lora_teach.exercises.check import attempt, cases, check, compare
from lora_teach.measure.architectures import ARCHITECTURES, build, targets, total_parameters

COUNTED = [("Llama-3.2-3B", 32), ("Llama-2-7B", 8), ("Qwen2.5-0.5B", 4), ("SmolLM2-135M", 1)]
HELD = [  # model, the layers adapted, rank (None: full fine-tuning), bytes a number of the frozen model
    ("Llama-3.2-3B", "q v", 12, 0.5),  # four bits: each usual mistake gives a number of its own
    ("SmolLM2-135M", "all linear", 16, 4),
    ("Llama-3.2-3B", "q v", None, 2),
    ("SmolLM2-135M", "q v", None, 4),
    ("Qwen2.5-0.5B", "all linear", 1, 2),
]
FLOAT32 = 4  # bytes: what A, B, their gradients and AdamW's numbers take, whatever the model is kept in


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
def check_bytes_held(bytes_held):
    """Check ``bytes_held(numbers, shapes, rank, size)``: what a step with AdamW holds besides activations, in bytes."""
    for name, which, rank, size in cases(HELD):
        numbers, shapes = total_parameters(name), adapted_shapes(name, which)
        right = right_bytes(numbers, shapes, rank, size)
        mistakes = _full_mistakes(numbers, size) if rank is None else _lora_mistakes(numbers, shapes, rank, size)
        call = {"numbers": numbers, "shapes": shapes, "rank": rank, "size": size}
        got = attempt(bytes_held, **call)
        compare(got, right, [*mistakes, (right / 1e9, "Those are gigabytes: return bytes.")], rtol=1e-12)
    llama = total_parameters("Llama-3.2-3B"), adapted_shapes("Llama-3.2-3B", "q v")
    full, lora = (right_bytes(*llama, rank, 2) / 1e9 for rank in (None, 8))
    return f"Llama-3.2-3B in 16 bits: {full:.1f} GB for full fine-tuning, {lora:.1f} GB for LoRA on q and v."


def right_bytes(numbers, shapes, rank, size):
    """Bytes of weights, gradients and AdamW's state; activations and the counters of steps are left out."""
    if rank is None:
        return 4 * numbers * size
    return numbers * size + 4 * FLOAT32 * rank * sum(out + into for out, into in shapes)


@cache
def adapted_shapes(name, which):
    """Return ``[(out_features, in_features), …]`` of a known model's adapted layers, read from the meta device."""
    wanted = re.compile(targets(name, which))
    return [tuple(layer.weight.shape) for path, layer in build(name).named_modules() if wanted.fullmatch(path)]


def _full_mistakes(numbers, size):
    """The usual wrong answers for full fine-tuning."""
    return [
        (numbers * size, "That is the weights alone: a gradient and AdamW's numbers come on top."),
        (2 * numbers * size, "AdamW's two numbers for each that trains are missing."),
        (
            3 * numbers * size,
            "Three of the four: weights, gradients, and AdamW keeps two numbers for each that trains.",
        ),
        (numbers * (size + 3 * FLOAT32), "In full fine-tuning gradients and state have the weights' own precision."),
        (4 * numbers * FLOAT32, "Each number takes `size` bytes here, not always four."),
    ]


def _lora_mistakes(numbers, shapes, rank, size):
    """The usual wrong answers for LoRA."""
    frozen, trained = numbers * size, rank * sum(out + into for out, into in shapes)
    one = rank * sum(into for _, into in shapes)  # the numbers of A
    inside = sum(out * into for out, into in shapes)  # of the weights that are adapted
    return [
        (4 * trained * FLOAT32, "The frozen model still has to be there: its weights are missing."),
        (4 * frozen, "That is full fine-tuning's: here only A and B train."),
        (frozen, "That is the frozen model alone: A and B, their gradients and AdamW's numbers come on top."),
        (frozen + trained * FLOAT32, "Gradients and AdamW's numbers of A and B are missing."),
        (frozen + 2 * trained * FLOAT32, "AdamW's two numbers for each that trains are missing."),
        (frozen + 3 * trained * FLOAT32, "A, B: themselves, a gradient, and two numbers of AdamW's; one is missing."),
        (frozen + 4 * trained * size, "A, B and what belongs to them are float32, whatever the model is kept in."),
        ((numbers + 4 * trained) * FLOAT32, "The frozen model takes `size` bytes a number."),
        (frozen + 4 * one * FLOAT32, "That counts A alone: B has rank · out numbers."),
        (frozen + 4 * (trained - one) * FLOAT32, "That counts B alone: A has rank · in numbers."),
        (frozen + 4 * trained // rank * FLOAT32, "The rank is missing."),
        (frozen + 4 * inside * FLOAT32, "Those are the adapted weights: A and B beside them train."),
        (2 * frozen + 4 * trained * FLOAT32, "A frozen weight has no gradient."),
        (frozen - inside * size + 4 * trained * FLOAT32, "The adapted weights are frozen, and still there."),
    ]
