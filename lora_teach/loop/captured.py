"""A whole step as one CUDA graph: the GPU runs it again without Python's telling it each of its thousands of kernels.

Forward, backward, clipping and the optimiser's update are recorded once for each shape of batch and replayed from then
on, with the copy that a rollback needs before them and the check for what is not finite after them. See PyTorch's
notes on CUDA semantics, "CUDA Graphs".
"""

import functools
import math
import warnings

from lora_teach.layer import LoRALayer
from lora_teach.loop.batches import PLAIN, leaves, loss_of, map_tensors
from lora_teach.loop.interrupts import held_back
from lora_teach.loop.optimizer import check_gradients_are_on
from lora_teach.loop.rollback import copy_all, norm_of
from lora_teach.overlay.inspection import overlays

import torch
from torch import nn

MOST = 8  # shapes of batches that are recorded; each keeps its gradients


def can_capture(device, given, accumulate, processes=1):
    """Tell whether steps on ``device`` can be captured; if not, a warning says why, and they run as they are written.

    Args:
        device: The parameters' device.
        given: The user's own optimiser, or None.
        accumulate: Batches that make up one update.
        processes: How many train together.
    """
    why = None
    if device.type != "cuda":
        why = f"the model is on {device}, and a graph is captured on a CUDA device"
    elif given is not None:
        why = "the optimiser is your own; leave it out, and AdamW is made in the form that can be captured"
    elif accumulate > 1:
        why = f"accumulate={accumulate} makes one update of several batches; use larger batches instead"
    elif processes > 1:
        why = f"{processes} processes train together, and their messages are not recorded"
    if why:
        _warn(why)
    return why is None


class Captured:
    """Calls a step as it is written for the first batch of each shape, and as a graph for the others.

    Args:
        eager: ``eager(parts, index)``, the step as it is written.
        model: The model.
        loss_fn: The loss, or None.
        optimizer: AdamW in its capturable form.
        max_grad_norm: The limit of the gradients' norm, or None.
        rollback: The run's Rollback.
    """

    def __init__(self, eager, model, loss_fn, optimizer, max_grad_norm, rollback):
        self.eager, self.model, self.loss_fn, self.optimizer = eager, model, loss_fn, optimizer
        self.max_grad_norm, self.rollback = max_grad_norm, rollback
        self.device = rollback.parameters[0].device
        self.stream, self.pool = _stream(self.device), torch.cuda.graph_pool_handle()
        self.graphs, self.state, self.stopped = {}, None, False
        self.older = [before.clone() for before in rollback.before]  # the values before the update before
        self.modules = list(model.modules())
        self.overlays, self.layers = overlays(model), [one for one in self.modules if isinstance(one, LoRALayer)]

    def __call__(self, parts, index):
        """Make update number ``index`` on the one batch in ``parts``; return its loss before it."""
        check_gradients_are_on()
        if not self.model.training:
            self.model.train()
        with torch.cuda.device(self.device):
            (batch,) = parts
            shape = None if self.stopped else self._shape(batch)
            if shape is None:
                return self._eagerly(parts, index)
            self._forget_what_is_out_of_date()
            if shape not in self.graphs:
                if len(self.graphs) == MOST:
                    self._stop(f"batches come in more than {MOST} shapes; pad them to a few lengths, of as many rows")
                else:
                    self.graphs[shape] = None  # it is captured when it comes again
                return self._eagerly(parts, index)
            if self.graphs[shape] is None:
                try:
                    with held_back():
                        self.graphs[shape] = _Graph(self, batch)
                except Exception as error:  # of CUDA, on a step that waits for the GPU half way, for one
                    self._abandon(error)
                    return self._eagerly(parts, index)
            return self._replayed(self.graphs[shape], batch, index)

    def _replayed(self, graph, batch, index):
        """Run the graph on ``batch`` and look at what came out, as the step that is written does."""
        rollback = self.rollback
        try:
            with held_back():  # a Ctrl-C waits, so that what is rolled back is this update and no other
                loss, norm = graph.replay(batch)
        except BaseException:
            rollback.restore()
            raise
        if not math.isfinite(loss):  # the update before led here, and this one has been made already
            copy_all(rollback.before, self.older)
        rollback.check_loss(loss, index, batch, self.loss_fn)
        rollback.check_parameters(loss, index, norm)
        return loss

    def _eagerly(self, parts, index):
        """Run the step as it is written, on the stream on which graphs are captured."""
        copy_all(self.older, self.rollback.before)
        self.stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self.stream):
                return self.eager(parts, index)
        finally:
            torch.cuda.current_stream().wait_stream(self.stream)

    def _shape(self, batch):
        """Return all of a batch that a graph takes for granted; None, once and for all, if it can't be recorded."""
        shape = [type(batch)]
        for place, value in leaves(batch):
            if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_nested:
                shape.append((place, value.shape, value.dtype, value.device))
            elif isinstance(value, PLAIN):
                shape.append((place, type(value), value))
            else:
                kind = f"{value.layout} tensor" if isinstance(value, torch.Tensor) else type(value).__name__
                self._stop(f"a batch holds a {kind}, which a graph would not see change; use plain tensors")
                return None
        return tuple(shape)

    def _forget_what_is_out_of_date(self):
        """Drop the graphs if what they have recorded as constants has been changed between two steps."""
        state = (
            [(one.active_adapters, one.open_rows, one.is_merged, one.is_disabled) for one in self.overlays],
            [(None if isinstance(one.scaling, torch.Tensor) else one.scaling, one.dropout) for one in self.layers],
            [module.training for module in self.modules],
        )
        if state != self.state:
            self.graphs.clear()
            self.state = state

    def _abandon(self, error):
        """Go on without graphs after a capture that failed."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.device(self.device):
            try:  # a failed capture leaves both out
                torch._C._cuda_endAllocateToPool(self.device.index, self.pool)
            except (AttributeError, RuntimeError, TypeError):
                pass
            if torch.cuda.is_initialized():
                generator = torch.cuda.default_generators[torch.cuda.current_device()]
                generator.graphsafe_set_state(generator.clone_state())  # a clone is not being captured
            torch.cuda.synchronize()
        words = " ".join(str(error).split())[:160]
        self._stop(f"CUDA could not record it ({type(error).__name__}: {words})")

    def _stop(self, why):
        self.stopped = True
        self.graphs.clear()
        _warn(why)


@functools.cache
def _stream(device):
    """Return the stream of all captured runs on a device: workspaces of 64 MiB belong to a stream and stay with it."""
    return torch.cuda.Stream(device)


def _step(run, batch):
    """Do the whole step on ``batch``; return the loss before it and the parameters' norm after it, in one tensor."""
    parameters = run.rollback.parameters
    copy_all(run.older, run.rollback.before)
    copy_all(run.rollback.before, parameters)
    loss = loss_of(run.model, batch, run.loss_fn)
    loss.backward()
    if run.max_grad_norm is not None:
        nn.utils.clip_grad_norm_(parameters, run.max_grad_norm)
    run.optimizer.step()
    return torch.stack([loss.detach().double(), norm_of(parameters).double()])


class _Graph:
    """One step that was recorded on a batch of one shape."""

    def __init__(self, run, batch):
        self.batch, self.parameters = map_tensors(batch, torch.clone), run.rollback.parameters
        run.optimizer.zero_grad(set_to_none=True)  # so that the backward writes gradients and does not add to them
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, run.pool, run.stream, capture_error_mode="thread_local"):
            self.seen = _step(run, self.batch)
        self.gradients = [parameter.grad for parameter in self.parameters]

    def replay(self, batch):
        """Run it on a batch of the same shape; return the loss and the parameters' norm after the update."""
        for (_, place), (_, value) in zip(leaves(self.batch), leaves(batch), strict=True):
            if isinstance(place, torch.Tensor):
                place.copy_(value)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # for whoever looks between two steps
        return self.seen.tolist()


def _warn(why):
    warnings.warn(f"capture=True: the steps run one kernel at a time, since {why}.", stacklevel=5)
