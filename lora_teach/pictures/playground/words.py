"""What the playground says: what is planned, what became of a run, and the table of all runs."""

import html
import traceback
from collections.abc import Sequence

from lora_teach.pictures.playground.material import MATERIALS
from lora_teach.pictures.playground.numbers import Plan, Run, Settings
from lora_teach.pictures.playground.panels import role_of
from lora_teach.plots import COLOURS

HEADS = (
    "run", "material", "what trains", "scaling", "learning rate", "steps", "seed", "trained", "last loss",
    "held out", "seconds",
)  # fmt: skip
CSS_LINES = {"lora": "solid", "full": "dashed", "best": "dashed", "other": "dotted", "third": "double"}


def scaling_of(settings: Settings) -> str:
    """Tell how α becomes a factor, and which."""
    alpha = f"α = {settings.alpha:g}"
    if settings.scaling == "alpha":
        return f"{alpha}, constant"
    return f"{alpha}, {'α/r' if settings.scaling == 'alpha/r' else 'α/√r'} = {settings.factor:.3g}"


def what_trains(settings: Settings) -> str:
    """Tell the method, in short."""
    return "everything" if settings.full else f"LoRA r = {settings.rank}, {settings.targets}"


def next_run(settings: Settings) -> str:
    """Tell these settings in a line: what the next run would be."""
    title = MATERIALS[settings.material].title
    if settings.full:
        what = f"full fine-tuning on {title}"
    else:
        layers = "all layers" if settings.targets == "all" else settings.targets
        what = f"LoRA on {title} · {layers} · r = {settings.rank} · {scaling_of(settings)}"
    return f"Next: {what} · learning rate {settings.lr:g} · {settings.steps} steps · seed {settings.seed}"


def sentence(runs: Sequence[Run], settings: Settings, planned: Plan | None) -> str:
    """Tell what there is, and nothing that depends on the machine: it is compared where notebooks are tested."""
    if not runs:
        counted = f" {planned.trainable:,} of {planned.total:,} numbers would train." if planned else ""
        return f"No run yet. {next_run(settings)}.{counted}"
    newest = runs[-1]
    how = "full fine-tuning" if newest.settings.full else f"LoRA of rank {newest.settings.rank}"
    return (
        f"{len(runs)} run{'s' if len(runs) > 1 else ''}. The newest, run {newest.number}: {how} on "
        f"{newest.material.title}, {newest.trainable:,} of {newest.total:,} numbers trained"
        + (f", {newest.history.stopped}." if newest.history.stopped else f", {newest.settings.steps} steps.")
    )


def result(run: Run) -> str:
    """Tell what became of a run."""
    material = run.material
    told = (
        f"Run {run.number}: {material.tell(material.start)} → {material.tell(run.score)} {material.held_out}, none of "
        f"which it was trained on. {run.trainable:,} of {run.total:,} numbers trained, in {run.seconds:.1f} s."
    )
    if run.history.stopped is None:
        return told
    if run.history.stopped.startswith("not finite"):
        return (
            f"Run {run.number} ended early: the loss was {run.history.stopped}. The learning rate or α is probably too "
            f"large. The model is as it was at the last finite step: {material.tell(run.score)} {material.held_out}."
        )
    return f"{told} It was {run.history.stopped}."


def table(runs: Sequence[Run]) -> str:
    """Return all runs as an HTML table, the newest bold; each has its line's colour as in the picture."""
    if not runs:
        return ""
    heads = "".join(f'<th style="{_CELL}">{head}</th>' for head in HEADS)
    rows = "".join(_row(run, newest=run is runs[-1]) for run in runs)
    return f'<table style="border-collapse: collapse; font-size: 12px; line-height: 1.5">{heads}{rows}</table>'


_CELL = "padding: 1px 7px; text-align: left; white-space: nowrap"


def _row(run: Run, newest: bool) -> str:
    settings, role = run.settings, role_of(run.number, run.settings.full)
    line = f"border-left: 5px {CSS_LINES.get(role, 'solid')} {COLOURS[role]}"
    steps = f"{settings.steps}" if run.history.stopped is None else f"{len(run.history)} of {settings.steps}"
    cells = (
        str(run.number), run.material.label, what_trains(settings), "" if settings.full else scaling_of(settings),
        f"{settings.lr:g}", steps, str(settings.seed), f"{run.trainable:,}", f"{run.loss:.3f}",
        f"{run.material.tell(run.material.start)} → {run.material.tell(run.score)}", f"{run.seconds:.1f}",
    )  # fmt: skip
    first, *rest = (html.escape(cell) for cell in cells)
    weight = "; font-weight: bold" if newest else ""
    return f'<tr><td style="{_CELL}; {line}{weight}">{first}</td>' + "".join(
        f'<td style="{_CELL}{weight}">{cell}</td>' for cell in rest
    ) + "</tr>"  # fmt: skip


def left_out(planned: Plan) -> str:
    """Tell which layers are left out and why, as HTML."""
    reasons = {layer: reason.partition(". ")[0].rstrip(".") for layer, reason in planned.left_out.items()}
    return paragraph(" ".join(f"Left out: {layer}, since {reason}." for layer, reason in reasons.items()))


def paragraph(text: str) -> str:
    """Return plain text as HTML; an empty one keeps its place, so that the page doesn't hop."""
    return _paragraph(html.escape(text))


def refusal(problem: Exception) -> str:
    """Tell why the settings can't be trained, as HTML."""
    return _paragraph(f"<b>This can't be trained:</b> {html.escape(str(problem))}", "full")


def failure(error: Exception) -> str:
    """The exception that ended a run as a learner reads it, as HTML; the traceback folded away."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _paragraph(
        f"<b>This run failed</b> and is not kept; the other runs are untouched.<br>{type(error).__name__}: "
        f"{html.escape(str(error))}<details><summary>Where it happened</summary>"
        f'<pre style="font-size: 11px">{html.escape(trace)}</pre></details>',
        "full",
    )


def _paragraph(inner: str, role: str | None = None) -> str:
    edge = f"; border-left: 3px solid {COLOURS[role]}; padding-left: 8px" if role else ""
    return f'<div style="line-height: 1.4; font-size: 14px; min-height: 1.4em{edge}">{inner}</div>'
