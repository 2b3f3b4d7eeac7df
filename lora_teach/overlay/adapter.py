"""One adapter of a LoRAModel: its layers, its saved modules and their state."""

import difflib
from collections.abc import Mapping
from math import isfinite
from numbers import Real

from lora_teach.layers.build import new_layer
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.overlay.nested_modules import NestedModules, walk
from lora_teach.overlay.saved import trainable_copy
from lora_teach.overlay.targets import choose
from lora_teach.overlay.tokens import add_tokens

# Names that Windows keeps for devices, and the most bytes that file systems take.
RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
RESERVED |= {f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"}
LONGEST = 255


class Adapter:
    """One adapter, made for ``base`` as ``config`` asks; the LoRAModel registers its two tables of modules.

    Attributes:
        layers: NestedModules of the LoRA layers, under the names of the modules they adapt.
        saved_modules: NestedModules of its own copies of ``modules_to_save``, and of its rows of tables.
        config: Its LoRAConfig.
        left_out: ``{module name: why it is not adapted}``.
    """

    def __init__(self, base, config, others=()):
        targets = choose(base, config)
        _check_nesting(targets, others)
        self.config, self.left_out = config, targets.left_out
        self.layers, self.saved_modules = NestedModules(), NestedModules()
        for path, module in targets.adapted.items():
            self.layers.add(path, new_layer(path, module, config))
        for path, module in targets.saved.items():
            self.saved_modules.add(path, trainable_copy(module))
        add_tokens(self.saved_modules, targets.tokens)
        self._flags = {}  # parameter name -> its own requires_grad, while the adapter is inactive

    @property
    def paths(self):
        """List the names of the base's modules that this adapter changes."""
        return [*self.layers, *self.saved_modules]

    def active_alone(self):
        """List the names of its modules that can't be mixed: saved modules, and layers such as DoRA's."""
        return [*self.saved_modules, *(path for path, layer in walk(self.layers) if not getattr(layer, "mixes", True))]

    def activate(self):
        """Give each parameter back its own ``requires_grad``."""
        flags, self._flags = self._flags, {}
        for name, parameter in self._parameters():
            if name in flags:
                parameter.requires_grad_(flags[name])

    def deactivate(self):
        """Let no parameter require a gradient, and remember each one's own flag."""
        for name, parameter in self._parameters():
            if name not in self._flags or parameter.requires_grad:  # the second: a layer replaced while inactive
                self._flags[name] = parameter.requires_grad
            parameter.requires_grad_(False)

    def _parameters(self):
        for kind, modules in (("layer", self.layers), ("saved", self.saved_modules)):
            for path, parameter in modules.named_parameters():
                yield f"{kind}.{path}", parameter


def mixture_of(choice, adapters):
    """Return ``{name: weight}`` of a name, a mixture or None, checked against ``{name: Adapter}``."""
    if choice is not None and not isinstance(choice, str | Mapping):
        raise TypeError(f"set_adapter({choice!r}): use a name, None, or a mixture such as {{'default': 0.5}}.")
    mixture = {} if choice is None else {choice: 1.0} if isinstance(choice, str) else dict(choice)
    for name, weight in mixture.items():
        check_known(name, adapters)
        if isinstance(weight, bool) or not isinstance(weight, Real) or not isfinite(weight):
            raise TypeError(f"the weight {weight!r} of adapter {name!r} is not a finite number. Try 0.5.")
        alone = adapters[name].active_alone()
        if alone and mixture != {name: 1.0}:
            alone = ", ".join(alone[:4]) + (", …" if len(alone) > 4 else "")
            raise ValueError(f"adapter {name!r} has its own {alone}, which cannot be mixed. Activate it alone.")
    return {name: float(weight) for name, weight in mixture.items()}


def check_known(name, adapters):
    """Raise KeyError if ``name`` is none of ``adapters``."""
    if name not in adapters:
        near = difflib.get_close_matches(str(name), adapters, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise KeyError(f"there is no adapter {name!r}; {meant}there are: {', '.join(map(repr, adapters)) or 'none'}")


def check_name(name, taken=()):
    """Raise TypeError or ValueError if ``name`` can't name a new adapter beside the ModuleDict ``taken``."""
    if not isinstance(name, str):
        raise TypeError(f"the adapter name {name!r} is no string. Use a short word, such as 'finnish'.")
    if not name or any(sign in name for sign in "./\\") or (hasattr(taken, name) and name not in taken):
        raise ValueError(f"the adapter name {name!r} cannot be used: it names a folder and an attribute. Use a word.")
    reserved = name.rstrip().upper() in RESERVED
    if reserved or any(sign in '<>:"|?*' or not sign.isprintable() for sign in name) or name != name.strip():
        raise ValueError(
            f"the adapter name {name!r} cannot be used: it names a folder, and not every file system takes it. Use a "
            "word."
        )
    if len(name.encode()) > LONGEST:
        raise ValueError(f"the adapter name {name[:40]!r}… is too long for a folder. Use at most {LONGEST} bytes.")
    if name in taken:
        raise ValueError(f"there is an adapter {name!r} already. Use another name, or delete_adapter({name!r}) first.")
    twin = next((other for other in taken if other.casefold() == name.casefold()), None)
    if twin is not None:
        raise ValueError(
            f"the adapter name {name!r} cannot be used beside {twin!r}: some file systems take the two for one folder. "
            "Use another word."
        )


def _check_nesting(targets, others):
    tables = {path for other in others for path, one in walk(other.saved_modules) if isinstance(one, TrainedTokens)}
    adapted = {path for other in others for path in other.layers} | tables | set(targets.adapted) | set(targets.tokens)
    saved = {path for other in others for path in other.saved_modules} - tables | set(targets.saved)
    for outer in saved:
        for inner in adapted | saved:
            if inner.startswith(outer + ".") or (inner == outer and inner in adapted):
                raise ValueError(
                    f"modules_to_save holds {outer!r}, and an adapter here holds {inner!r} inside it. "
                    "Train a module whole or adapt its layers, the same way for every adapter."
                )
