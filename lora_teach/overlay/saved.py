"""Saved modules: an adapter's own trainable copies of whole modules of the base."""

from lora_teach.overlay.base import plain_copy

from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase


def trainable_copy(module):
    """Return a copy of ``module`` to train: in float32 where it is in half precision, too coarse for small steps."""
    copy = plain_copy(module)

    def wide(tensor):
        half = isinstance(tensor, nn.Parameter) and tensor.is_floating_point() and tensor.dtype.itemsize < 4
        return tensor.float() if half else tensor

    return copy._apply(wide)


def follow_mode(copy, module, training):
    """Put ``copy`` into the mode of ``module``; a normalisation's, which is held in evaluation, into ``training``."""
    mode = training if isinstance(module, _NormBase) else module.training
    if copy.training != mode:
        copy.train(mode)


def in_the_modules_dtype(copy, module):
    """Return what is called in place of ``module``: ``copy``, computing in the dtype of the module's parameters."""
    dtypes = {name: parameter.dtype for name, parameter in module.named_parameters()}
    cast = {
        name: parameter.to(dtypes[name])
        for name, parameter in copy.named_parameters()
        if dtypes.get(name, parameter.dtype) != parameter.dtype
    }
    return (lambda *args, **kwargs: functional_call(copy, cast, args, kwargs)) if cast else copy


def why_not_saved(module):
    """Return why a copy of ``module`` can't be trained in its place, with the cure, or None."""
    kind, parameters = type(module).__name__, dict(module.named_parameters())
    if not parameters:
        return "it has no parameters to train. Leave it out."
    if type(module).forward is nn.Module.forward:
        inside = next(name for name, inner in module.named_modules() if inner._parameters)
        cure = f"Name the modules inside, such as {inside!r}." if inside else "Leave it out."
        return f"a {kind} is a container, which is never called itself, so a copy of it would do nothing. {cure}"
    packed = [name for name, p in parameters.items() if not p.is_floating_point() or p.dtype.itemsize == 1]
    if packed:
        return f"its {packed[0]} is quantised ({parameters[packed[0]].dtype}), so it can't be trained. Leave it out."
    return None
