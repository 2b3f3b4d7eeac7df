"""The options of one adapter, checked when they are made."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral

from lora_teach.layer import INITS, SCALINGS, VARIANTS
from lora_teach.utils.patterns import compiled, ending, fullmatch
from lora_teach.utils.validation import check_alpha, check_choice, check_dropout, check_rank


@dataclass(frozen=True)
class LoRAConfig:
    """What one adapter is made of. Every field is checked here, so that a mistake is caught before a model changes.

    Args:
        rank: Inner size r of each update, at least 1.
        alpha: Strength; ``None`` means each layer's rank.
        target_modules: Which layers are adapted. A list names them in full or by their last parts (``"q_proj"``); a
            string is a regular expression that must match a whole name; ``None`` or ``"all-linear"`` takes every
            linear layer that can be adapted (`lora_teach.overlay.targets` says which are left out). An embedding or
            ``nn.Conv2d`` is adapted if it is named.
        exclude_modules: Layers to leave out, given in the same two ways.
        modules_to_save: Modules of which the adapter has a fully trained copy of its own, such as a new head.
        trainable_token_indices: Tokens whose rows the adapter trains, for new ones such as the marks of a chat. A list
            means the input embedding's; ``{name of a table: list}`` says which. What is tied to it follows.
        scaling: ``"alpha/r"``, ``"alpha/sqrt(r)"`` or ``"alpha"``.
        learnable_scaling: Learn each layer's scaling.
        dropout: Probability in [0, 1), on the adapter's input, in training.
        variant: Kind of layer, by its registered name: ``"lora"``, ``"dora"``, ``"pissa"`` or ``"lora_fa"``, one file
            each in `lora_teach.layers`.
        init: Start of the factors: ``"uniform"`` or ``"randn"`` draws A, ``"uniform_B"`` draws B. ``"pissa"`` takes
            both from the weight, and means the same as ``variant="pissa"``.
        rank_pattern: Ranks of single layers, ``{regular expression for the end of a name: rank}``; first match counts.
        alpha_pattern: The same for alphas.

    Raises:
        TypeError: A value of the wrong type, or an unknown option (the nearest name is given).
        ValueError: A value out of its range, or a regular expression that does not compile.
    """

    rank: int = 4
    alpha: float | None = None
    target_modules: list | str | None = None
    exclude_modules: tuple | str = ()
    modules_to_save: tuple = ()
    scaling: str = "alpha/r"
    learnable_scaling: bool = False
    dropout: float = 0.0
    variant: str = "lora"
    init: str = "uniform"
    rank_pattern: dict = field(default_factory=dict)
    alpha_pattern: dict = field(default_factory=dict)
    trainable_token_indices: list | dict | None = None

    def __new__(cls, *args, **options):
        """Refuse unknown options by name."""
        names = [option.name for option in fields(cls)]
        for name in options:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                cure = f"Did you mean {near[0]!r}?" if near else f"Use any of: {', '.join(names)}."
                raise TypeError(f"LoRAConfig has no option {name!r}. {cure}")
        return super().__new__(cls)

    def __post_init__(self):
        store = object.__setattr__  # the dataclass is frozen; these are stored in one form
        store(self, "rank", check_rank(self.rank))
        store(self, "alpha", None if self.alpha is None else check_alpha(self.alpha))
        store(self, "dropout", check_dropout(self.dropout))
        check_choice("scaling", self.scaling, SCALINGS)
        check_choice("variant", self.variant, VARIANTS)
        self._settle_start()
        if not isinstance(self.learnable_scaling, bool):
            raise TypeError(f"learnable_scaling={self.learnable_scaling!r} is not a bool. Use True or False.")
        everything = self.target_modules is None or self.target_modules in ("all-linear", ["all-linear"])
        store(self, "target_modules", None if everything else _names("target_modules", self.target_modules))
        store(self, "exclude_modules", _names("exclude_modules", self.exclude_modules or ()))
        store(self, "modules_to_save", _names("modules_to_save", self.modules_to_save or (), regex=False))
        store(self, "rank_pattern", _pattern("rank_pattern", self.rank_pattern, check_rank))
        store(self, "alpha_pattern", _pattern("alpha_pattern", self.alpha_pattern, check_alpha))
        store(self, "trainable_token_indices", _tables(self.trainable_token_indices))
        if self.target_modules == ():
            raise ValueError("target_modules=[] names nothing. Use None for every linear layer, or name some.")

    def _settle_start(self):
        """Check ``init``; a variant that differs by its start may be named there, and then both fields name it."""
        starts = {name: None for name, layers in VARIANTS.items() if any(one.by_init for one in layers.values())}
        check_choice("init", self.init, {**dict.fromkeys(INITS), **starts})
        named = self.init if self.init in starts else self.variant if self.variant in starts else None
        if named is None:
            return
        if self.variant not in ("lora", named) or self.init not in ("uniform", named):
            raise ValueError(
                f"variant={self.variant!r} and init={self.init!r} don't go together: {named!r} is a start of its own, "
                f"of plain LoRA's factors. Use init={named!r} alone."
            )
        object.__setattr__(self, "variant", named)
        object.__setattr__(self, "init", named)

    def rank_of(self, name):
        """Return the rank of the layer called ``name``."""
        return _lookup(self.rank_pattern, name, self.rank)

    def alpha_of(self, name):
        """Return the alpha of the layer called ``name``; without an alpha it is that layer's rank."""
        return _lookup(self.alpha_pattern, name, self.rank_of(name) if self.alpha is None else self.alpha)


def given_config(config, options):
    """Return ``config``, or the LoRAConfig of the keywords ``options``; TypeError if it is both or something else."""
    if config is not None and options:
        raise TypeError(f"both a config and the options {', '.join(options)} are given. Use one of the two.")
    if config is not None and not isinstance(config, LoRAConfig):
        raise TypeError(f"config is a {type(config).__name__}. Use a LoRAConfig, or its options as keywords.")
    return config or LoRAConfig(**options)


def is_end(key, name):
    """Tell whether the regular expression ``key`` of a pattern matches the end of ``name``, as PEFT decides it."""
    return fullmatch(ending(key), name)


def _lookup(pattern, name, default):
    return next((value for key, value in pattern.items() if is_end(key, name)), default)


def _check_expression(option, expression):
    try:
        compiled(expression)
    except ValueError as error:
        raise ValueError(f"{option}: {error}. Mend it, or use a list of names, which needs no escaping.") from None


def _names(option, value, regex=True):
    if isinstance(value, str):
        if not regex:
            raise TypeError(f"{option}={value!r} is one string. Use a list of names: [{value!r}].")
        _check_expression(option, value)
        return value
    if isinstance(value, Mapping):
        raise TypeError(f"{option}={value!r} is a mapping, whose values would be lost. Use a list of names.")
    try:
        names = tuple(sorted(value) if isinstance(value, set | frozenset) else value)
    except TypeError:
        raise TypeError(f"{option}={value!r} is no list of names. Use a list of strings.") from None
    for name in names:
        if not isinstance(name, str) or not name:
            raise TypeError(f"{option} holds {name!r}, which is no name. Use non-empty strings.")
    return names


def _tables(value):
    """Return ``trainable_token_indices`` as a tuple of tokens, as ``{name: tuple}``, or None."""
    if not isinstance(value, Mapping):
        return None if value is None else _tokens(value)
    _names("trainable_token_indices", list(value), regex=False)
    return {name: _tokens(tokens) for name, tokens in value.items()} or None


def _tokens(value):
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable) or not (tokens := tuple(value)):
        raise TypeError(f"trainable_token_indices={value!r} is no list of tokens. Use a list of whole numbers.")
    for token in tokens:
        if isinstance(token, bool) or not isinstance(token, Integral):
            raise TypeError(
                f"trainable_token_indices has {token!r}, which is no whole number. Use the tokenizer's ids."
            )
        if token < 0:
            raise ValueError(f"trainable_token_indices has {token}, which is below 0. Use the tokenizer's ids.")
    if len(set(tokens)) < len(tokens):
        raise ValueError(f"trainable_token_indices={list(tokens)!r} names a token twice. Use each once.")
    return tuple(map(int, tokens))


def _pattern(option, value, check):
    if not isinstance(value, Mapping):
        raise TypeError(f"{option}={value!r} is no dict. Use {{'name of a layer': value}}.")
    checked = {}
    for key, entry in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{option} has the key {key!r}, which is no name. Use strings.")
        _check_expression(option, key)
        _check_expression(option, ending(key))  # some, such as "(?i)q", can't follow anything
        checked[key] = check(entry)
    return checked
