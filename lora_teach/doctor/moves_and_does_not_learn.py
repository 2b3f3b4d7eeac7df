"""It moves and does not learn: the loss falls slowly, to the wrong place, or the model learns another task."""

import statistics

from lora_teach.doctor.report import SYMPTOMS, fault, some
from lora_teach.loop.words import WORDS

import torch

SYMPTOM, OTHER = SYMPTOMS[1:3]
IGNORED = -100
HALF = (torch.float16, torch.bfloat16)


@fault(SYMPTOM, "Build the optimiser with ten times as much: lr=1e-4 to 1e-3 for a large model, more for a tiny one.")
def learning_rate_like_full_finetuning(case):
    """Adam's rate is one for all weights of a large model; few numbers need larger steps."""
    rates = {name: lr for name, (lr, group) in case.rates().items() if "betas" in group and "Adam" in _kind(case)}
    if rates and max(rates.values()) <= 5e-5:
        return f"lr = {max(rates.values()):g} for the factors ({some(rates)}), where LoRA is trained with 1e-4 to 1e-2"
    logged = list(getattr(case.history, "lr", []))
    if case.optimizer is None and logged and max(logged) <= 5e-5:
        return f"lr was {max(logged):g} at most over {len(logged)} steps, where LoRA is trained with 1e-4 to 1e-2"


def _kind(case):
    return type(case.optimizer).__name__


@fault(SYMPTOM, "layer.set_alpha(rank) there, or one alpha for all: alpha_pattern={}.", unless=("non_finite",))
def scale_outlier(case):
    """One layer's update is multiplied by much more, or much less, than the others'."""
    found = []
    for adapter in {one.adapter: None for one in case.active}:
        layers = [one for one in case.active if one.adapter == adapter and one.scale != 0]
        sizes = [abs(one.scale) for one in layers]
        for one, size in zip(layers, sizes, strict=True):
            others = [other for other, where in zip(sizes, layers, strict=True) if where is not one]
            usual = statistics.median(others) if len(others) > 1 else 1.0
            if size > 32 or (others and not 0.1 < size / usual < 10):
                found.append(f"{one.place} (×{one.scale:g} where ×{usual:g} is usual)")
    if found:
        return f"the scale before A·B stands out in {some(found)}"


def _labels(case):
    """Return the batch's own targets if they are token or class numbers, else None."""
    if isinstance(case.batch, dict) or hasattr(case.batch, "keys"):
        labels = case.batch.get("labels")
    else:
        labels = case.batch[1] if isinstance(case.batch, tuple | list) and len(case.batch) == 2 else None
    whole = isinstance(labels, torch.Tensor) and not labels.is_floating_point() and labels.dim() > 0
    return labels if whole else None


@fault(SYMPTOM, WORDS["labels_all_masked"].cure)
def labels_all_masked(case):
    """Nothing counts: each target is -100, so the loss is 0/0."""
    labels = None if case.batch is None else _labels(case)
    if labels is None:
        return None
    if (labels == IGNORED).all():
        return WORDS["labels_all_masked"].what.format(ignored=IGNORED)
    if labels.dim() == 2 and labels.shape[1] > 1:
        empty = (labels == IGNORED).all(dim=1).nonzero().flatten().tolist()
        if empty:
            return f"all labels are {IGNORED} in {len(empty)} of {len(labels)} examples: {some(map(str, empty))}"


@fault(OTHER, "transformers' models shift by themselves: labels = input_ids. By hand: targets = tokens[:, 1:].",
       unless=("labels_all_masked",))  # fmt: skip
def labels_shifted(case):
    """The loss asks at a position for another token than the next one."""
    trial = case.trial
    if trial is None or trial.wanted is None or not _is_causal(case):
        return None
    share = {}
    for step, asked in ((0, "the same token again"), (1, "the next"), (2, "the one after the next")):
        ends = trial.tokens.shape[1] - step
        counted = trial.counted[:, :ends]
        if counted.sum() < 4 or trial.tokens[:, step:][counted].unique().numel() < 3:
            return None
        agree = (trial.wanted[:, :ends] == trial.tokens[:, step:])[counted]
        share[asked] = agree.double().mean().item()
    same, following, later = share.values()
    wrong = "the same token again" if same > 0.9 > following else "the one after the next" if later > 0.9 else None
    if wrong and following < 0.6 and (wrong != "the same token again" or _cannot_look_ahead(case)):
        return f"at {share[wrong]:.0%} of the positions the loss asks for {wrong}, at {following:.0%} for the next"


def _is_causal(case):
    config = getattr(case.model, "config", None)
    if config is None or isinstance(config, dict):
        return True
    encoder = getattr(config, "is_encoder_decoder", False)
    names = " ".join(getattr(config, "architectures", None) or []) + type(_innermost(case.model)).__name__
    return not encoder and "MaskedLM" not in names and "Classification" not in names


def _innermost(model):
    while True:
        inner = getattr(model, "base_model", None)
        inner = getattr(inner, "model", inner) if type(model).__name__.startswith("Peft") else inner
        if inner is None or inner is model or not type(model).__name__.startswith(("Peft", "LoRA")):
            return model
        model = inner


def _cannot_look_ahead(case):
    """Tell whether the loss on the first position is untouched by the last token: then copying is no task."""
    tokens = case.trial.tokens
    last = tokens.clone()
    last[:, -1] = torch.where(tokens[:, -1] == tokens[:, 0], tokens[:, 1], tokens[:, 0])
    return not case.output_differs(tokens, last)


def _marks(case, name):
    """Return the token numbers that begin or end a text (``name`` is config's for them), as far as the model tells."""
    marks = set()
    for holder in (getattr(case.model, "config", None), getattr(case.model, "generation_config", None), case.model):
        mark = getattr(holder, name, None)
        marks |= set(mark) if isinstance(mark, list | tuple) else set() if mark is None else {int(mark)}
    return marks


def _asked(case):
    """Return ``(tokens that the loss asks for, whether it does)``, ``(batch, seq)`` each, or None."""
    trial = case.trial
    if trial is None or trial.wanted is None or not _is_causal(case) or not trial.counted.any():
        return None
    return trial.wanted, trial.counted


@fault(OTHER, "labels[: len(prompt)] = -100: the loss then counts the answer alone.", unless=("labels_shifted",))
def prompt_not_masked(case):
    """The loss counts the words around the answer too, which are the same in every example."""
    asked = _asked(case)
    if asked is None or len(asked[0]) < 2:
        return None
    tokens, counted = case.trial.tokens, asked[1]
    if (tokens == tokens[:1]).all():
        return None
    alike = (tokens == tokens[:1]).all(dim=0).long().cumprod(0)  # (seq,): 1 up to where the examples part
    same = int(alike.sum())
    if same >= 4 and counted[:, : same - 1].all():
        return (
            f"the loss counts the first {same} tokens of the examples, which are the same in all {len(tokens)}: they "
            "belong to the prompt"
        )


@fault(OTHER, "answer_ids + [tokenizer.eos_token_id], and cut the prompt, not the answer, where it gets too long.",
       unless=("labels_shifted", "labels_all_masked", "prompt_not_masked"))  # fmt: skip
def targets_without_end(case):
    """No target is an end mark, so the model never learns to stop."""
    asked, marks = _asked(case), _marks(case, "eos_token_id")
    if asked is None or not marks:
        return None
    wanted, counted = asked
    lengths = counted.sum(dim=1)
    # Answers after a prompt, texts of their own lengths, or rows that all begin with a mark: each should also end.
    begins = case.trial.tokens[:, 0].unique()
    marked = len(wanted) > 1 and len(begins) == 1 and int(begins) in marks | _marks(case, "bos_token_id")
    parted = marked or (~counted[:, 0]).any() or lengths.unique().numel() > 1
    ends = torch.zeros_like(counted)
    for mark in marks:
        ends |= counted & (wanted == mark)
    endless = (~ends.any(dim=1) & (lengths > 0)).nonzero().flatten().tolist()
    if parted and 2 * len(endless) > len(wanted):
        return (
            f"{len(endless)} of {len(wanted)} examples have no end mark ({some(map(str, sorted(marks)))}) among their "
            f"targets: {some(map(str, endless))}"
        )


@fault(SYMPTOM, "F.dropout(x, p, self.training), and model.eval() before the model is used.")
def dropout_in_eval(case):
    """The adapter drops inputs while the model is evaluated."""
    noisy = [] if case.trial is None else list(dict.fromkeys(case.trial.noisy))
    if noisy:
        return f"random numbers are drawn in evaluation mode in {some(noisy)}"
    if case.model.training:
        return None
    left_in_training = [one.place for one in case.active if one.origin != "ours" and any(
        isinstance(m, torch.nn.Dropout) and m.training and m.p > 0 for m in one.host.modules())]  # fmt: skip
    if case.overlay is not None:  # our layers follow the module that they stand beside
        left_in_training += [one.place for one in case.active if one.origin == "ours" and one.base is not None
                  and one.base.training and getattr(one.host, "dropout", 0) > 0]  # fmt: skip
    if left_in_training:
        return f"the model is in evaluation mode, and dropout is in training mode in {some(left_in_training)}"


@fault(SYMPTOM, "layer.float(): keep A and B in float32 over a half-precision base; autocast casts them at use.")
def low_precision_trainables(case):
    """A factor that trains is float16 or bfloat16: small steps are rounded away."""
    half = [f"{name} ({str(p.dtype).removeprefix('torch.')})" for name, p in case.trainable.items()
            if id(p) in case.factors and p.dtype in HALF]  # fmt: skip
    if half:
        return f"steps smaller than 1/256 (bfloat16) or 1/2048 (float16) of a number are lost in {some(half)}"
