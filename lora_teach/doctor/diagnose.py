"""diagnose: why doesn't mine learn?"""

from lora_teach.doctor import (  # noqa: F401  each registers its faults
    blows_up,
    moves_and_does_not_learn,
    nothing_moves,
    worse_or_no_effect,
)
from lora_teach.doctor.case import Case
from lora_teach.doctor.report import FAULTS, NO_ADAPTER, SYMPTOMS, Diagnosis, Finding
from lora_teach.utils.validation import check_callable

from torch import nn


def diagnose(model, optimizer=None, batch=None, loss_fn=None, history=None):
    """Look for the usual faults of a LoRA training, or of an adapter in use, and leave everything as it was.

    With a batch it also runs one forward, one backward and one update on copies, in less time than three training
    steps. Parameters, gradients, buffers, the optimiser's state, random numbers, modes and hooks are afterwards as
    they were, to the last bit.

    Args:
        model: A LoRAModel, a PEFT model, or a module in which some modules have ``lora_A`` and ``lora_B``.
        optimizer: What trains it, if it is to train.
        batch: One batch as `train` takes it: ``(inputs, targets)``, or a mapping that is passed as keywords.
        loss_fn: As for `train`; None where the model's output has ``.loss``.
        history: The History of a run, or a list of its losses.

    Returns:
        A `Diagnosis`: ``.ok``, ``.findings``, and a report when it is printed.

    Raises:
        TypeError: ``model`` is no module, ``optimizer`` no optimiser, ``loss_fn`` no function, or the batch is of
            another kind.
        Exception: What the model or ``loss_fn`` itself raises on the batch.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}. Give the torch.nn.Module that holds the adapters.")
    if optimizer is not None and not hasattr(optimizer, "param_groups"):
        raise TypeError(f"optimizer={optimizer!r} is no optimiser. Give the one that trains the model, or None.")
    if loss_fn is not None:
        check_callable("loss_fn", loss_fn, "torch.nn.functional.mse_loss")
    case = Case(model, optimizer, batch, loss_fn, history)
    by_symptom = sorted(FAULTS.items(), key=lambda item: SYMPTOMS.index(item[1].symptom))
    evidence = {name: fault.find(case) for name, fault in by_symptom}
    found = {name for name, said in evidence.items() if said}
    findings = []
    for name in evidence:
        fault, said = FAULTS[name], evidence[name]
        if said and not found.intersection(fault.unless):
            findings.append(Finding(name, said, fault.cure, fault.notebook))
    return Diagnosis(tuple(findings), _looked_at(case))


def _looked_at(case):
    if not case.adapters:
        return NO_ADAPTER
    seen = [f"{len(case.active)} of {len(case.adapters)} adapted layers active"]
    seen.append(f"{len(case.trainable)} of {len(case.parameters)} parameters train")
    if case.trial is not None:
        step = "" if case.trial.after is None else f", {case.trial.before:.3f} → {case.trial.after:.3f} by a trial step"
        seen.append(f"loss {case.trial.loss:.3f}{step}")
    given = {"optimizer": case.optimizer, "batch": case.batch, "history": case.history}
    lacking = [name for name, value in given.items() if value is None]
    return f"Looked at: {'; '.join(seen)}." + (f" Not given: {', '.join(lacking)}." if lacking else "")
