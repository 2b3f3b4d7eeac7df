"""Which modules of a base model are adapted, and why the others are not."""

import difflib
from dataclasses import dataclass

from lora_teach.config import is_end
from lora_teach.layers.build import fits, is_adaptable, misfit
from lora_teach.utils.patterns import fullmatch

from torch import nn


@dataclass(frozen=True)
class Targets:
    """The result of `choose`: what is adapted, what has a saved copy, and what was left out with the reason."""

    adapted: dict  # name -> module, in the order of the model
    saved: dict  # name -> module
    left_out: dict  # name -> reason


def matches(name, wanted):
    r"""Tell whether ``name`` is among ``wanted``, as PEFT decides it.

    Args:
        name: Dotted path of a module.
        wanted: A regular expression that must match the whole name, or a list of names or last parts of names.

    >>> matches("blocks.0.attention.q_proj", ["q_proj"]), matches("blocks.0.xq_proj", ["q_proj"])
    (True, False)
    >>> matches("blocks.0.attention.q_proj", r".*\.(q|v)_proj")
    True
    """
    if isinstance(wanted, str):
        return fullmatch(wanted, name)
    return any(name == one or name.endswith("." + one) for one in wanted)


def choose(base, config):
    """Choose the modules of ``base`` that ``config`` adapts. Looks only, changes nothing.

    With ``target_modules=None`` the linear layers are adapted, and those that cannot be are left out and reported. An
    embedding or Conv2d is adapted if it is asked for by name; whatever is asked for and cannot be adapted is an error.

    Raises:
        ValueError: A name that matches nothing, or a module that cannot be adapted, with the reason and the cure.
    """
    named = dict(base.named_modules(remove_duplicate=False))
    saved = _choose_saved(named, config)
    barred = _barred(base)
    whole = {id(inner) for module in saved.values() for inner in module.modules()}  # trained whole
    adapted, left_out, seen = {}, {}, set()
    for name, module in named.items():
        if config.target_modules is None:
            wanted = is_adaptable(module) and id(module) not in whole
        else:
            wanted = name != "" and matches(name, config.target_modules)
        if not wanted or id(module) in seen or (name and matches(name, config.exclude_modules)):
            continue
        seen.add(id(module))  # a module under two names is adapted once, under the first
        problem = _problem(name, module, config, barred, whole)
        if problem is None:
            adapted[name] = module
        elif config.target_modules is None:
            left_out[name] = problem
        else:
            raise ValueError(f"target_modules asks for {name!r}: {problem}")
    if config.target_modules is not None:
        _check_all_matched(config, named)
    _check_patterns(config, named)
    if not adapted and not (saved and config.target_modules is None):
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        raise ValueError(
            f"{type(base).__name__} has no layer that can be adapted: LoRA needs at least one nn.Linear "
            f"(or transformers' Conv1D) that the options do not exclude.{reasons}"
        )
    return Targets(adapted, saved, left_out)


def _choose_saved(named, config):
    saved = {}
    for wanted in config.modules_to_save:
        found = {name: module for name, module in named.items() if name and matches(name, [wanted])}
        if not found:
            raise ValueError(f"modules_to_save names {wanted!r}, which is no module here. {_nearest(wanted, named)}")
        held = {id(module) for module in saved.values()}
        for name, module in found.items():
            if id(module) not in held:  # a module under two names is copied once, under the first
                held.add(id(module))
                saved[name] = module
    for name, module in saved.items():
        if not list(module.parameters()):
            raise ValueError(f"modules_to_save names {name!r}, which has no parameters to train. Leave it out.")
        if any(name.startswith(f"{other}.") for other in saved):
            raise ValueError(f"modules_to_save nests: {name!r} lies inside another saved module. Name only the outer.")
    return saved


def _barred(base):
    """Return ``{id(module): reason}`` for layers on which an adapter would do harm, or nothing."""
    holders = {}  # id of a weight -> names of the modules that hold it
    for name, module in base.named_modules():
        if module._parameters.get("weight") is not None:
            holders.setdefault(id(module.weight), []).append(name)
    tables = {id(m.weight): name for name, m in base.named_modules() if isinstance(m, nn.Embedding)}
    barred = {}
    for name, module in base.named_modules():
        weight = id(getattr(module, "weight", None))
        if isinstance(module, nn.MultiheadAttention):
            barred[id(module.out_proj)] = (
                "nn.MultiheadAttention reads this layer's weight and never calls it, so an adapter would do nothing. "
                "Leave it out, or use an attention with separate projections."
            )
        elif is_adaptable(module) and weight in tables:
            barred[id(module)] = _tied(f"to the embedding {tables[weight]!r}")
        elif isinstance(module, nn.Embedding) and len(holders.get(weight, ())) > 1:
            barred[id(module)] = _tied(f"to {next(other for other in holders[weight] if other != name)!r}")
    return barred


def _tied(to):
    return (
        f"its weight is tied {to}, which merging would change too. "
        "Leave it out, or untie it first: module.weight = nn.Parameter(module.weight.detach().clone())."
    )


def _problem(name, module, config, barred, whole):
    if not fits(module):
        inside = [inner for inner, m in module.named_modules() if inner and is_adaptable(m)][:4]
        cure = f"Name the layers inside, such as {', '.join(map(repr, inside))}." if inside else "Leave it out."
        return f"{type(module).__name__} is no linear layer, embedding or Conv2d, so no LoRA layer fits. {cure}"
    if id(module) in whole:
        return "it lies inside a module of modules_to_save, which is trained whole. Leave one of the two out."
    return barred.get(id(module)) or misfit(name, module, config)


def _check_all_matched(config, named):
    wanted = [config.target_modules] if isinstance(config.target_modules, str) else config.target_modules
    for one in wanted:
        found = [name for name in named if name and matches(name, one if one is config.target_modules else [one])]
        if not found:
            raise ValueError(f"target_modules={one!r} matches no module. {_nearest(one, named)}")
        if all(matches(name, config.exclude_modules) for name in found):
            raise ValueError(
                f"target_modules={one!r} matches only what exclude_modules={config.exclude_modules!r} takes out again: "
                f"{', '.join(map(repr, found[:4]))}. Change one of the two."
            )


def _check_patterns(config, named):
    for option in ("rank_pattern", "alpha_pattern"):
        for key in getattr(config, option):
            if not any(is_end(key, name) for name in named):
                raise ValueError(f"{option} has {key!r}, which matches no module. {_nearest(key, named)}")


def _nearest(wanted, named):
    layers = [name for name, module in named.items() if name and fits(module)]
    ends = {name.rpartition(".")[2]: None for name in layers}
    near = difflib.get_close_matches(wanted, ends | dict.fromkeys(layers), n=4, cutoff=0.4) or list(ends)[:8]
    return f"The nearest names are: {', '.join(map(repr, near))}." if near else "It has no linear layer at all."
