"""The parameters that train, and their optimiser."""

import inspect
import math
import numbers

from lora_teach.loop.interrupts import import_what_training_needs
from lora_teach.loop.words import said
from lora_teach.overlay.inspection import check_trains, overlays
from lora_teach.utils.processes import in_shards_as, whole
from lora_teach.utils.validation import check_above_zero, check_callable, check_count, check_seed

import torch
from torch import nn


def trainable(model):
    """List what `named_trainable` finds."""
    return list(named_trainable(model).values())


def named_trainable(model):
    """Return ``{name: parameter}`` of what trains in ``model``, after a look at whether it would have an effect.

    Raises:
        RuntimeError: A LoRAModel that is merged or disabled, or whose base was changed under it.
        ValueError: Nothing requires a gradient, or a scaling is 0.
        UserWarning: Parameters of the base require gradients.
    """
    for overlay in overlays(model):
        if overlay.is_merged:
            raise RuntimeError(said("merged_while_training"))
        check_trains(overlay)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ValueError(said("nothing_trainable"))
    if any(parameter.is_inference() for parameter in named.values()):
        raise RuntimeError("the trainable parameters were made under torch.inference_mode(). Make them outside of it.")
    return named


def check_gradients_are_on():
    """Raise RuntimeError under no_grad or inference_mode."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError("training under torch.inference_mode() can't be: it records no gradients. Leave that block.")
    if not torch.is_grad_enabled():
        raise RuntimeError("training under torch.no_grad() can't be: it records no gradients. Leave that block.")


def check_settings(lr, steps, max_grad_norm, optimizer, betas, weight_decay, seed):
    """Raise an error for settings of the loop that can't be meant, or if no gradient would be recorded."""
    check_count("steps", steps)
    check_gradients_are_on()
    check_seed(seed)
    if optimizer is None:
        check_above_zero("lr", lr, "a learning rate such as 1e-3")
        pair = betas if isinstance(betas, tuple | list) and len(betas) == 2 else (None, None)
        if not all(isinstance(beta, numbers.Real) and 0 <= beta < 1 for beta in pair):
            raise ValueError(f"betas={betas!r} are not two numbers in [0, 1). Use (0.9, 0.999).")
        if not isinstance(weight_decay, numbers.Real) or not 0 <= weight_decay < math.inf:
            raise ValueError(f"weight_decay={weight_decay!r} is no number of at least 0. Use 0 for none, or 0.01.")
    if max_grad_norm is not None:
        check_above_zero("max_grad_norm", max_grad_norm, "a limit such as 1.0, or None for none")


def check_given(batches, validation, loss_fn, schedule):
    """Raise TypeError if data can't be iterated, or a function can't be called."""
    for name, given in (("batches", batches), ("validation", validation or [])):
        if not hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
            raise TypeError(f"{name} is a {type(given).__name__}. Give a DataLoader or a list of batches.")
    if loss_fn is not None:
        check_callable("loss_fn", loss_fn, "torch.nn.functional.mse_loss")
        if isinstance(loss_fn, type):
            raise TypeError(f"loss_fn={loss_fn.__name__} is a class. Give one that is made, {loss_fn.__name__}().")
    if schedule is not None:
        check_callable("schedule", schedule, "lambda done: 1 - done")


def optimizer_for(named, given, lr, betas, weight_decay, capture=False):
    """Return the user's own optimiser, checked, or AdamW over the parameters ``named``."""
    import_what_training_needs()
    parameters = list(named.values())
    if given is None:
        return adamw(parameters, lr, betas, weight_decay, capture)
    check_optimizer(given, parameters)
    return given


def adamw(parameters, lr, betas, weight_decay, capture=False):
    """Return AdamW, in its one-kernel form where that can be used: about four times faster for many small factors.

    With ``capture`` its learning rate is a tensor beside the parameters, which a captured graph reads at each replay.
    """
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    if capture:
        lr = torch.full((), float(lr), dtype=torch.float32, device=parameters[0].device)
    optimizer = torch.optim.AdamW(parameters, lr, betas, weight_decay=weight_decay, fused=fused, capturable=capture)
    optimizer._warned_capturable_if_run_uncaptured = True  # torch would, at the first step, which is not captured
    return optimizer


def check_optimizer(optimizer, parameters):
    """Raise TypeError or ValueError if ``optimizer`` can't be stepped by the loop, or lacks one of ``parameters``."""
    if isinstance(optimizer, type) or not all(hasattr(optimizer, name) for name in ("param_groups", "step")):
        raise TypeError(
            f"optimizer={optimizer!r} is no optimiser. Use torch.optim.SGD(model.trainable_parameters(), …)."
        )
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"{type(optimizer).__name__} computes the loss several times a step (its step needs a closure), and this "
            "loop computes it once. Use an optimiser such as AdamW or SGD, or write the loop yourself."
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    lacking = sum(id(p) not in held for p in parameters)
    if lacking:
        raise ValueError(said("optimizer_misses_adapters", lacking=lacking, trainable=len(parameters)))


def set_lrs(optimizer, lrs, factor=1.0):
    """Set the learning rate of each parameter group to ``factor`` times its one of ``lrs``."""
    if isinstance(factor, bool) or not isinstance(factor, numbers.Real) or not (factor >= 0 and math.isfinite(factor)):
        raise ValueError(f"the schedule gives the factor {factor!r}. It must be a finite number that is not negative.")
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr * factor)  # in its place, where a captured graph reads it
        else:
            group["lr"] = lr * factor


def rates(optimizer):
    """Return the learning rate of each parameter group, as numbers."""
    found = [group["lr"] for group in optimizer.param_groups]
    return [float(lr) if isinstance(lr, torch.Tensor) else lr for lr in found]


class Resumable:
    """An optimiser whose state a checkpoint keeps.

    When a run is resumed, its finished steps are told to the caller again, and with them a learning-rate scheduler of
    the caller's moves again. So meanwhile the settings are those of the start, as they were the first time; those that
    the caller has not moved then take the values that were kept.
    """

    def __init__(self, optimizer):
        self.optimizer, self._kept = optimizer, None

    def get(self):
        """Return the state to keep."""
        saved = self.optimizer.state_dict()
        state = {key: {name: whole(value) for name, value in one.items()} for key, one in saved["state"].items()}
        return saved | {"state": state}

    def put(self, saved):
        """Take the state that was kept; the settings wait for `settle`."""
        # Each number is made anew, so that one that a scheduler sets is seen to be another, even of the same value.
        fresh = [
            {key: value * 1.0 if isinstance(value, float) else value for key, value in settings.items()}
            for settings in self._settings()
        ]
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state = {
            key: {name: in_shards_as(value, parameters[key]) for name, value in one.items()}
            for key, one in saved["state"].items()
        }
        self.optimizer.load_state_dict(saved | {"state": state})
        self._kept = list(zip(fresh, self._settings(), strict=True))
        for group, settings in zip(self.optimizer.param_groups, fresh, strict=True):
            group.update(settings)
        self.optimizer._opt_called = True  # or torch's schedulers would warn that no step came before theirs

    def settle(self):
        """Take the settings that were kept, where the caller has not moved them since."""
        for group, (fresh, kept) in zip(self.optimizer.param_groups, self._kept or (), strict=self._kept is not None):
            for key, value in kept.items():
                if key not in fresh or group[key] is fresh[key]:
                    group[key] = group[key].copy_(value) if isinstance(group.get(key), torch.Tensor) else value
        self._kept = None

    def _settings(self):
        return [{key: group[key] for key in group if key != "params"} for group in self.optimizer.param_groups]


def forget_what_is_not_finite(optimizer):
    """Drop an optimiser's state for each parameter where it holds nan or inf: it begins there anew."""
    for parameter, state in optimizer.state.items():
        tensors = [value for value in state.values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
        if not all(torch.isfinite(value).all() for value in tensors):
            optimizer.state[parameter] = {}


def gradients_are_finite(parameters):
    """Tell whether every number of every gradient is finite."""
    return math.isfinite(whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])))
