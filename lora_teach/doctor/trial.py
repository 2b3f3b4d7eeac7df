"""A trial step: one forward, one backward and one update on copies, after which every bit is as it was."""

import warnings
from copy import deepcopy

from lora_teach.doctor.untouched import evaluate, in_place_of, same_bits, untouched
from lora_teach.loop.batches import loss_of, to_device

import torch


class Trial:
    """What one training step does to ``model``, which is left as it was found, to the last bit.

    Attributes:
        loss: The batch's loss in training mode, before the step.
        before, after: Its loss in evaluation mode, before and after the step; None where no step was tried.
        gradients: ``{id of a parameter: its gradient, or None}`` for those that train.
        refused: What torch said where the loss could not be differentiated, or None.
        called: ids of the modules among ``watched`` that the forward pass called.
        moved: Names of the buffers that the forward pass changed.
        noisy: Names of the modules among ``watched`` that draw random numbers in evaluation mode.
        tokens: Token numbers that the model was given, int64 ``(batch, seq)``, or None.
        wanted: Token that the loss asks for at each position, ``(batch, seq)``, or None: the one whose logit it raises.
        counted: Whether the loss looks at each position, bool ``(batch, seq)``, or None.
    """

    def __init__(self, model, batch, loss_fn, optimizer, trainable, watched):
        self.before = self.after = self.refused = None
        self.tokens = self.wanted = self.counted = None
        self.gradients, self.called, self.moved, self.noisy = {}, set(), [], []
        device = next((p.device for p in trainable.values()), next(model.parameters()).device)
        batch = _copy(to_device(batch, device))
        with untouched(model, trainable.values()), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            if not model.training:
                model.train()  # as a training loop does
            buffers = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
            found = _generator(device)
            loss, output = self._forward(model, batch, loss_fn, watched)
            same_in_evaluation = torch.equal(found, _generator(device))
            self.moved = [name for name, (buffer, was) in buffers.items() if not same_bits(buffer, was)]
            self.loss = loss.item()
            if trainable:
                self._backward(loss, output, batch, trainable)
            evaluate(model)
            if same_in_evaluation and not self.moved:  # no dropout and no BatchNorm: the loss is the same
                self.before = self.loss
            else:
                self._look_for_noise(model, batch, loss_fn, watched)
            if optimizer is not None and self.gradients:
                self._step(model, batch, loss_fn, optimizer, trainable)

    def _forward(self, model, batch, loss_fn, watched):
        outputs = []
        hooks = [
            module.register_forward_pre_hook(lambda module, args: self.called.add(id(module)))
            for module in {id(m): m for _, m in watched}.values()
        ]
        hooks.append(model.register_forward_hook(lambda module, args, output: outputs.append(_logits(output))))
        hooks.append(model.register_forward_hook(lambda module, args, output: _keep_gradient(_logits(output))))
        try:
            return loss_of(model, batch, loss_fn, to_learn=False), outputs[-1] if outputs else None
        finally:
            for hook in hooks:
                hook.remove()

    def _backward(self, loss, output, batch, trainable):
        try:
            loss.backward()
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            self.refused = str(error)
        self.gradients = {id(p): p.grad for p in trainable.values()}
        self.tokens = _tokens(batch)
        gradient = getattr(output, "grad", None) if output is not None and output.requires_grad else None
        if gradient is not None and self.tokens is not None and gradient.shape[:-1] == self.tokens.shape:
            self.wanted = gradient.argmin(-1)  # cross entropy pushes every logit down but the target's
            self.counted = (gradient != 0).any(-1)

    def _look_for_noise(self, model, batch, loss_fn, watched):
        """Evaluate the loss, and name the watched modules inside which random numbers are drawn."""
        started = {}

        def note(module, args):
            started[id(module)] = _generator(device)

        def compare(module, args, output, name):
            if not torch.equal(started[id(module)], _generator(device)) and name not in self.noisy:
                self.noisy.append(name)

        device = next(model.parameters()).device
        found = _generator(device)
        with torch.no_grad():
            self.before = loss_of(model, batch, loss_fn, to_learn=False).item()
            if torch.equal(found, _generator(device)):
                return
            hooks = [module.register_forward_pre_hook(note, prepend=True) for _, module in watched]
            hooks += [
                module.register_forward_hook(lambda m, args, out, name=name: compare(m, args, out, name))
                for name, module in watched
            ]
            try:
                loss_of(model, batch, loss_fn, to_learn=False)
            finally:
                for hook in hooks:
                    hook.remove()

    def _step(self, model, batch, loss_fn, optimizer, trainable):
        """Let a copy of the optimiser update copies of the parameters, and take the loss with those."""
        copies = {id(p): p.detach().clone().requires_grad_() for p in trainable.values()}
        held = [p for group in optimizer.param_groups for p in group["params"]]
        try:
            twin = deepcopy(optimizer, {id(p): copies.get(id(p), p) for p in held})
            for p in trainable.values():
                copies[id(p)].grad = p.grad
            twin.step()
        except Exception:  # an optimiser that wants more than gradients, such as LBFGS's closure
            return
        with in_place_of(trainable.values(), copies), torch.no_grad():
            self.after = loss_of(model, batch, loss_fn, to_learn=False).item()


def loss_without(model, batch, loss_fn, factors):
    """Return the batch's loss in evaluation mode with the second factor of each of ``factors`` at zero."""
    zeros = {id(one.B): torch.zeros_like(one.B) for one in factors}
    batch = _copy(to_device(batch, next(model.parameters()).device))
    with untouched(model, ()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        evaluate(model)
        with in_place_of([one.B for one in factors], zeros):
            return loss_of(model, batch, loss_fn, to_learn=False).item()


def first_outputs_differ(model, batch, *inputs):
    """Tell whether the output at the first position differs between batches with other ``inputs``."""
    outputs = []
    with untouched(model, ()), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        evaluate(model)
        for tokens in inputs:
            given = _copy(to_device(batch, tokens.device))
            if isinstance(given, dict):
                outputs.append(_logits(model(**(given | {"input_ids": tokens}))))
            else:
                outputs.append(_logits(model(tokens)))
    return not torch.allclose(*(output[:, 0] for output in outputs), rtol=1e-4, atol=1e-5)


def where_it_stops(model, batch, loss_fn):
    """Return the name of the innermost module whose input needs a gradient and whose output has none, or None."""
    stops = []

    def look(module, args, kwargs, output, name):
        outputs = [output] if isinstance(output, torch.Tensor) else list(_tensors(output))
        lost = any(t.requires_grad for t in _tensors((args, kwargs))) and not any(t.requires_grad for t in outputs)
        if lost and outputs and outputs[0].is_floating_point():
            stops.append(name)

    batch = _copy(to_device(batch, next(model.parameters()).device))
    with untouched(model, ()), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        model.train()
        hooks = [
            module.register_forward_hook(lambda m, a, k, out, name=name: look(m, a, k, out, name), with_kwargs=True)
            for name, module in model.named_modules()
            if name
        ]
        try:
            loss_of(model, batch, loss_fn, to_learn=False)
        finally:
            for hook in hooks:
                hook.remove()
    return stops[0] if stops else None


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (t for inner in value.values() for t in _tensors(inner))
    elif isinstance(value, tuple | list):
        yield from (t for inner in value for t in _tensors(inner))


def _logits(output):
    return output if isinstance(output, torch.Tensor) else getattr(output, "logits", None)


def _keep_gradient(logits):
    if isinstance(logits, torch.Tensor) and logits.requires_grad:
        logits.retain_grad()


def _tokens(batch):
    inputs = batch.get("input_ids") if isinstance(batch, dict) else batch[0]
    whole = isinstance(inputs, torch.Tensor) and inputs.dim() == 2 and inputs.dtype in (torch.int64, torch.int32)
    return inputs if whole else None


def _copy(batch):
    if isinstance(batch, torch.Tensor):
        return batch.clone()
    if isinstance(batch, dict):
        return {key: _copy(value) for key, value in batch.items()}
    if isinstance(batch, tuple | list) and not hasattr(batch, "_fields"):
        return type(batch)(_copy(value) for value in batch)
    return batch


def _generator(device):
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
