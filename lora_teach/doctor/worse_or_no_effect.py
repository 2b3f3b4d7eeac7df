"""It learns and is worse than the base, or it has no effect when it is loaded."""

from collections import Counter

from lora_teach.doctor.report import SYMPTOMS, fault, some
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.loop.words import WORDS
from lora_teach.overlay.names import submodule
from lora_teach.overlay.nested_modules import walk

import torch
from torch import nn

WORSE, NO_EFFECT = SYMPTOMS[4:]
NOTHING_MOVES = ("merged_while_training", "nothing_trainable", "optimizer_misses_adapters", "both_factors_zero",
                 "alpha_zero", "adapter_not_called", "no_gradient_reaches_adapter", "wrong_adapter_active")  # fmt: skip


@fault(WORSE, WORDS["base_not_frozen"].cure)
def base_not_frozen(case):
    """Parameters of the base train along, and are not in the adapter's file."""
    if not case.adapters:
        return None
    kinds = {name: _kind(name, module) for name, (_, module) in case.others.items() if not case.is_head(module)}
    if kinds:
        counts = ", ".join(f"{count} of {kind}" for kind, count in Counter(kinds.values()).items())
        return f"{WORDS['base_not_frozen'].what.format(count=len(kinds), first=next(iter(kinds)))} ({counts})"


def _kind(name, module):
    if "Norm" in type(module).__name__:
        return "norms"
    if isinstance(module, nn.Embedding):
        return "embeddings"
    return "biases" if name.endswith("bias") else "weights"


@fault(NO_EFFECT, 'modules_to_save=["name of the head"] when the adapter is made.')
def head_not_saved(case):
    """An output layer trains with the adapter and is not written with it."""
    if all(one.origin == "hand" for one in case.adapters):
        return None  # what is saved of a model by hand can't be told
    heads = [name for name, (_, module) in case.others.items() if case.is_head(module)]
    if heads:
        return f"{some(heads)} trains, and belongs to the base, so no adapter file holds it"


@fault(WORSE, "torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)",
       unless=("wrong_adapter_active", "nothing_trainable", "optimizer_misses_adapters"))  # fmt: skip
def optimizer_holds_frozen(case):
    """The optimiser was given parameters that don't train; unfrozen by a later line, they would."""
    frozen = [name for name, p in case.parameters.items() if id(p) in case.groups and not p.requires_grad
              and id(p) not in case.factors]  # fmt: skip
    if frozen:
        return f"the optimiser holds {len(frozen)} parameters that are frozen: {some(frozen)}"


@fault(WORSE, "torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)")
def weight_decay_on_adapters(case):
    """Decay pulls A and B to zero, and the weights with them back to the pretrained ones."""
    rates = case.rates()
    decayed = [name for name, (_, group) in rates.items() if group.get("weight_decay", 0) > 0.01]
    if decayed:
        lr, group = rates[decayed[0]]
        return (
            f"weight_decay = {group['weight_decay']:g} with lr = {lr:g} takes {lr * group['weight_decay']:.1g} of each "
            f"number a step in {some(decayed)}"
        )


@fault(WORSE, "module.eval() for each BatchNorm of the base, after model.train().")
def train_mode_batchnorm(case):
    """The running statistics of a frozen BatchNorm move with every batch."""
    norms = {}
    for name, module in case.model.named_modules():
        frozen = not any(p.requires_grad for p in module.parameters(recurse=False))
        saved = any(id(p) in case.saved for p in module.parameters(recurse=False))
        if getattr(module, "track_running_stats", False) and module.running_mean is not None and frozen and not saved:
            norms[case.short(name)] = module
    if case.trial is not None:
        moved = {case.short(name).rpartition(".")[0] for name in case.trial.moved}
        norms = [name for name in norms if name in moved]
    else:
        norms = [name for name, module in norms.items() if module.training and case.trains]
    if norms and case.adapters:
        return f"the running mean and variance move in training, though the weights are frozen, in {some(norms)}"


@fault(WORSE, "module.weight = nn.Parameter(module.weight.detach().clone()), before the adapters are made.")
def tied_weights(case):
    """One weight serves two modules: what merges into it, or trains it, changes both."""
    owners = {}
    for name, module in case.model.named_modules():
        for key, p in module._parameters.items():
            if p is not None:
                owners.setdefault(id(p), {})[f"{case.short(name)}.{key}"] = module
    found = []
    for one in case.active:
        weight = getattr(one.base, "weight", None)
        shared = owners.get(id(weight), {})
        if len(set(map(id, shared.values()))) > 1:
            found.append(f"{one.place} ({' = '.join(shared)})")
    for name, (p, _) in case.others.items():
        shared = owners.get(id(p), {})
        if len(set(map(id, shared.values()))) > 1 and any(isinstance(m, nn.Embedding) for m in shared.values()):
            found.append(f"{name} ({' = '.join(shared)})")
    if found:
        return f"a weight is shared by two modules at {some(found)}"


@fault(NO_EFFECT, "Save it again after training, or load the folder that was trained: see `python -m lora_teach xray`.",
       unless=NOTHING_MOVES)  # fmt: skip
def adapter_is_noop(case):
    """Every update is zero though the adapter was trained, or is there to be used."""
    for adapter in {one.adapter: None for one in case.active}:
        layers = [one for one in case.active if one.adapter == adapter]
        used = case.started or not any(one.trains for one in layers)
        if used and all(one.zero for one in layers):
            after = f" after {len(case.losses)} steps" if case.losses else ""
            return f"A·B is zero in all {len(layers)} adapted layers{after}: {some(one.place for one in layers)}"


@fault(NO_EFFECT, "Compare `python -m lora_teach xray FOLDER` with the names in print(model), and rename the keys.",
       unless=NOTHING_MOVES)  # fmt: skip
def missing_keys(case):
    """Some layers hold what was trained and others their start: the file had no keys for them, or other names."""
    if case.optimizer is not None and not case.started:
        return None
    for adapter in {one.adapter: None for one in case.active}:
        layers = [one for one in case.active if one.adapter == adapter]
        still = [one.place for one in layers if one.zero]
        if still and len(still) < len(layers):
            return f"A·B is zero in {len(still)} of {len(layers)} adapted layers, as at the start: {some(still)}"


@fault(WORSE, 'trainable_token_indices=[…] with their ids, or modules_to_save=["embed_tokens"].')
def new_tokens_not_trained(case):
    """The batch has tokens whose embedding was just added and is frozen."""
    if case.trial is None or case.trial.tokens is None:
        return None
    tokens = case.trial.tokens.unique()
    for name, module in case.model.named_modules():
        if not isinstance(module, nn.Embedding) or module.num_embeddings <= int(tokens.max()):
            continue
        adapted = any(one.base is module for one in case.active) or id(module.weight) in case.saved
        if adapted or module.weight.requires_grad or not _holds_tokens(case.model, module, name):
            continue
        new = _untrained_rows(module, tokens[tokens != (-1 if module.padding_idx is None else module.padding_idx)])
        new = [token for token in new if token not in _own_rows(case, module)]
        if new:
            rows = f"{len(new)} of the batch's tokens have rows as new: {some(map(str, new))}"
            return f"{case.short(name)} is frozen, and {rows}"


def _own_rows(case, module):
    """Return the tokens for which an active adapter of a LoRAModel has rows of its own in place of ``module``'s."""
    overlay, own = case.overlay, set()
    for adapter in () if overlay is None else overlay.active_adapters:
        for path, rows in walk(overlay.saved_modules[adapter]):
            if isinstance(rows, TrainedTokens) and submodule(overlay.base_model, path) is module:
                own.update(rows.indices.tolist())
    return own


def _holds_tokens(model, module, name):
    asked = getattr(model, "get_input_embeddings", None)
    try:
        return module is asked() if callable(asked) else "pos" not in name and "type" not in name
    except (NotImplementedError, AttributeError):
        return True


@torch.no_grad()
def _untrained_rows(module, tokens):
    """List those of ``tokens`` whose row is zero, or the mean of all rows, or far smaller than the others."""
    table = module.weight.float()  # (vocabulary, width)
    if len(table) > 4096:  # enough to know what a row is usually like
        usual = table[:: len(table) // 4096]
    else:
        usual = table
    mean, rows = usual.mean(0), table[tokens]  # (width,), (tokens, width)
    far, size = (usual - mean).norm(dim=1).median(), usual.norm(dim=1).median()
    new = (rows.norm(dim=1) < 0.2 * size) | ((rows - mean).norm(dim=1) < 0.05 * far)
    return tokens[new].tolist()


@fault(WORSE, "Load it once: model.delete_adapter(name), or unload() before get_peft_model is called again.")
def duplicate_adapters(case):
    """One update acts twice: two active adapters are equal, or one layer is adapted inside another."""
    found, seen = [], {}
    for one in case.active:
        for other in seen.get(id(one.base if one.base is not None else one.host), []):
            if (
                one.A.shape == other.A.shape
                and torch.equal(one.A, other.A)
                and torch.equal(one.B, other.B)
                and not one.zero
            ):
                found.append(f"{one.name} ({other.adapter!r} and {one.adapter!r} are equal)")
        seen.setdefault(id(one.base if one.base is not None else one.host), []).append(one)
    hosts = {id(one.host): one for one in case.active}
    for one in case.active:
        inner = next((hosts[id(m)] for m in one.host.modules() if m is not one.host and id(m) in hosts), None)
        if inner is not None and one.origin != "ours":
            found.append(f"{one.name} (adapted again inside, at {inner.name})")
    if case.overlay is not None and any(one.origin != "ours" for one in case.adapters):
        bases = {id(one.base): one.name for one in case.active if one.origin != "ours"}
        found += [
            f"{one.name} (by LoRAModel and by PEFT)"
            for one in case.active
            if one.origin == "ours" and id(one.base) in bases
        ]
    if found:
        return f"an update acts twice at {some(found)}"
