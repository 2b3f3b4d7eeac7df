"""Freezing watched: the largest change of every parameter over some steps of training, exactly zero set apart."""

from lora_teach.plots.style import COLOURS, MARKERS, figure, panels, styled

import numpy as np

ROWS = (  # label, what the name of a parameter in this row contains, role; the first that fits counts
    ("lora_B", ".lora_B", "lora"),
    ("lora_A", ".lora_A", "other"),
    ("norms", "norm", "base"),
    ("MLP", ".mlp.", "base"),
    ("attention", ".attention.", "base"),
    ("embeddings, head", "", "base"),
)


def rows(changes):
    """Sort ``{parameter name: largest change}`` into the picture's rows: ``{label: [change, …]}``, lowest row first."""
    sorted_in = {label: [] for label, _, _ in ROWS}
    for name, change in changes.items():
        sorted_in[next(label for label, part, _ in ROWS if part in name)].append(change)
    return sorted_in


@styled
def draw_changes(runs):
    """One dot for each parameter tensor, one pair of axes for each run: left "exactly 0", right a logarithmic axis.

    Args:
        runs: ``{title: {parameter name: largest change}}``.

    Returns:
        A Figure.
    """
    made = figure(9.6, 3.4)
    grid = panels(made, columns=2 * len(runs), width_ratios=[1, 2.2] * len(runs), sharey=True)
    moved = [change for changes in runs.values() for change in changes.values() if change > 0]
    limits = min(1e-2, min(moved) / 2), max(1.0, 2 * max(moved))
    for (title, changes), zero, rest in zip(runs.items(), grid[::2], grid[1::2], strict=True):
        for row, values in enumerate(rows(changes).values()):
            role = ROWS[row][2]
            look = {"color": COLOURS[role], "marker": MARKERS[role], "linestyle": "", "markersize": 4.5, "alpha": 0.7}
            still, moving = [v for v in values if v == 0], [v for v in values if v > 0]
            zero.plot(_spread(len(still)), [row] * len(still), **look)
            rest.plot(moving, row + 0.6 * (_spread(len(moving)) - 0.5), **look)
        zero.set(xlim=(-0.15, 1.15), xticks=[0.5], xticklabels=["exactly 0"], facecolor="#F4F4F4", title=title)
        zero.set(yticks=range(len(ROWS)), yticklabels=[f"{label} ({len(v)})" for label, v in rows(changes).items()])
        rest.set(xscale="log", xlim=limits, xlabel="largest change in a tensor")
    return made


def _spread(count):
    """Places from 0 to 1 for ``count`` dots that would hide each other."""
    return np.linspace(0, 1, count) if count > 1 else np.full(count, 0.5)
