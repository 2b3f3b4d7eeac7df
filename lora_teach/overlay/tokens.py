"""Which tables of a base have rows of their own in an adapter: ``trainable_token_indices``."""

from lora_teach.layers.tokens import TrainedTokens, why_no_tokens
from lora_teach.overlay.names import unwrapped

from torch import nn


def choose_tokens(base, named, wanted, names_of):
    """Choose the tables whose tokens ``wanted`` names.

    Args:
        base: The base model.
        named: ``{name: module}`` of it.
        wanted: LoRAConfig's ``trainable_token_indices``; a plain tuple means the input embedding.
        names_of: ``names_of(one) -> [names of the modules that one means]``; raises ValueError if there is none.

    Returns:
        ``{name: (module, tokens, {name: module} of those whose weight is tied to its table)}``.

    Raises:
        ValueError: A module that has no such rows, or a tie that PEFT would not follow.
    """
    if isinstance(wanted, tuple):
        wanted = {_input_embedding(base, named): wanted}
    chosen, by_weight = {}, {}
    for one, indices in (wanted or {}).items():
        for name in names_of(one):
            problem = why_no_tokens(named[name], indices)
            if problem is not None:
                raise ValueError(f"trainable_token_indices names {name!r}: {problem}")
            source, tokens = by_weight.setdefault(id(named[name].weight), (name, indices))
            if tokens != indices:
                raise ValueError(
                    f"trainable_token_indices has other tokens for {source!r} than for {name!r}, and the two are one "
                    "table. Use the same tokens, or name one of them."
                )
            if source == name:
                chosen[name] = indices
    return {name: (named[name], indices, _tied(base, named, name, indices)) for name, indices in chosen.items()}


def add_tokens(table, chosen):
    """Add a `TrainedTokens` for each module of ``chosen`` to the NestedModules ``table``."""
    for name, (module, indices, tied) in chosen.items():
        rows = TrainedTokens(module, indices)
        table.add(name, rows)
        for other, follower in tied.items():
            table.add(other, TrainedTokens(follower, indices, of=rows))


def _input_embedding(base, named):
    base = unwrapped(base)
    asked = getattr(base, "get_input_embeddings", None)
    found = asked() if callable(asked) else None
    tables = [name for name, module in named.items() if isinstance(module, nn.Embedding)]
    for name, module in named.items():
        if module is found or (found is None and name.rpartition(".")[2] == "embed_tokens"):
            return name
    example = f"{{{tables[0] if tables else 'embedding'!r}: […]}}"
    raise ValueError(f"trainable_token_indices: which table it means can't be told. Name it: {example}.")


def _tied(base, named, name, indices):
    weight, seen, tied = named[name].weight, {id(named[name])}, {}
    for other, module in named.items():
        if id(module) in seen or getattr(module, "weight", None) is not weight:
            continue
        seen.add(id(module))
        problem = why_no_tokens(module, indices)
        if problem is not None:
            raise ValueError(f"trainable_token_indices names {name!r}, whose weight is tied to {other!r}: {problem}")
        tied[other] = module
    if tied and not getattr(getattr(unwrapped(base), "config", None), "tie_word_embeddings", False):
        raise ValueError(
            f"trainable_token_indices names {name!r}, whose weight is tied to {next(iter(tied))!r}, and the base's "
            "config does not say tie_word_embeddings, so PEFT would give one of them the rows and not the other. Untie "
            "them first: module.weight = nn.Parameter(module.weight.detach().clone())."
        )
    return tied
