"""A module that holds others under dotted names."""

import difflib

from torch import nn


class NestedModules(nn.Module):
    """Modules under the dotted names that ``named_modules()`` gives, stored one nested level a part.

    ``nn.ModuleDict`` refuses a name such as ``"blocks.0.q_proj"``, and names with dots in the tree would break
    ``state_dict`` loading, ``get_submodule`` and ``functional_call``. Here ``layers["blocks.0.q_proj"]`` is stored as
    ``layers.blocks.0.q_proj``, in plain modules, so all of these work.

    >>> layers = NestedModules()
    >>> layers.add("blocks.0.q_proj", nn.Linear(2, 2))
    >>> list(layers), list(layers.state_dict())
    (['blocks.0.q_proj'], ['blocks.0.q_proj.weight', 'blocks.0.q_proj.bias'])
    """

    def add(self, name, module):
        """Store ``module`` under the new name ``name``."""
        *levels, last = name.split(".")
        level = self
        for part in levels:
            if part not in level._modules:
                level._modules[part] = nn.Module()
            level = level._modules[part]
            if type(level) is not nn.Module:
                raise ValueError(f"{name!r} lies inside a module that is held here already. Leave one of the two out.")
        level._modules[last] = module

    def get(self, name, default=None):
        """Return the module called ``name``, or ``default``."""
        level = self
        for part in name.split("."):
            level = level._modules.get(part)
            if level is None:
                return default
        return default if type(level) is nn.Module else level

    def __getitem__(self, name):
        found = self.get(name) if isinstance(name, str) else None
        if found is None:
            near = difflib.get_close_matches(str(name), list(self), n=3, cutoff=0.3) or list(self)[:3]
            raise KeyError(f"there is no layer {name!r} here; the nearest are: {', '.join(map(repr, near))}")
        return found

    def __setitem__(self, name, module):
        """Replace the module called ``name``, which must be there: a new name would have no place in the model."""
        if not isinstance(module, nn.Module):
            raise TypeError(f"{type(module).__name__} is no module. Use an nn.Module in place of the layer {name!r}.")
        self[name]  # the KeyError names the nearest
        self.add(name, module)

    def __iter__(self):
        return (name for name, _ in walk(self))

    def __len__(self):
        return sum(1 for _ in self)

    def __contains__(self, name):
        return isinstance(name, str) and self.get(name) is not None

    def __getattr__(self, name):
        # keys, values and items are found here, after the children: a model may well have a layer called "keys".
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("keys", "values", "items"):
                return getattr(dict(walk(self)), name)
            raise


def walk(level, prefix=""):
    """Yield ``(dotted name, module)``: what ``items()`` gives, also where a layer is called "items"."""
    for part, child in level._modules.items():
        if type(child) is nn.Module:
            yield from walk(child, f"{prefix}{part}.")
        else:
            yield prefix + part, child
