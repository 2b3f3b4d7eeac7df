"""The training loop: `training_steps` yields one step at a time, `train` runs them all behind a progress bar."""

import time
from functools import partial

from lora_teach.loop.batches import endless, loss_of, to_device
from lora_teach.loop.buffers import Buffers
from lora_teach.loop.captured import Captured, can_capture
from lora_teach.loop.checkpoints import keep
from lora_teach.loop.distributed import join
from lora_teach.loop.history import History, NonFiniteLoss, Step
from lora_teach.loop.interrupts import CtrlC, held_back
from lora_teach.loop.needed_logits import where_labels_count
from lora_teach.loop.optimizer import (
    check_given,
    check_gradients_are_on,
    check_settings,
    named_trainable,
    optimizer_for,
    rates,
    set_lrs,
)
from lora_teach.loop.randomness import IsolatedRandomness
from lora_teach.loop.rollback import Rollback, left_as_found
from lora_teach.loop.validation import Validation
from lora_teach.utils import processes
from lora_teach.utils.validation import check_count

import torch
from torch import nn
from tqdm.auto import tqdm


def training_steps(
    model,
    batches,
    loss_fn=None,
    *,
    lr=1e-3,
    steps=200,
    optimizer=None,
    weight_decay=0.0,
    betas=(0.9, 0.999),
    schedule=None,
    max_grad_norm=None,
    accumulate=1,
    shard=False,
    capture=False,
    seed=0,
    checkpoint=None,
    checkpoint_every=50,
    validation=None,
    validate_every=None,
):
    """Train with AdamW and yield a `Step` after each update; prints and draws nothing.

    Between two steps the caller may look at anything, gradients included, evaluate, or stop by leaving the loop: the
    model is usable after every step. A step that fails or is interrupted half way is rolled back. At the end each
    module is back in the mode (training or evaluation) in which it was found.

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
        max_grad_norm: Clip the gradients' total norm to this, a number above 0.
        accumulate: Batches that make up one update: it learns what one batch of all their rows would teach, in the
            memory of one of them. A loss must then be the mean over its targets.
        shard: Under ``torchrun``, divide the base among the processes (FSDP2) where it is too large for each. True
            leaves the shards on the model's device; a device moves them there block by block.
        capture: On a GPU, record the step once for each shape of batch, as a CUDA graph, and replay it: the same
            numbers in less time, where batches come in a few shapes. What ``loss_fn``, hooks and a forward of your own
            do in Python happens while it is recorded only. Where it can't be, a warning says why. After
            ``model.base_model.compile()`` the graph has fewer kernels; compiling takes a minute or more.
        seed: Seeds shuffling and dropout; your own random numbers are not touched.
        checkpoint: Folder in which the run is kept. An existing run is resumed: its steps are yielded at once, and
            it ends bit-identical to one that was never killed. A run of other data, another base, adapter or optimiser,
            or other settings is refused.
        checkpoint_every: Steps between two savings; the last step is always saved.
        validation: Batches that were held out: after some of the steps their loss, a mean over the targets that count,
            is measured and told as the step's ``validation``. However the run ends, the model then has the numbers of
            its lowest one.
        validate_every: Steps between two such measurements; None for a tenth of the run. The last step has one.

    Raises:
        TypeError, ValueError: Nothing trains, or would in vain; the batches are empty or ran out; the optimiser lacks
            trainable parameters; the loss is no single number with a gradient; the checkpoint is of another run.
        RuntimeError: A LoRAModel that is merged, disabled, or whose base was changed; gradients are off.
        OSError: The checkpoint can't be written, or another process keeps its run in that folder.
        NonFiniteLoss: The loss is nan or inf, or an update made the parameters so.

    Warns:
        UserWarning: Parameters that got no gradient at the first step, or had not moved at the last, by name.
    """
    check_settings(lr, steps, max_grad_norm, optimizer, betas, weight_decay, seed)
    check_given(batches, validation, loss_fn, schedule)
    check_count("accumulate", accumulate)
    team = join(model, shard, optimizer)
    named, buffers, given = named_trainable(model), Buffers(model), optimizer
    device, stream = next(iter(named.values())).device, endless(batches)
    capture = capture and can_capture(device, given, accumulate, team.size)
    optimizer = optimizer_for(named, given, lr, betas, weight_decay, capture)
    lrs = [float(lr)] if capture else rates(optimizer)
    # Apart, so that a run can be resumed; a model's dropout is another in each process.
    with held_back():  # or the caller's random numbers might be left as the run's
        of_batches, of_model = (IsolatedRandomness(one, device) for one in (seed, seed + 2**32 * team.rank))
    settings = {"lr": lr, "steps": steps, "seed": seed, "betas": list(betas), "weight_decay": weight_decay}
    settings |= {"max_grad_norm": max_grad_norm, "schedule": schedule, "loss_fn": loss_fn}
    settings |= {"accumulate": accumulate} if accumulate > 1 else {}
    settings |= {"capture": True} if capture else {}
    settings |= {"processes": team.kind} if team.kind else {}
    looks = Validation(validation, validate_every, steps, lambda: named | buffers.moving)
    run = keep(
        checkpoint, checkpoint_every, settings, model, named, buffers, optimizer, given, batches, of_model, looks
    )
    ctrl_c = CtrlC()  # one that comes while a step is made waits until the caller has that step
    with ctrl_c, run, team, left_as_found(model, optimizer, lrs if schedule else None), looks:
        done = run.done
        with of_batches, ctrl_c.let_in():
            for _ in range(len(done) * accumulate):
                run.saw(next(stream))  # the batches that the resumed run has seen
        run.put()
        for step in done:
            with ctrl_c.let_in(at_once=False):
                yield Step(*step)
        run.settle()
        rollback = Rollback(named, steps, given, ctrl_c)
        given_to_all = model, loss_fn, optimizer, max_grad_norm, rollback
        update = partial(_update, team, *given_to_all, recorded=capture)
        if capture:
            update = Captured(update, *given_to_all)
        for index in range(len(done) + 1, steps + 1):
            started = time.perf_counter()
            factor = schedule((index - 1) / steps) if schedule else 1.0
            if schedule:
                set_lrs(optimizer, lrs, factor)
            with of_batches, ctrl_c.let_in():
                parts = [to_device(team.note(run.saw(next(stream))), device) for _ in range(accumulate)]
            with of_model, buffers:
                loss = update(parts, index)
            seconds = time.perf_counter() - started
            held_out = looks.look(model, loss_fn, index, rollback)
            rate = lrs[0] * factor if capture else rates(optimizer)[0]  # capture's own tensor is rounded to float32
            step = Step(index, loss, rate, seconds, held_out)
            run.add(tuple(vars(step).values()), last=index == steps)
            with ctrl_c.let_in(at_once=False):
                yield step


def _update(team, model, loss_fn, optimizer, max_grad_norm, rollback, parts, index, recorded):
    """Make update number ``index`` on this team's batches ``parts``, as if they were one; return their loss before.

    A step that is to be ``recorded`` asks for all logits, as the graph does, whose shapes don't follow the labels.
    """
    check_gradients_are_on()
    if not model.training:
        model.train()
    optimizer.zero_grad(set_to_none=True)
    torch.clear_autocast_cache()  # what the caller computed under no_grad would cut off the gradients
    value = 0.0
    for number, (batch, weight) in enumerate(team.shares(parts, loss_fn, model)):
        asked = (batch, loss_fn) if recorded else where_labels_count(model, batch, loss_fn)
        with team.computing(last=number == len(parts) - 1):
            with rollback.ctrl_c.let_in():
                loss = loss_of(team.learner(model), *asked)  # the forward pass
                value += team.total(loss.item() * weight if weight else 0.0)  # a mean over no target is nan, no part
            rollback.check_loss(value, index, parts[number], loss_fn)
            factor = weight * team.size  # the gradients of several processes are averaged
            with rollback.ctrl_c.let_in():
                (loss if factor == 1 else loss * factor).backward()
    with rollback:
        rollback.check_gradients(value, index)
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(rollback.parameters, max_grad_norm)
        optimizer.step()
        torch.clear_autocast_cache()  # an autocast around the loop would go on with the numbers of before
    rollback.check_parameters(value, index)
    return value


def train(model, batches, loss_fn=None, *, lr=1e-3, steps=200, checkpoint=None, seed=0, progress=True, **options):
    """Run `training_steps` to the end behind a progress bar and return the History.

    Ctrl-C, or the interrupt button of a notebook, ends the run early: the history so far is returned, its ``stopped``
    says so, and the model is as it was after the last whole step, or, with ``validation``, at the best one.

    Args:
        progress: Show the bar (on stderr).
        **options: The other options of `training_steps`, which the rest is passed to as well.

    Raises:
        Exception: Whatever the steps raise, a NonFiniteLoss for one; its ``history`` holds the run so far.
    """
    history, step, _ = History(), None, processes.join()
    with tqdm(total=steps, disable=not (progress and processes.is_writer()), desc="training", unit="step") as bar:
        try:
            for step in training_steps(
                model, batches, loss_fn, lr=lr, steps=steps, checkpoint=checkpoint, seed=seed, **options
            ):
                with held_back():
                    history.add(step)
                told = {} if not history.validation else {"validation": f"{history.validation[-1][1]:.3f}"}
                bar.set_postfix(loss=f"{step.loss:.3f}", **told, refresh=False)
                bar.update()
        except KeyboardInterrupt:
            if step is not None and len(history) < step.index:
                history.add(step)
            history.stopped = f"interrupted after step {len(history)} of {steps}"
        except Exception as error:
            error.history, blown_up = history, isinstance(error, NonFiniteLoss)
            history.stopped = f"{'not finite' if blown_up else 'an error'} at step {len(history) + 1} of {steps}"
            raise
    return history
