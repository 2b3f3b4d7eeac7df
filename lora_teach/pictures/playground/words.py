"""What the playground says: what the next run would be, what became of a run, and the table of all runs."""

import html

from lora_teach.live.explore import paragraph
from lora_teach.pictures.playground.numbers import MATERIALS
from lora_teach.pictures.playground.panels import role_of
from lora_teach.plots import COLOURS

HEADS = (
    "run", "material", "what trains", "scaling", "learning rate", "steps", "seed", "trained", "last loss",
    "held out", "seconds",
)  # fmt: skip
CSS_LINES = {"lora": "solid", "full": "dashed", "best": "dashed", "other": "dotted", "third": "double"}
CELL = "padding: 1px 7px; text-align: left; white-space: nowrap"


def scaling_of(settings):
    """Tell how α becomes a factor, and which."""
    alpha = f"α = {settings.alpha:g}"
    if settings.scaling == "alpha":
        return f"{alpha}, constant"
    return f"{alpha}, {'α/r' if settings.scaling == 'alpha/r' else 'α/√r'} = {settings.factor:.3g}"


def next_run(settings):
    """Tell these settings in a line: what the next run would be."""
    title = MATERIALS[settings.material].title
    if settings.full:
        what = f"full fine-tuning on {title}"
    else:
        layers = "all layers" if settings.targets == "all" else settings.targets
        what = f"LoRA on {title} · {layers} · r = {settings.rank} · {scaling_of(settings)}"
    return f"Next: {what} · learning rate {settings.lr:g} · {settings.steps} steps · seed {settings.seed}"


def result(run):
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


def table(runs):
    """Return all runs as an HTML table, the newest bold; each has its line's colour as in the picture."""
    if not runs:
        return ""
    heads = "".join(f'<th style="{CELL}">{head}</th>' for head in HEADS)
    rows = "".join(_row(run, newest=run is runs[-1]) for run in runs)
    return f'<table style="border-collapse: collapse; font-size: 12px; line-height: 1.5">{heads}{rows}</table>'


def _row(run, newest):
    settings, role = run.settings, role_of(run.number, run.settings.full)
    line = f"border-left: 5px {CSS_LINES.get(role, 'solid')} {COLOURS[role]}"
    steps = f"{settings.steps}" if run.history.stopped is None else f"{len(run.history)} of {settings.steps}"
    cells = (
        str(run.number), run.material.label,
        "everything" if settings.full else f"LoRA r = {settings.rank}, {settings.targets}",
        "" if settings.full else scaling_of(settings), f"{settings.lr:g}", steps, str(settings.seed),
        f"{run.trainable:,}", f"{run.loss:.3f}",
        f"{run.material.tell(run.material.start)} → {run.material.tell(run.score)}", f"{run.seconds:.1f}",
    )  # fmt: skip
    first, *rest = (html.escape(cell) for cell in cells)
    weight = "; font-weight: bold" if newest else ""
    return f'<tr><td style="{CELL}; {line}{weight}">{first}</td>' + "".join(
        f'<td style="{CELL}{weight}">{cell}</td>' for cell in rest
    ) + "</tr>"  # fmt: skip


def left_out(bench):
    """Tell which layers the bench's plan leaves out and why, as HTML."""
    reasons = {layer: reason.partition(". ")[0].rstrip(".") for layer, reason in bench.planned.left_out.items()}
    return paragraph(" ".join(f"Left out: {layer}, since {reason}." for layer, reason in reasons.items()))
