"""It blows up: the loss climbs, or becomes nan."""

import math

from lora_teach.doctor.report import SYMPTOMS, fault, some
from lora_teach.loop.nonfinite import ADVICE, causes
from lora_teach.loop.words import WORDS

import torch

SYMPTOM = SYMPTOMS[3]
HALF = (torch.float16, torch.bfloat16)


def _spread(tensor):
    """Return ``(standard deviation, largest absolute value)``."""
    values = tensor.detach().double().flatten()
    return values.std(correction=0).item(), values.abs().max().item()


def _is_uniform(tensor):
    """Tell whether the numbers look drawn evenly from −bound to bound: their deviation is bound/√3."""
    deviation, largest = _spread(tensor)
    allowed = 0.05 + 0.4 / math.sqrt(tensor.numel())  # few numbers tell less
    return tensor.numel() >= 16 and largest > 0 and abs(deviation / largest - 1 / math.sqrt(3)) < allowed


def as_drawn(one):
    """Tell whether A is still as it is drawn at the start, even in ±1/√in_features: one step would move its edge."""
    return one.dense and _is_uniform(one.A) and 0.85 <= _spread(one.A)[1] * math.sqrt(one.inputs) <= 1 + 1e-4


@fault(SYMPTOM, WORDS["non_finite"].cure, unless=("labels_all_masked",))
def non_finite(case):
    """A parameter, the loss or a gradient is nan or inf."""
    broken = [name for name, p in case.parameters.items() if p.is_floating_point() and not torch.isfinite(p).all()]
    if broken:
        return WORDS["non_finite"].what.format(what=f"there is nan or inf in {some(broken)}")
    after = [i for i, loss in enumerate(case.losses, 1) if not math.isfinite(loss)]
    stopped = getattr(case.history, "stopped", None) or ""
    if after or "not finite" in stopped:
        return f"the loss is not finite at step {after[0]}" if after else f"the run was stopped: {stopped}"
    if case.trial is None:
        return None
    told = causes(case.batch, case.loss_fn)
    where = "" if told == ADVICE else f". {told.rstrip('.')}"
    if not math.isfinite(case.trial.loss):
        return f"the batch's loss is {case.trial.loss}{where}"
    names = [name for name, p in case.trainable.items() if case.trial.gradients.get(id(p)) is not None
             and not torch.isfinite(case.trial.gradients[id(p)]).all()]  # fmt: skip
    if names:
        return f"the loss is {case.trial.loss:.4g}, and the gradient is nan or inf in {some(names)}{where}"


@fault(SYMPTOM, "nn.init.zeros_(layer.lora_B), or init_lora_weights=True in PEFT's LoraConfig.", unless=("non_finite",))
def b_not_zero_at_start(case):
    """The model is moved at random before the first step."""
    if case.started:
        return None
    at_start = [one for one in case.active if one.A.requires_grad and one.A.any() and one.B.any() and not one.given]
    # A run whose steps have brought B a tenth as far has also moved A over its edge.
    drawn = [one.place for one in at_start if as_drawn(one) and _spread(one.B)[1] > 0.1 / math.sqrt(one.inputs)]
    if drawn:
        return f"A is as it was drawn and B is not zero in {some(drawn)}, so the model starts moved at random"
    by_hand = [one for one in at_start if one.origin == "hand" and _looks_random(one.B)]
    if by_hand and case.trial is not None and case.trainable:
        without = case.loss_without(by_hand)
        if case.trial.before > 1.1 * without:
            return (
                f"B is not zero and looks drawn at random in {some(one.place for one in by_hand)}; the batch's loss is "
                f"{case.trial.before:.3g} with these adapters and {without:.3g} without"
            )


def _looks_random(B):
    """Tell whether all singular values of B are of one size, as those of random numbers are."""
    matrix = B.detach().double().flatten(1)
    low, high = sorted(matrix.shape)
    if low == high or low < 2 or not torch.isfinite(matrix).all():
        return False
    sizes = torch.linalg.svdvals(matrix)
    expected = (math.sqrt(high) - math.sqrt(low)) / (math.sqrt(high) + math.sqrt(low))
    return (sizes[-1] / sizes[0]).item() >= 0.6 * expected


@fault(SYMPTOM, "nn.init.uniform_(lora_A, -bound, bound) with bound = 1 / math.sqrt(in_features).",
       unless=("non_finite",))  # fmt: skip
def a_scale_off(case):
    """A was drawn too large: kaiming_uniform_ on an (in, r) tensor takes the rank for the number of inputs."""
    found = []
    for one in case.active:
        if not one.dense or one.given or one.B.any() or not one.A.any():
            continue  # only at the start: training makes of A what it likes
        deviation, largest = _spread(one.A)
        usual, times = 1 / math.sqrt(one.inputs), largest * math.sqrt(one.inputs)
        if _is_uniform(one.A):
            swapped = [b for b in (1 / math.sqrt(one.rank), math.sqrt(6 / one.rank)) if 0.93 * b <= largest <= b]
            if (swapped and times > 1.3) or times > 4 or times < 0.05:
                why = ": drawn with the rank in place of the inputs" if swapped else ""
                found.append(f"{one.place} (±{largest:.3g} where ±{usual:.3g} is usual{why})")
        elif deviation * math.sqrt(one.inputs) * max(abs(one.scale), 1) > 30 or deviation < 1e-3 * usual:
            found.append(f"{one.place} (deviation {deviation:.3g} where {usual / math.sqrt(3):.3g} is usual)")
    if found:
        return f"A is not of the usual size in {some(found)}"


@fault(
    SYMPTOM, "Build the optimiser with a tenth of it, or a tenth of that.", unless=("non_finite", "labels_all_masked")
)
def learning_rate_too_high(case):
    """One step makes the same batch worse, or the run's losses climb."""
    trial = case.trial
    if trial is not None and trial.after is not None:
        worse = trial.after > trial.before + 0.2 * abs(trial.before) + 0.01
        if worse or not math.isfinite(trial.after):
            rates = sorted({lr for lr, _ in case.rates().values()})
            rate = f"lr = {', '.join(f'{lr:g}' for lr in rates)}: " if rates else ""
            return f"{rate}one step takes this batch's loss from {trial.before:.3g} to {trial.after:.3g}"
    adam = {name: lr for name, (lr, group) in case.rates().items() if "betas" in group}
    wild = [name for name, lr in adam.items() if lr > 0.2]
    if wild:
        return f"lr = {max(adam.values()):g} for {some(wild)}: Adam's first step moves every number of B by that much"
    losses = case.losses
    if len(losses) >= 10:
        tail = sorted(losses[-len(losses) // 5 :])
        middle = tail[len(tail) // 2]
        if middle > 1.2 * losses[0] + 0.05:
            return f"the loss climbed from {losses[0]:.3g} at the first step to {middle:.3g} at the end"


@fault(SYMPTOM, "module.float(): keep what trains in float32; autocast casts it at use.")
def head_in_half_precision(case):
    """A module trained whole beside the adapters is float16 or bfloat16."""
    half = [f"{name} ({str(p.dtype).removeprefix('torch.')})" for name, p in case.trainable.items()
            if id(p) not in case.factors and "lora_" not in name and p.dtype in HALF]  # fmt: skip
    if half:
        return f"a small step is rounded away, or the loss overflows, in {some(half)}"
