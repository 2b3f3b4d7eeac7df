"""What a checkpoint belongs to: one table of all that must be the same when a run is resumed."""

import re
from functools import partial

from lora_teach.layer import LoRALayer
from lora_teach.loop.fingerprints import Digest, of_tensors
from lora_teach.overlay.inspection import overlays
from lora_teach.overlay.nested_modules import walk

# Ways to compute the same update.
SAME = ("params", "fused", "foreach", "capturable", "differentiable")

DIGESTED = ("schedule", "the code of loss_fn", "modules", "base", "data")  # rows that tell only that something differs


def table(settings, model, trained, optimizer, batches):
    """Return ``{what: value}``, plain numbers and strings; the first that differs is what a refusal names.

    Args:
        settings: The loop's own, ``{name: value}``. The schedule is known by its factors, the loss by its name, its
            code and the numbers that it holds.
        model: What is trained.
        trained: Returns ``{name: tensor}`` of all that training moves.
        optimizer: The user's own, or None.
        batches: The data, digested as far as it is held in memory.
    """
    rows, trained, schedule = dict(settings), trained(), settings["schedule"]
    steps = rows["steps"]
    rows["schedule"] = schedule and str(Digest().add([schedule(step / steps) for step in range(steps)]))
    rows["loss_fn"] = _name(settings["loss_fn"])
    rows["the code of loss_fn"] = _content(settings["loss_fn"])
    if optimizer is not None:
        rows["optimizer"] = type(optimizer).__name__
        for number, group in enumerate(optimizer.param_groups):
            rows |= {f"{key} of the optimiser's group {number}": _plain(group[key]) for key in group if key not in SAME}
    unused = []
    for overlay in overlays(model):
        for adapter in overlay.adapters:
            if adapter not in overlay.active_adapters:
                unused += [overlay.adapters[adapter], overlay.saved_modules[adapter]]
        for adapter, weight in overlay.active_adapters.items():
            rows[f"the weight of adapter {adapter}"] = weight
            for path, layer in walk(overlay.adapters[adapter]):
                rows |= _of_layer(path, layer)
    rows |= {f"parameter {name}": f"{list(value.shape)}, {value.dtype}" for name, value in trained.items()}
    not_base = {id(tensor) for module in unused for tensor in (*module.parameters(), *module.buffers())}
    not_base |= {id(tensor) for tensor in trained.values()}
    state = model.state_dict(keep_vars=True)
    tensors = {name: value for name, value in state.items() if hasattr(value, "shape") and id(value) not in not_base}
    rows["modules"] = str(Digest().add(_modules(model, unused)))
    rows["base"] = of_tensors(tensors)
    rows["data"] = str(Digest().add(batches))
    return rows


def _of_layer(path, layer):
    rows = {f"the layer at {path}": type(layer).__name__}
    if isinstance(layer, LoRALayer):
        learnable = hasattr(layer.scaling, "shape")
        rows[f"scaling of {path}"] = "learnable" if learnable else float(layer.scaling)
        rows[f"dropout of {path}"] = layer.dropout
    return rows


def _modules(model, unused):
    """List each module's name, kind and settings, such as a dropout's probability, also where it is not printed."""
    inactive = {id(inner) for module in unused for inner in module.modules()}
    return [
        (name, type(module).__qualname__, re.sub(r"0x[0-9a-f]+", "", module.extra_repr()), _held(module, float))
        for name, module in model.named_modules()
        if id(module) not in inactive
    ]


def _name(function):
    if isinstance(function, partial):
        return f"{_name(function.func)} of {_plain(function.args)} {_plain(function.keywords)}"
    named = getattr(function, "__qualname__", None)
    return named or re.sub(r" at 0x[0-9a-f]+", "", repr(function))


def _content(function):
    """Return a digest of what a function does, and of the plain values that it, or an object in its place, holds."""
    function = function.func if isinstance(function, partial) else function
    code = getattr(function, "__code__", None)
    if code is None:
        return str(Digest().add(_held(function, float | str)))
    cells = (cell.cell_contents for cell in function.__closure__ or ())
    held = [value for value in cells if isinstance(value, float | str)]  # a whole number may count calls
    return str(Digest().add([_written(code), function.__defaults__, held]))


def _written(code):
    """List what a function does, and with what constants; of an inner function too."""
    return [code.co_code, code.co_names, [_written(one) if hasattr(one, "co_code") else one for one in code.co_consts]]


def _held(thing, kinds):
    """Return the plain values that an object holds, ``{name: value}``."""
    named = getattr(thing, "__dict__", {}).items()
    return {name: value for name, value in named if isinstance(value, kinds) and name != "training" and name[0] != "_"}


def _plain(value):
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
