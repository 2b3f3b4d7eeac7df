"""Names of a base's modules without the wrappers that torch.compile, DDP and others put around a module."""

from torch import nn

# Children under which a wrapper holds what it wraps: torch.compile, FSDP, activation checkpointing.
WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
REPLICATED = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(module):
    """Return what is inside the wrappers around ``module``, or ``module`` itself."""
    while True:
        inner = [module._modules[key] for key in WRAPPED if module._modules.get(key) is not None]
        if isinstance(module, REPLICATED):
            inner = [module.module]
        if not inner:
            return module
        module = inner[0]


def base_of(model):
    """Return the base of a LoRAModel, without wrappers; of another model, this itself."""
    model = unwrapped(model)
    return unwrapped(model._modules.get("base_model", model))


def named_modules(module, prefix=""):
    """Yield ``(name, module)`` as ``named_modules(remove_duplicate=False)`` does, without wrappers and their names."""
    module = unwrapped(module)
    yield prefix, module
    for key, child in module._modules.items():
        if child is not None:
            yield from named_modules(child, f"{prefix}.{key}" if prefix else key)


def submodule(base, name):
    """Return the module that `named_modules` calls ``name``, or None."""
    module = unwrapped(base)
    for part in name.split(".") if name else ():
        module = module._modules.get(part)
        if module is None:
            return None
        module = unwrapped(module)
    return module
