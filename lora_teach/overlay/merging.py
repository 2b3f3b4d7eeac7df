"""Folding updates into the base weights, and taking them out again to the last bit."""

from itertools import takewhile

from lora_teach.layers.bias import merged_bias
from lora_teach.layers.build import fits, is_conv1d, known_forward
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.overlay.names import submodule
from lora_teach.overlay.nested_modules import walk

import torch
from torch.nn.utils import parametrize

ONLY_LOOK = ("make_inputs_require_grad", "output_capturing_hook")  # transformers' hooks that change no output


def updates_of(model):
    """Return ``{module name: (module, [(weight, layer), ...])}`` of what is active in a LoRAModel."""
    updates = {}
    for adapter, weight in model.active_adapters.items():
        layers = [*walk(model.adapters[adapter])]
        layers += [(path, rows) for path, rows in walk(model.saved_modules[adapter]) if isinstance(rows, TrainedTokens)]
        for path, layer in layers:
            updates.setdefault(path, (submodule(model.base_model, path), []))[1].append((weight, layer))
    return updates


def merge_weights(base, updates):
    """Add updates to the weights of ``base`` in place, all of them or none.

    Everything is checked before the first weight moves. The updates of a weight are summed in the larger of float32
    and its own dtype and cast once.

    Args:
        base: The base model.
        updates: From `updates_of`; each module gains Σ weight · layer.delta_weight().

    Returns:
        ``{(module name, "weight" or "bias"): copy of it as it was}``, on its device, for `restore_weights`.

    Raises:
        ValueError: A weight that cannot be merged into (shared, quantised, on the meta device, parametrised), or a
            merged weight that is not finite; nothing has changed then.
    """
    owners = _owners(base)
    tables = {module for module, parts in updates.values() if any(isinstance(one, TrainedTokens) for _, one in parts)}
    for name, (module, parts) in updates.items():
        _check_mergeable(name, module, owners, tables if module in tables else {module})
        for _, layer in parts:
            if isinstance(layer, TrainedTokens):
                continue
            if not callable(getattr(layer, "delta_weight", None)):
                raise ValueError(f"{name}: {type(layer).__name__} has no delta_weight(), so it cannot be merged.")
            if hasattr(layer, "bias_shift"):
                _refuse_shared(name, module.bias, owners, {module})
    backup = {}
    try:
        with torch.no_grad():
            for name, (module, parts) in updates.items():
                for key, merge in (("weight", merged_weight), ("bias", merged_bias)):
                    merged = merge(module, parts)
                    if merged is None:
                        continue
                    if not torch.isfinite(merged).all():
                        raise ValueError(
                            f"{name}: the merged {key} is not finite in {merged.dtype}. Check the adapter for nan or "
                            "inf, lower alpha, or convert the base to a wider dtype first."
                        )
                    backup[name, key] = getattr(module, key).detach().clone()
                    getattr(module, key).copy_(merged)
    except BaseException:  # also a Ctrl-C half way
        restore_weights({name: updates[name][0] for name, _ in backup}, backup)
        raise
    return backup


def merged_weight(module, parts):
    """Return ``module.weight`` with the weighted updates of ``parts`` added, in its own dtype and shape, or None."""
    if all(getattr(layer, "follows", False) for _, layer in parts):  # tied rows are written once, for the table
        return None
    weight = module.weight
    wide = torch.promote_types(weight.dtype, torch.float32)
    total = weight.to(wide, copy=True)
    for factor, layer in parts:
        if isinstance(layer, TrainedTokens):
            layer.write_into(total)
            continue
        delta = layer.delta_weight().to(wide)  # (out_features, in_features)
        total += factor * (delta.T if is_conv1d(module) else delta)
    return total.to(weight.dtype)


def restore_weights(modules, backup):
    """Copy the backed-up weights into ``modules`` (``{name: module}``): the old bits return."""
    with torch.no_grad():
        for (name, key), value in reversed(backup.items()):  # reversed: a module may be here under two names
            getattr(modules[name], key).copy_(value)


def check_replaceable(base, name):
    """Raise ValueError if a parameter of the module called ``name`` is held by a module outside it too."""
    module, owners = submodule(base, name), _owners(base)
    for parameter in module.parameters():
        _refuse_shared(name, parameter, owners, set(module.modules()))


def _owners(base):
    owners = {}  # id of a parameter -> [(module that holds it, its name there)]
    for name, module in base.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((module, f"{name}.{key}".lstrip(".")))
    return owners


def _check_mergeable(name, module, owners, inside):
    weight = module._parameters.get("weight")
    if parametrize.is_parametrized(module) or weight is None:
        raise ValueError(
            f"{name}: its weight is parametrised, which means computed anew at each call, so a merged value would be "
            "lost. Remove the parametrisation first (torch.nn.utils.parametrize.remove_parametrizations)."
        )
    eight_bits = weight.dtype.itemsize == 1
    if eight_bits or not weight.is_floating_point() or not fits(module):
        raise ValueError(
            f"{name}: its weight is quantised ({weight.dtype}), so the sum could not be stored in it exactly. Keep the "
            "adapter beside it; or make the weights plain first, for lora_teach's own by dequantize_(model) of "
            "lora_teach.bases.quantized, which makes the base as large as it was. Don't merge into the weights from "
            "before quantising: the adapter was not trained on these."
        )
    if not known_forward(module):
        raise ValueError(
            f"{name}: {type(module).__name__} has a forward of its own, which may do more than apply its weight, so "
            "with the update in the weight the output could be another. Keep the adapter beside it."
        )
    hooks = takewhile(lambda hook: not getattr(hook, "of_overlay", False), module._forward_hooks.values())
    if any(not getattr(hook, "__name__", "").startswith(ONLY_LOOK) for hook in hooks):
        raise ValueError(
            f"{name}: a forward hook that was there before the adapter may change the module's output, and would then "
            "see the update too, so the output could be another. Take it off first, or keep the adapter beside it."
        )
    if getattr(module, "groups", 1) > 1:
        raise ValueError(
            f"{name}: its weight has groups={module.groups}, and the update reaches across the groups. "
            "Keep the adapter beside it."
        )
    if weight.is_meta:
        raise ValueError(f"{name}: its weight is on the meta device, which holds no numbers. Load the weights first.")
    _refuse_shared(name, weight, owners, inside)


def _refuse_shared(name, parameter, owners, inside):
    others = [owner for module, owner in owners.get(id(parameter), []) if module not in inside]
    if others:
        raise ValueError(
            f"{name}: its weight is shared with {', '.join(others)}, which merging would change too. Untie it first: "
            "module.weight = nn.Parameter(module.weight.detach().clone())."
        )
