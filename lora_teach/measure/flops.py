"""How much a training step computes, predicted from shapes and counted by torch."""

from contextlib import nullcontext
from dataclasses import dataclass

from lora_teach.loop.batches import loss_of
from lora_teach.measure.fake_step import fake_step
from lora_teach.measure.measured_memory import as_found, checkpointed, trainable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a training step; a product of (m, k) and (k, n) is 2·m·k·n of them.

    Attributes:
        forward: The forward pass.
        to_inputs: The part of the backward that carries the gradient down to what lies before.
        to_weights: The part that makes the gradients of what trains.
        recomputed: What checkpointing computes a second time.
    """

    forward: int
    to_inputs: int
    to_weights: int
    recomputed: int = 0

    @property
    def backward(self):
        """The backward pass: both parts, and what is computed a second time on the way."""
        return self.to_inputs + self.to_weights + self.recomputed

    @property
    def total(self):
        """The whole step but the optimiser, which does a few operations for each number that trains."""
        return self.forward + self.backward


def predict_flops(model, batch_size, seq_len, *, rank=None, target_modules=None, checkpointing=False):
    """Predict the FLOPs of a training step from shapes alone; no number is computed.

    Matrix products are counted, those of the attention among them; norms, activations, sums and the optimiser are not.
    A frozen layer saves the product that its weight's gradient would be. It saves the one towards its input as well
    where nothing before it trains: so a first block is cheaper than the others.

    A causal attention counts as if every token looked at every other; PyTorch's counter does so too. The backward has
    four products the size of the forward's two each. A fused kernel makes q kᵀ once more on the way, which is not here.

    Args:
        model: As `predict_memory` takes it, and so are the others.
        batch_size: Sequences in a batch.
        seq_len: Tokens in each.
        rank: Rank of every adapted layer; None means full fine-tuning.
        target_modules: Which layers are adapted.
        checkpointing: Whether blocks are computed a second time; each only as far as its last tensor that is kept.

    Returns:
        A Flops.

    Raises:
        TypeError, ValueError: As `predict_memory` raises them.
    """
    step = fake_step(model, batch_size, seq_len, rank=rank, target_modules=target_modules, cache=not checkpointing)
    *flops, recomputed = step.flops()
    return Flops(*flops, recomputed if checkpointing else 0)


def layer_flops(in_features, out_features, rank=None, *, first=False):
    """FLOPs of one linear layer for one token in a training step.

    In products of N² multiplications for a layer N → N: full fine-tuning takes 3 (forward, to the input, to the
    weight), LoRA 2 and 6NR/N² for A and B ("LoRA Without Regret", Schulman and others 2025). A FLOP counter gives twice
    as much, as a multiplication is followed by an addition.

    Args:
        in_features: Size of the input.
        out_features: Size of the output.
        rank: Rank of the adapter; None means that the weight itself trains.
        first: Whether nothing before the layer trains, so that no gradient goes to its input.

    >>> N, R = 1000, 10
    >>> layer_flops(N, N) == 2 * (3 * N**2), layer_flops(N, N, rank=R) == 2 * (2 * N**2 + 6 * N * R)
    (True, True)
    """
    weight = 2 * in_features * out_features
    if rank is None:
        return weight * (2 if first else 3)
    A, B = 2 * in_features * rank, 2 * rank * out_features
    return weight + 2 * A + 3 * B if first else 2 * weight + 3 * A + 3 * B


def count_flops(model, batch, loss_fn=None, *, checkpointing=False):
    """Run a forward and a backward under torch's own counter; the model is left as it was found.

    The counter (``torch.utils.flop_counter``) has no formula for the fused attention of a CPU, which would count as
    nothing. So the attention is computed here as the separate products of which it consists (``SDPBackend.MATH``).

    Args:
        model: A model or LoRAModel; what requires a gradient trains.
        batch: ``(inputs, targets)``, or a mapping that is passed as keywords.
        loss_fn: ``loss_fn(output, targets)``; None where the output has ``.loss``.
        checkpointing: Run the step with every block under ``torch.utils.checkpoint``.

    Returns:
        ``(forward, backward)`` in FLOPs; what checkpointing computes again is in the backward.
    """
    trainable(model)
    with as_found(model), checkpointed(model) if checkpointing else nullcontext(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            loss = loss_of(model, batch, loss_fn)
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    return forward.get_total_flops(), backward.get_total_flops()
