"""Which modules of a base model are adapted, and why the others are not."""

import difflib
from dataclasses import dataclass
from functools import partial

from lora_teach.config import is_end
from lora_teach.layers.build import fits, is_adaptable, misfit
from lora_teach.overlay.names import named_modules
from lora_teach.overlay.saved import why_not_saved
from lora_teach.overlay.tokens import choose_tokens
from lora_teach.utils.patterns import fullmatch

from torch import nn

_IS_WHOLE = "it lies inside a module of modules_to_save, which is trained whole. Leave one of the two out."


@dataclass(frozen=True)
class Targets:
    """The result of `choose`: what is adapted, what has a saved copy, and what was left out with the reason."""

    adapted: dict  # name -> module, in the order of the model
    saved: dict  # name -> module
    left_out: dict  # name -> reason
    tokens: dict  # name -> (module, tokens, what is tied to it)


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
    named = dict(named_modules(base))
    read_only = _read_only(named)
    saved, barred = _choose_saved(named, config, read_only), _tied_weights(named) | read_only
    whole = {id(inner) for module in saved.values() for inner in module.modules()}  # trained whole
    tokens = choose_tokens(base, named, config.trainable_token_indices, partial(_names_of, named))
    for name, (module, *_) in tokens.items():
        if id(module) in whole:
            raise ValueError(f"trainable_token_indices names {name!r}: {_IS_WHOLE}")
        barred[id(module)] = "rows of it are trained (trainable_token_indices). Leave one of the two out."
    adapted, left_out = {}, {}
    seen = {id(module) for name, module in named.items() if name and matches(name, config.exclude_modules)}
    for name, module in named.items():
        if config.target_modules is None:
            wanted = is_adaptable(module) and id(module) not in whole
        else:
            wanted = name != "" and matches(name, config.target_modules)
        if not wanted or id(module) in seen:
            continue
        seen.add(id(module))  # a module under two names is adapted once, under the first, or left out under either
        problem = _problem(name, module, config, barred, whole)
        if problem is None:
            adapted[name] = module
        elif config.target_modules is None:
            left_out[name] = problem
        else:
            raise ValueError(f"target_modules asks for {name!r}: {problem}")
    _check_names(config, named)
    _check_patterns(config, named, adapted)
    if not adapted and not ((saved or tokens) and config.target_modules is None):
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        raise ValueError(
            f"{type(base).__name__} has no layer that can be adapted: LoRA needs at least one nn.Linear "
            f"(or transformers' Conv1D) that the options do not exclude.{reasons}"
        )
    return Targets(adapted, saved, left_out, tokens)


def _choose_saved(named, config, read_only):
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
        if any(name.startswith(f"{other}.") for other in saved):
            raise ValueError(f"modules_to_save nests: {name!r} lies inside another saved module. Name only the outer.")
        problem = read_only.get(id(module)) or why_not_saved(module)
        if problem is not None:
            raise ValueError(f"modules_to_save names {name!r}: {problem}")
    return saved


def _names_of(named, wanted):
    found = {id(module): name for name, module in reversed(named.items()) if name and matches(name, [wanted])}
    if not found:
        raise ValueError(f"trainable_token_indices names {wanted!r}, which is no module. {_nearest(wanted, named)}")
    return list(found.values())[::-1]


def _read_only(named):
    """Return ``{id(module): reason}`` for modules of torch's own whose weight is read and that are never called."""
    return {
        id(module.out_proj): (
            "nn.MultiheadAttention reads this layer's weight and never calls it, so an adapter would do nothing. "
            "Leave it out, or use an attention with separate projections."
        )
        for module in named.values()
        if isinstance(module, nn.MultiheadAttention)
    }


def _tied_weights(named):
    """Return ``{id(module): reason}`` for layers on whose weight another module depends."""
    once = {id(module): (name, module) for name, module in reversed(named.items())}  # each under its first name
    holders = {}  # id of a weight -> names of the modules that hold it
    for name, module in reversed(once.values()):
        if module._parameters.get("weight") is not None:
            holders.setdefault(id(module.weight), []).append(name)
    tables = {id(module.weight): name for name, module in once.values() if isinstance(module, nn.Embedding)}
    tied = {}
    for name, module in once.values():
        weight = id(module._parameters.get("weight"))  # not what a parametrisation would compute, and move by it
        if is_adaptable(module) and weight in tables:
            tied[id(module)] = _tied(f"to the embedding {tables[weight]!r}")
        elif isinstance(module, nn.Embedding) and len(holders.get(weight, ())) > 1:
            tied[id(module)] = _tied(f"to {next(other for other in holders[weight] if other != name)!r}")
    return tied


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
        return _IS_WHOLE
    return barred.get(id(module)) or misfit(name, module, config)


def _check_names(config, named):
    """Refuse a name or expression that matches nothing, and a target that is taken out again."""
    _found("exclude_modules", config.exclude_modules, named)
    for one, found in _found("target_modules", config.target_modules or (), named).items():
        if all(matches(name, config.exclude_modules) for name in found):
            raise ValueError(
                f"target_modules={one!r} matches only what exclude_modules={config.exclude_modules!r} takes out again: "
                f"{', '.join(map(repr, found[:4]))}. Change one of the two."
            )


def _found(option, wanted, named):
    """Return ``{name or expression: names of the modules that it matches}``; ValueError for one that matches none."""
    expression = isinstance(wanted, str)
    every = {}
    for one in [wanted] if expression else wanted:
        every[one] = [name for name in named if name and matches(name, one if expression else [one])]
    for one, found in every.items():
        if not found and expression and any(matches(name, [one]) for name in named):
            raise ValueError(
                f"{option}={one!r} matches no module: a string is a regular expression for whole names, and a "
                f"list holds names or their last parts. Use {option}=[{one!r}]."
            )
        if not found:
            raise ValueError(f"{option}={one!r} matches no module. {_nearest(one, named)}")
    return every


def _check_patterns(config, named, adapted):
    for option in ("rank_pattern", "alpha_pattern"):
        for key in getattr(config, option):
            found = [name for name in named if is_end(key, name)]
            if not found:
                raise ValueError(f"{option} has {key!r}, which matches no module. {_nearest(key, named)}")
            if adapted and not any(name in adapted for name in found):
                raise ValueError(
                    f"{option} has {key!r}, which matches only modules that are not adapted: "
                    f"{', '.join(map(repr, found[:4]))}. Take it out, or add them to target_modules."
                )


def _nearest(wanted, named):
    layers = [name for name, module in named.items() if name and fits(module)]
    ends = {name.rpartition(".")[2]: None for name in layers}
    near = difflib.get_close_matches(wanted, ends | dict.fromkeys(layers), n=4, cutoff=0.4) or list(ends)[:8]
    return f"The nearest names are: {', '.join(map(repr, near))}." if near else "It has no linear layer at all."
