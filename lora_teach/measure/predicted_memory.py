"""What a training step holds in memory, predicted from shapes; `held` measures it."""

from dataclasses import dataclass, fields

from lora_teach.layers.build import sizes
from lora_teach.measure.counting import layer_parameters
from lora_teach.measure.walks import adapter_itemsize, walk
from lora_teach.utils.validation import check_choice

STATES = {"adamw": 2, "momentum": 1, "sgd": 0}  # numbers that the optimiser remembers of each parameter
STEP = 4  # bytes: AdamW counts its steps for every tensor, in a float32
UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3}


@dataclass(frozen=True)
class Memory:
    """What a training step holds, in bytes.

    Attributes:
        weights: Of the base model: parameters and buffers.
        adapters: A and B of every adapted layer.
        gradients: Of everything that trains.
        optimiser: What it remembers of everything that trains.
        activations: What the forward keeps for the backward, when it is most.
    """

    weights: int
    adapters: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self):
        """All of it at once, in bytes.

        Gradients and activations meet where gradients stay from one forward to the next, as when they are summed over
        several batches. Where they are freed after each step the peak is lower, by the smaller of the two at most.
        """
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self):
        rows = {field.name: getattr(self, field.name) for field in fields(self)} | {"total": self.total}
        return "\n".join(
            f"{name:<12}{readable(size):>10}{size / max(1, self.total):>7.0%}" for name, size in rows.items()
        )


def readable(size):
    """Return a number of bytes as a person reads it.

    >>> readable(1_530_000_000), readable(21_504), readable(7)
    ('1.53 GB', '21.5 kB', '7 B')
    """
    for unit, bytes_in in UNITS.items():
        if size >= bytes_in:
            value = size / bytes_in
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{size} B"


def predict_memory(
    model,
    batch_size,
    seq_len,
    *,
    rank=None,
    target_modules=None,
    dtype=None,
    checkpointing=False,
    optimizer="adamw",
    padded=False,
):
    """Predict what a training step holds, from shapes alone; nothing runs.

    The rule, operation by operation, is in `lora_teach.measure.tape`. It holds for NameGPT and transformers' Llama (so
    SmolLM2), Qwen2 and OPT (so GPT-3's sizes) with PyTorch's fused attention ("sdpa"), a plain LoRA and no dropout.
    Kernels' working space and what lives for one operation only is not in it; `predict_peak` adds the largest of that.

    Args:
        model: The base; on ``torch.device("meta")`` one of any size costs nothing.
        batch_size: Sequences in a batch.
        seq_len: Tokens in each.
        rank: Rank of every adapted layer; None means full fine-tuning.
        target_modules: Which layers are adapted, as LoRAConfig takes them.
        dtype: Of the weights and of what is computed; None for the model's own. A and B are float32 or wider.
        checkpointing: Whether each block keeps its input only and is computed once more in the backward.
        optimizer: "adamw", "momentum" (SGD with it) or "sgd".
        padded: Whether an attention mask hides padding, which keeps more.

    Returns:
        A Memory.

    Raises:
        TypeError, ValueError: A model or a setting for which no rule is known; the message says which are.

    >>> from lora_teach.bases import NameGPT
    >>> full, lora = predict_memory(NameGPT(), 32, 16), predict_memory(NameGPT(), 32, 16, rank=4)
    >>> lora.gradients / full.gradients < 0.1, lora.activations / full.activations > 0.6
    (True, True)
    """
    states = STATES[check_choice("optimizer", optimizer, STATES)]
    options = dict(rank=rank, target_modules=target_modules, dtype=dtype, padded=padded)
    tape, adapted = walk(model, batch_size, seq_len, **options)
    held = tape.held(checkpointing)
    base = [(p.numel(), p.dtype if dtype is None else dtype) for p in model.parameters()]
    weights = sum(numbers * kind.itemsize for numbers, kind in base)
    adapters, tensors = 0, len(base)
    if rank is not None:
        width = adapter_itemsize(base[0][1])
        adapters = sum(layer_parameters(*sizes(layer), rank) * width for layer in adapted.values())
        tensors = 2 * len(adapted)
    training = weights if rank is None else adapters
    return Memory(
        weights=weights + sum(buffer.numel() * buffer.itemsize for buffer in model.buffers()),
        adapters=adapters,
        gradients=training,
        optimiser=states * training + (STEP * tensors if optimizer == "adamw" else 0),
        activations=sum(size for size, _ in held.values()),
    )


def predict_peak(model, batch_size, seq_len, **options):
    """Predict the most that a step holds at any moment, in bytes: what has to fit into a GPU.

    That is `predict_memory`'s total and, as the backward begins, the gradients of the log-probabilities and of the
    logits: each as large as the vocabulary times the tokens, mostly in float32. Where the vocabulary is small, what
    lives for one operation inside a block may be more; that is not in it, nor is kernels' working space, below 0.1 GB.
    ``data/memory_cuda.json`` has what CUDA's allocator says.

    Args:
        model: As `predict_memory` takes it, and so are the others.
        batch_size: Sequences in a batch.
        seq_len: Tokens in each.
        **options: Those of `predict_memory`.
    """
    held = predict_memory(model, batch_size, seq_len, **options)
    walked = {key: value for key, value in options.items() if key not in ("checkpointing", "optimizer")}
    tape, _ = walk(model, batch_size, seq_len, **walked)
    return held.total - held.activations + tape.peak(options.get("checkpointing", False))


def predict_kept(model, batch_size, seq_len, *, checkpointing=False, **options):
    """Tell what the activations of `predict_memory` are: ``{kind of tensor: bytes}``, the largest first."""
    tape, _ = walk(model, batch_size, seq_len, **options)
    kinds = {}
    for size, kind in tape.held(checkpointing).values():
        kinds[kind] = kinds.get(kind, 0) + size
    return dict(sorted(kinds.items(), key=lambda entry: -entry[1]))
