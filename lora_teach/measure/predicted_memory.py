"""What a training step holds in memory, predicted from shapes; `measured_memory` measures it."""

from lora_teach.layers.build import sizes
from lora_teach.measure.cost_model import step_costs
from lora_teach.measure.counting import layer_parameters
from lora_teach.measure.measured_memory import Memory, readable
from lora_teach.utils.validation import check_choice

import torch

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
    dtype=None,
    checkpointing=False,
    optimizer="adamw",
    padded=False,
):
    """Predict what a training step holds, from shapes alone.

    The model's own forward is run on tensors without numbers (`lora_teach.measure.cost_model`), so any model of tokens
    will do. What depends on the numbers is assumed: no two sequences are packed into one.
    Kernels' working space and what lives for one operation only is not in it; `predict_peak` adds the largest of that.

    Args:
        model: The base: transformers', with a loss (…ForCausalLM), or one that maps tokens to logits, as NameGPT. On
            ``torch.device("meta")`` one of any size costs nothing.
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
        TypeError: A LoRAModel; a model that can't be run on tensors without numbers. `measure_memory` measures those.
        ValueError: A size out of its range, an unknown optimiser, target_modules without a rank.

    >>> from lora_teach.bases import NameGPT
    >>> full, lora = predict_memory(NameGPT(), 32, 16), predict_memory(NameGPT(), 32, 16, rank=4)
    >>> lora.gradients / full.gradients < 0.1, lora.activations / full.activations > 0.6
    (True, True)
    """
    states = STATES[check_choice("optimizer", optimizer, STATES)]
    options = dict(rank=rank, target_modules=target_modules, dtype=dtype, padded=padded, checkpointing=checkpointing)
    costs, adapted = step_costs(model, batch_size, seq_len, **options)
    base = [(p.numel(), p.dtype if dtype is None else dtype) for p in model.parameters()]
    weights = sum(numbers * kind.itemsize for numbers, kind in base)
    adapters, tensors = 0, len(base)
    if rank is not None:
        width = max(base[0][1].itemsize, torch.float32.itemsize)  # A and B are float32 or wider
        adapters = sum(layer_parameters(*sizes(layer), rank) * width for layer in adapted.values())
        tensors = 2 * len(adapted)
    training = weights if rank is None else adapters
    return Memory(
        weights=weights + sum(buffer.numel() * buffer.itemsize for buffer in model.buffers()),
        adapters=adapters,
        gradients=training,
        optimiser=states * training + (STEP * tensors if optimizer == "adamw" else 0),
        activations=sum(_most(costs).values()),
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
    costs, _ = step_costs(model, batch_size, seq_len, **{k: v for k, v in options.items() if k != "optimizer"})
    moments = _moments(costs)
    moments["end of forward"]["gradients"] = 2 * moments["end of forward"]["log-probabilities"]
    return held.total - held.activations + max(sum(kept.values()) for kept in moments.values())


def predict_kept(model, batch_size, seq_len, **options):
    """Tell what the activations of `predict_memory` are: ``{kind of tensor: bytes}``, the largest first."""
    kinds = _most(step_costs(model, batch_size, seq_len, **options)[0])
    return dict(sorted(kinds.items(), key=lambda entry: -entry[1]))


def _moments(costs):
    """Return ``{moment: {kind of tensor: bytes}}``."""
    moments = {}
    for (moment, kind), size in costs.items():
        if size:
            moments.setdefault(moment, {})[kind] = size
    return moments


def _most(costs):
    """Return ``{kind of tensor: bytes}`` at the moment when most is held."""
    return max(_moments(costs).values(), key=lambda kinds: sum(kinds.values()))
