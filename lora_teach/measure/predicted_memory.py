"""What a training step holds in memory, predicted from shapes; `measured_memory` measures it."""

from lora_teach.measure.fake_step import fake_step
from lora_teach.measure.measured_memory import Memory, blocks_of, readable
from lora_teach.utils.validation import check_choice

__all__ = ["Memory", "predict_kept", "predict_memory", "predict_peak", "readable"]

STATES = {"adamw": 2, "momentum": 1, "sgd": 0}  # numbers that the optimiser remembers of each parameter
STEP = 4  # bytes: AdamW counts its steps for every tensor, in a float32


def predict_memory(
    model,
    batch_size,
    seq_len,
    *,
    rank=None,
    target_modules=None,
    variant="lora",
    dtype=None,
    checkpointing=False,
    optimizer="adamw",
    padded=False,
):
    """Predict what a training step holds, from shapes alone; no number is computed.

    The model's own forward runs on tensors without data (`lora_teach.measure.fake_step`), so any model of tokens will
    do, with any attention and dropout. It is told for a CPU's fused attention ("sdpa"), and a GPU's keeps the same.
    Kernels' working space and what lives for one operation only is not in it; `predict_peak` adds the largest of that.

    Args:
        model: The base: transformers', with a head and so a loss (…ForCausalLM), or one that maps tokens to logits, as
            NameGPT does. On ``torch.device("meta")`` one of any size costs nothing.
        batch_size: Sequences in a batch.
        seq_len: Tokens in each.
        rank: Rank of every adapted layer; None means full fine-tuning.
        target_modules: Which layers are adapted, as LoRAConfig takes them.
        variant: Kind of the adapters, such as "dora", as LoRAConfig takes it. What an adapter freezes, such as
            LoRA-FA's A and what PiSSA subtracts, is held without gradients or optimiser state.
        dtype: Of the weights and of what is computed; None for the model's own. A and B are float32 or wider.
        checkpointing: Whether each block keeps its input only and is computed once more in the backward.
        optimizer: "adamw", "momentum" (SGD with it) or "sgd".
        padded: Whether an attention mask hides padding, which keeps more.

    Returns:
        A Memory.

    Raises:
        TypeError: A LoRAModel, or a model that can't be run on tokens without data. `measure_memory` measures a step.
        ValueError: A size out of its range, an unknown optimiser, a target without a rank.

    >>> from lora_teach.bases import NameGPT
    >>> full, lora = predict_memory(NameGPT(), 32, 16), predict_memory(NameGPT(), 32, 16, rank=4)
    >>> lora.gradients / full.gradients < 0.1, lora.activations / full.activations > 0.6
    (True, True)
    """
    states = STATES[check_choice("optimizer", optimizer, STATES)]
    options = dict(rank=rank, target_modules=target_modules, variant=variant, dtype=dtype, padded=padded)
    step = _step(model, batch_size, seq_len, checkpointing, options)
    cast = [p.dtype if dtype is None or not p.is_floating_point() else dtype for p in model.parameters()]
    base = [p.numel() * kind.itemsize for p, kind in zip(model.parameters(), cast, strict=True)]
    adapters = sum(times * step.amounts[tensor] for tensor, times, _ in step.adapters)
    training, tensors = sum(base), len(base)
    if rank is not None:
        trained = [(times * step.amounts[tensor], times) for tensor, times, trains in step.adapters if trains]
        training, tensors = (sum(column) for column in zip(*trained, strict=True))
    return Memory(
        weights=sum(base) + sum(buffer.numel() * buffer.itemsize for buffer in model.buffers()),
        adapters=adapters,
        gradients=training,
        optimiser=states * training + (STEP * tensors if optimizer == "adamw" else 0),
        activations=max(sum(kinds.values()) for kinds in step.moments(checkpointing)),
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
    checkpointing = options.pop("checkpointing", False)
    options.pop("optimizer", None)
    *blocks, end = _step(model, batch_size, seq_len, checkpointing, options).moments(checkpointing)
    end["gradients"] = 2 * end["log-probabilities"]
    return held.total - held.activations + max(sum(kinds.values()) for kinds in [*blocks, end])


def predict_kept(model, batch_size, seq_len, *, checkpointing=False, **options):
    """Tell what the activations of `predict_memory` are: ``{kind of tensor: bytes}``, the largest first."""
    moments = _step(model, batch_size, seq_len, checkpointing, options).moments(checkpointing)
    most = max(moments, key=lambda kinds: sum(kinds.values()))
    return dict(sorted(most.items(), key=lambda entry: -entry[1]))


def _step(model, batch_size, seq_len, checkpointing, options):
    if checkpointing and not blocks_of(model):
        raise ValueError(f"{type(model).__name__} has no nn.ModuleList of blocks to checkpoint.")
    return fake_step(model, batch_size, seq_len, cache=not checkpointing, **options)
