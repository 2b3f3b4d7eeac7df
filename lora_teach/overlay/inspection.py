"""One look at an overlay before it is trained, saved or merged: is all of it in effect?"""

import warnings

from lora_teach.layer import LoRALayer
from lora_teach.layers.build import fits, sizes
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.loop.words import said
from lora_teach.overlay.names import REPLICATED, submodule
from lora_teach.overlay.nested_modules import walk
from lora_teach.utils.processes import whole

import torch
from torch import nn


def overlays(model):
    """List the LoRAModels that are ``model`` or lie inside it, such as in a DistributedDataParallel."""
    return [module for module in model.modules() if hasattr(type(module), "updates_for")]


def check_in_place(model):
    """Raise RuntimeError if a module that an adapter of this LoRAModel changes was replaced or resized since."""
    for path in {path for table in (model.adapters, model.saved_modules) for one in table.values() for path in one}:
        module = submodule(model.base_model, path)
        hooks = () if module is None else module._forward_hooks.values()
        if not any(getattr(hook, "of_overlay", False) and hook.model is model and hook.path == path for hook in hooks):
            _refuse(path, "was replaced, or its hooks were taken off")
        for adapter in model.adapters:
            layer, copy = model.adapters[adapter].get(path), model.saved_modules[adapter].get(path)
            if isinstance(layer, LoRALayer) and fits(module):
                made_for, now = (layer.in_features, layer.out_features), sizes(module)
                weight = module._parameters.get("weight")
                if isinstance(module, nn.Linear) and weight is not None and _is_plain_matrix(weight):
                    now = tuple(weight.shape[::-1])  # in_features may not have followed
                if made_for != now:
                    _refuse(path, f"was resized from {made_for} to {now}")
            if isinstance(copy, TrainedTokens):
                if (len(copy.places), copy.rows.shape[1]) != tuple(module.weight.shape):
                    _refuse(path, "was resized")
            elif copy is not None and _shapes(copy) != _shapes(module):
                _refuse(path, f"was resized, and the copy of it in adapter {adapter!r} was not")


def check_trains(model):
    """Raise RuntimeError or ValueError if training this LoRAModel would be in vain; warn if it trains the base too."""
    check_in_place(model)
    if model.is_disabled:
        raise RuntimeError("the model is inside disabled(), so its adapters are not in use. Leave that block first.")
    if model.open_rows is not None:
        raise RuntimeError(
            "the model is inside rows(), which names the rows of one batch, and a run has many batches. Leave that "
            "block first, or write your own loop with a block for each batch."
        )
    unfrozen = [name for name, parameter in model.base_model.named_parameters() if parameter.requires_grad]
    if unfrozen:
        warnings.warn(said("base_not_frozen", count=len(unfrozen), first=unfrozen[0]), stacklevel=4)
    for adapter, weight in model.active_adapters.items():
        for path, layer in walk(model.adapters[adapter]):
            if isinstance(layer, LoRALayer) and any(parameter.requires_grad for parameter in layer.parameters()):
                _check_layer(path, layer, weight)
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several and torch.distributed.get_world_size() > 1:
        if any(isinstance(module, REPLICATED) for module in model.base_model.modules()):
            raise ValueError(
                "the base is wrapped for several processes, and the adapters over it are not, so each process would "
                "train its own. Wrap the LoRAModel: DistributedDataParallel(LoRAModel(base.module))."
            )


def _check_layer(path, layer, weight):
    if layer.lora_A.is_meta:
        return
    if weight == 0:
        raise ValueError(f"{path}: its adapter has the weight 0 in the mixture, so it gets no gradient. Leave it out.")
    A, B, scale = (whole(one) for one in (layer.lora_A, layer.lora_B, layer.scaling))
    zeros = not A.any() and not B.any()
    if isinstance(scale, torch.Tensor) and (scale.any() or B.any()):
        scale = 1.0  # it learns
    if zeros or not torch.as_tensor(scale, dtype=A.dtype):  # it may be too small for the factors' dtype
        why = f"alpha={layer.alpha} makes the scaling 0"
        raise ValueError(f"{path}: {said('both_factors_zero') if zeros else said('alpha_zero', why=why)}")


def _is_plain_matrix(weight):
    return weight.dim() == 2 and weight.is_floating_point() and weight.dtype.itemsize > 1


def _shapes(module):
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def _refuse(path, what):
    raise RuntimeError(
        f"the base's {path!r} {what} after the adapter was laid over it, so the adapter has no effect there. Put the "
        "old module back; or remove() the overlay, change the base, and lay a new LoRAModel over it."
    )
