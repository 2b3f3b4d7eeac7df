"""Nothing moves: the loss stays where it was, to the last digit."""

from lora_teach.doctor.report import SYMPTOMS, fault, some
from lora_teach.loop.words import WORDS

import torch
from torch import nn

SYMPTOM = SYMPTOMS[0]


def _shared(name, **numbers):
    return WORDS[name].what.format(**numbers)


@fault(SYMPTOM, WORDS["merged_while_training"].cure)
def merged_while_training(case):
    """The update lies in the base's weights, and the factors are not asked."""
    merged = [one.place for one in case.active if one.merged]
    if merged and case.trains:
        return f"{_shared('merged_while_training')}: {some(merged)}"


@fault(SYMPTOM, 'model.set_adapter("name of the one to train"), then build the optimiser from what trains.')
def wrong_adapter_active(case):
    """The optimiser holds an adapter that is off, or the one that is on doesn't train while another does."""
    off = [one for one in case.adapters if not one.active]
    held = {one.adapter for one in off if id(one.A) in case.groups or id(one.B) in case.groups}
    held_too = any(id(one.B) in case.groups for one in case.active)
    on = some(sorted({repr(one.adapter) for one in case.active})) or "none"
    if held and not held_too:
        return f"the optimiser holds adapter {some(map(repr, sorted(held)))}, and active is: {on}"
    training = {one.adapter for one in off if one.trains}
    if training and case.active and not any(one.trains for one in case.active):
        return f"adapter {some(map(repr, sorted(training)))} requires gradients, and active is: {on}"


def _for_use(case):
    return not case.trains and any(one.merged for one in case.active)


@fault(SYMPTOM, WORDS["nothing_trainable"].cure)
def nothing_trainable(case):
    """No parameter requires a gradient."""
    if case.trainable:
        return None
    asked = case.active and (case.batch is not None or case.model.training)
    if (case.trains or asked) and case.adapters and not _for_use(case):
        return f"{_shared('nothing_trainable')}: 0 of {sum(p.numel() for p in case.parameters.values()):,} numbers"


@fault(SYMPTOM, WORDS["optimizer_misses_adapters"].cure, unless=("wrong_adapter_active",))
def optimizer_misses_adapters(case):
    """The optimiser was built before the adapters, or of another model's."""
    if case.optimizer is None:
        return None
    lacking = [name for name, p in case.trainable.items() if id(p) not in case.groups]
    if lacking:
        what = _shared("optimizer_misses_adapters", lacking=len(lacking), trainable=len(case.trainable))
        return f"{what} ({some(lacking)})"


@fault(SYMPTOM, WORDS["both_factors_zero"].cure)
def both_factors_zero(case):
    """A's gradient needs B and B's needs A, so neither ever leaves zero."""
    both = [one.place for one in case.active if not one.A.any() and not one.B.any() and one.A.dim() < 3]
    if both:
        return f"{_shared('both_factors_zero')}: {some(both)}"


@fault(SYMPTOM, WORDS["alpha_zero"].cure)
def alpha_zero(case):
    """The update is multiplied by zero, and so is its gradient."""
    zero = [one.place for one in case.active if one.scale == 0]
    if zero:
        return f"{_shared('alpha_zero', why='the scaling is 0')}: {some(zero)}"


@fault(SYMPTOM, "Name in target_modules the layers that the forward pass calls; print(model) lists them.",
       unless=("merged_while_training",))  # fmt: skip
def adapter_not_called(case):
    """The module is read, replaced or left out, and never called, so neither is the adapter."""
    lost = []
    if case.overlay is not None:
        from lora_teach.model import Hook

        for one in case.active:
            hooks = [] if one.base is None else one.base._forward_hooks.values()
            if one.origin == "ours" and not any(isinstance(h, Hook) and h.model is case.overlay for h in hooks):
                lost.append(f"{one.place} (replaced under the overlay)")
    read = {id(m.out_proj) for m in case.model.modules() if isinstance(m, nn.MultiheadAttention)}
    lost += [f"{one.place} (nn.MultiheadAttention reads its weight)" for one in case.active
             if one.origin != "peft" and id(one.base) in read]  # fmt: skip
    compiled = any(type(m).__name__ == "OptimizedModule" for m in case.model.modules())  # hooks come too late there
    if not lost and case.trial is not None and not compiled and not any(one.merged for one in case.active):
        lost = [one.place for one in case.active if id(one.host) not in case.trial.called]
    if lost:
        return f"the forward pass never calls {some(lost)}, so the adapter there does nothing"


@fault(SYMPTOM, WORDS["no_gradient_reaches_adapter"].cure,
       unless=("merged_while_training", "nothing_trainable", "both_factors_zero", "alpha_zero", "adapter_not_called",
               "wrong_adapter_active"))  # fmt: skip
def no_gradient_reaches_adapter(case):
    """Something between the adapter and the loss keeps the gradient."""
    if case.trial is None or not case.trial.gradients or any(one.merged for one in case.active):
        return None
    silent = []
    for one in case.active:
        for label, factor, other in (("A", one.A, one.B), ("B", one.B, one.A)):
            gradient = case.trial.gradients.get(id(factor), 0) if factor.requires_grad else 0
            if gradient is None:
                silent.append(one.called(label))
            elif isinstance(gradient, torch.Tensor) and other.any() and not gradient.any():
                silent.append(one.called(label))
    frozen = [one.place for one in case.active if one.trains and not one.B.requires_grad and not one.B.any()]
    if frozen and not silent:
        return f"B is zero and frozen, so the update stays zero, in {some(frozen)}"
    if not silent:
        return None
    whole = _shared("no_gradient_reaches_adapter", whose="the loss function")
    said = whole if case.trial.refused else f"{len(silent)} factors have no gradient after a backward pass"
    stops = case.where_it_stops()
    return f"{said}: {some(silent)}" + (f". It stops inside {stops}" if stops else "")
