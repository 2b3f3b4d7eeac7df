"""The training loop: `training_steps` yields one step at a time, `train` runs them all behind a progress bar."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike

import torch
from torch import nn
from tqdm.auto import tqdm

from lora_teach.loop.batches import OwnRandomness, endless, to_device
from lora_teach.loop.checkpoints import keep
from lora_teach.loop.rollback import Undo
from lora_teach.utils.validation import check_count

CAUSES = (
    "Likely causes: a learning rate that is too high (try a tenth), an alpha that is too large, float16 without loss "
    "scaling (use bfloat16), or nan in the data. The parameters are back where all was last finite."
)


@dataclass(frozen=True)
class Step:
    """One update: its index from 1, the batch's loss before it (nats, usually), the learning rate and its seconds."""

    index: int
    loss: float
    lr: float
    seconds: float


@dataclass
class History:
    """What a run did, one entry a step; ``stopped`` says why it ended early, or is None."""

    loss: list = field(default_factory=list)
    lr: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    stopped: str | None = None

    def add(self, step: Step):
        """Append one step."""
        self.loss.append(step.loss)
        self.lr.append(step.lr)
        self.seconds.append(step.seconds)

    def __len__(self):
        return len(self.loss)


class NonFiniteLoss(ArithmeticError):
    """A loss or an update was nan or inf. The parameters are back where all was finite; ``history`` tells the run."""

    def __init__(self, message, step):
        super().__init__(message)
        self.step = step
        self.history = History()

    def __reduce__(self):
        """Let it travel whole between processes: by default only the message would be handed over."""
        return type(self), (str(self), self.step), {"history": self.history}


def training_steps(
    model: nn.Module,
    batches: Iterable,
    loss_fn: Callable | None = None,
    *,
    lr: float = 1e-3,
    steps: int = 200,
    optimizer: torch.optim.Optimizer | None = None,
    weight_decay: float = 0.0,
    betas: tuple = (0.9, 0.999),
    schedule: Callable | None = None,
    max_grad_norm: float | None = None,
    seed: int = 0,
    checkpoint: str | PathLike | None = None,
    checkpoint_every: int = 50,
) -> Iterator[Step]:
    """Train with AdamW and yield a `Step` after each update; prints and draws nothing.

    Between two steps the caller may look at anything, gradients included, evaluate, or stop by leaving the loop: the
    model is usable after every step. A step that fails or is interrupted half way is undone. At the end the model is
    back in the mode (training or evaluation) in which it was found, each module in its own.

    Args:
        model: A LoRAModel, or any module; only parameters that require gradients are given to the optimiser.
        batches: A DataLoader, or anything that can be iterated again. A batch is ``(inputs, targets)``, or a mapping
            that is passed to the model as keywords. Tensors are moved to the model's device.
        loss_fn: ``loss_fn(output, targets)``, with the whole batch as targets if it is a mapping; None if the model's
            output has ``.loss``.
        lr: Learning rate.
        steps: Number of updates.
        optimizer: Your own in place of AdamW; it must hold every trainable parameter. ``lr`` and the next two are then
            not used.
        weight_decay: AdamW's. It pulls A and B toward zero, that is, the weights back toward the pretrained ones.
        betas: AdamW's.
        schedule: ``schedule(fraction of the run done) -> factor of lr``; None keeps lr constant.
        max_grad_norm: Clip the gradients' total norm to this.
        seed: Seeds shuffling and dropout; your own random numbers are not touched.
        checkpoint: Folder in which the run is kept. If a run lies there it goes on: its steps are yielded at once, and
            it ends bit-identical to one that was never killed (given the same batches and settings).
        checkpoint_every: Steps between two savings; the last step is always saved.

    Raises:
        ValueError: Nothing trains, the batches are empty or ran out, or the optimiser lacks trainable parameters.
        RuntimeError: The model is a merged LoRAModel.
        NonFiniteLoss: The loss is nan or inf, or an update made the parameters so.
    """
    check_count("steps", steps)
    parameters = _trainable(model)
    if optimizer is None:
        optimizer = torch.optim.AdamW(parameters, lr, betas, weight_decay=weight_decay, fused=_fused(parameters))
    _check_holds(optimizer, parameters)
    base_lrs = [group["lr"] for group in optimizer.param_groups]
    device, stream = parameters[0].device, endless(batches)
    modes = [(module, module.training) for module in model.modules()]
    of_batches, of_model = OwnRandomness(seed, device), OwnRandomness(seed, device)  # apart, so that a run can go on
    kept, done = None, []
    if checkpoint is not None:
        settings = {"lr": lr, "steps": steps, "seed": seed, "betas": list(betas), "weight_decay": weight_decay}
        settings["max_grad_norm"] = max_grad_norm
        kept = keep(checkpoint, checkpoint_every, settings, model, parameters, optimizer, of_model)
        done = kept.restore()
    undo = Undo(parameters)
    try:
        with of_batches:
            for _ in done:
                next(stream)  # the batches that a kept run has seen
        for step in done:
            yield Step(*step)
        for index in range(len(done) + 1, steps + 1):
            started = time.perf_counter()
            with of_batches:
                batch = to_device(next(stream), device)
            with of_model:
                if not model.training:
                    model.train()
                optimizer.zero_grad(set_to_none=True)
                loss = _loss(model, batch, loss_fn)
                value = loss.item()
                if not math.isfinite(value):
                    undo.put_back()
                    raise NonFiniteLoss(f"the loss is {value} at step {index}. {CAUSES}", index)
                with undo:
                    loss.backward()
                    if max_grad_norm is not None:
                        nn.utils.clip_grad_norm_(parameters, max_grad_norm)
                    if schedule:
                        _set_lrs(optimizer, base_lrs, schedule((index - 1) / steps))
                    optimizer.step()
            if not undo.is_finite():  # a gradient can be nan where the loss is not
                undo.put_back()
                what = f"the parameters are not finite after step {index}, whose loss was {value:.4g}"
                raise NonFiniteLoss(f"{what}. {CAUSES}", index)
            step = Step(index, value, optimizer.param_groups[0]["lr"], time.perf_counter() - started)
            if kept is not None:
                kept.add(tuple(vars(step).values()), last=index == steps)
            yield step
    finally:
        optimizer.zero_grad(set_to_none=True)
        if schedule:
            _set_lrs(optimizer, base_lrs, 1.0)
        for module, mode in modes:
            module.training = mode


def train(
    model, batches, loss_fn=None, *, lr=1e-3, steps=200, checkpoint=None, seed=0, progress=True, **options
) -> History:
    """Run `training_steps` to the end behind a progress bar and return the History.

    Ctrl-C, or the interrupt button of a notebook, ends the run early: the history so far is returned, its ``stopped``
    says so, and the model is as it was after the last whole step.

    Args:
        progress: Show the bar (on stderr).
        **options: The other options of `training_steps`, which the rest is passed to as well.

    Raises:
        NonFiniteLoss: The loss is nan or inf; its ``history`` holds the run so far.
    """
    history = History()
    with tqdm(total=steps, disable=not progress, desc="training", unit="step") as bar:
        try:
            for step in training_steps(
                model, batches, loss_fn, lr=lr, steps=steps, checkpoint=checkpoint, seed=seed, **options
            ):
                history.add(step)
                bar.set_postfix(loss=f"{step.loss:.3f}", refresh=False)
                bar.update()
        except NonFiniteLoss as error:
            error.history = history
            history.stopped = f"not finite at step {error.step} of {steps}"
            raise
        except KeyboardInterrupt:
            history.stopped = f"interrupted after step {len(history)} of {steps}"
    return history


def _trainable(model):
    if getattr(model, "is_merged", False) is True:
        raise RuntimeError("the model is merged, so its adapters are not in use. unmerge() before training.")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("no parameter requires a gradient, so nothing would train. Choose one with set_adapter.")
    return parameters


def _check_holds(optimizer, parameters):
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    lacking = sum(id(p) not in held for p in parameters)
    if lacking:
        raise ValueError(
            f"the optimiser lacks {lacking} of {len(parameters)} trainable parameters: it was probably built before "
            "the adapters. Build it afterwards, from model.trainable_parameters()."
        )


def _loss(model, batch, loss_fn):
    if isinstance(batch, Mapping):
        output, targets = model(**batch), batch
    else:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise TypeError(
                f"a batch is a {type(batch).__name__}{size}. Use (inputs, targets), or a mapping with the names of the "
                "model's arguments."
            )
        inputs, targets = batch
        output = model(inputs)
    if loss_fn is not None:
        return loss_fn(output, targets)
    if getattr(output, "loss", None) is None:
        raise ValueError("loss_fn is None and the model's output has no .loss. Give loss_fn(output, targets).")
    return output.loss


def _fused(parameters):
    """Tell whether AdamW's one-kernel form can be used: about four times faster for many small factors."""
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)


def _set_lrs(optimizer, base_lrs, factor):
    for group, base_lr in zip(optimizer.param_groups, base_lrs, strict=True):
        group["lr"] = base_lr * factor
