"""The first step: how far it lowers the loss, by rank, for three scaling rules and two optimisers.

What is drawn comes from `lora_teach.pictures.first_step.numbers`.
"""

from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, log2_axis, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

RULES = {  # rule -> role, what it is called
    "alpha": ("third", "α, a constant"),
    "alpha/sqrt(r)": ("other", "α/√r"),
    "alpha/r": ("lora", "α/r"),
}
POWERS = {  # what the first order says: drop ∝ rank^power
    "Adam": {"alpha": 1, "alpha/sqrt(r)": 0.5, "alpha/r": 0},
    "gradient descent": {"alpha": 1, "alpha/sqrt(r)": 0, "alpha/r": -1},
}
SAID = {1: "∝ r", 0.5: "∝ √r", 0: "level", -1: "∝ 1/r"}


def said(lines):
    """Return how many times the first rank's drop the last rank's is, rule by rule, in words.

    >>> said({"alpha/r": [2.0, 2.0], "alpha/sqrt(r)": [2.0, 6.0], "alpha": [2.0, 18.0]})
    '×1 with α/r, ×3 with α/√r, ×9 with a constant'
    """
    times = {rule: f"×{lines[rule][-1] / lines[rule][0]:.2g}" for rule in RULES}
    return f"{times['alpha/r']} with α/r, {times['alpha/sqrt(r)']} with α/√r, {times['alpha']} with a constant"


@styled
def draw_first_steps(drops, ranks, guess=None):
    """Make the picture: one panel an optimiser, both axes logarithmic, so that a power of the rank is a straight line.

    Args:
        drops: ``{optimiser: {rule: [nats a digit, one a rank]}}``; the optimisers are those of `POWERS`.
        ranks: The ranks.
        guess: The learner's guess for Adam and α/√r: how many times the first rank's drop the last rank's is.
    """
    guess = check_guess(guess, 2**-10, 2**20, "a factor")
    fig = figure(9.2, 3.9)
    axes = panels(fig, columns=len(drops), squeeze=False)[0]
    for ax, (optimizer, lines) in zip(axes, drops.items(), strict=True):
        for rule, (role, label) in RULES.items():
            _reference(ax, ranks, lines[rule], POWERS[optimizer][rule])
            ax.plot(ranks, lines[rule], **line(role, linestyle="", label=label))
        log2_axis(ax, ranks)
        ax.set_yscale("log")
        ax.set_xlim(ranks[0] * 0.8, ranks[-1] * 2.7)
        ax.set(xlabel="rank r", title=f"One step of {optimizer}")
    axes[0].set_ylabel("loss before − loss after (nats a digit)")
    if guess is not None:
        first = drops["Adam"]["alpha/sqrt(r)"][0]
        diamond(axes[0], ranks[-1], guess * first, "your guess for α/√r")
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(min(low, guess * first / 2), max(high, guess * first * 2))
    legend(axes[0], loc="upper left")
    return fig


def _reference(axes, ranks, drops, power):
    """Draw the straight line of this slope through the middle of the points, and say at its end what it means."""
    x, y = np.log(np.asarray(ranks, float)), np.log(np.asarray(drops, float))
    through = np.exp(y.mean() + power * (x - x.mean()))
    axes.plot(ranks, through, color=COLOURS["ghost"], linewidth=2, zorder=0)
    end = (ranks[-1], float(through[-1]))
    look = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "size": 9, "color": COLOURS["ink"]}
    axes.annotate(SAID[power], end, **look)
