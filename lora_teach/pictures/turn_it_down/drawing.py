"""Turn it down: what the new language loses, and English gets back, when a finished update is scaled.

What is drawn lies in ``data/turn_it_down.json``; `lora_teach.measure.strength` says what a path is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_teach.plots.die import die_axis
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, make_room, panels, styled

import numpy as np

NAMED = (0, 0.25, 0.5, 0.75, 1, 1.5)  # strengths that are written beside the path
ROLES = ("lora", "full")


@dataclass
class TurnItDown:
    """The picture and what moves in it."""

    picture: Picture
    here: object  # Line2D: the strength, in the left panel
    dots: dict  # contender -> (new language by strength, English by strength, the path): Line2D each

    def move(self, strength: float, losses: Mapping) -> None:
        """Stand at a strength; ``losses`` is ``{contender: (new language, English)}``."""
        self.here.set_xdata([strength, strength])
        for name, (new, old) in losses.items():
            for dot, x, y in zip(self.dots[name], (strength, strength, new), (new, old, old), strict=True):
                dot.set_data([x], [y])


@styled
def draw(
    paths: Mapping, strengths: Sequence[float], language: str, guess: float | None = None, yours: Mapping | None = None
) -> TurnItDown:
    """Make the picture.

    Args:
        paths: ``{contender: (seeds, strengths, 2)}``, the losses on the new language and on English.
        strengths: Factors of the update.
        language: The new language.
        guess: The learner's loss on English at strength 0.75.
        yours: A run of one's own, ``{strength: (new language, English)}``, drawn as crosses.
    """
    fig = figure(9.2, 3.9)
    left, right = panels(fig, columns=2, width_ratios=[1, 1.05], sharey=True)
    dots = {}
    for role, (name, seeds) in zip(ROLES, paths.items(), strict=True):
        path = np.asarray(seeds).mean(0)  # (strengths, 2)
        left.plot(strengths, path[:, 0], **line(role, marker="", label=name))
        left.plot(strengths, path[:, 1], **line(role, marker=""))
        for seed in np.asarray(seeds):
            right.plot(seed[:, 0], seed[:, 1], **line(role, marker="", linewidth=0.8, alpha=0.4))
        right.plot(path[:, 0], path[:, 1], **line(role, marker="", label=name))
        look = {"linestyle": "", "marker": MARKERS[role], "color": COLOURS[role], "markersize": 9}
        dots[name] = left.plot([], [], **look)[0], left.plot([], [], **look)[0], right.plot([], [], **look)[0]
    first = np.asarray(next(iter(paths.values()))).mean(0)  # (strengths, 2)
    for strength, (new, old) in zip(strengths, first, strict=True):
        if strength in NAMED:
            right.plot([new], [old], "o", color=COLOURS["lora"], markersize=4)
            above = {"xytext": (0, 8), "ha": "center"} if strength == 0 else {"xytext": (8, -2), "va": "top"}
            right.annotate(f"×{strength:g}", (new, old), textcoords="offset points", size=9, **above)
    highest = np.max([np.asarray(seeds).mean(0) for seeds in paths.values()], axis=0)  # (strengths, 2)
    for place, text, at, side in ((0, language, 1.1, "center"), (1, "English", 0.68, "right")):
        height = float(np.interp(at, strengths, highest[:, place]))
        left.annotate(text, (at, height), (0, 9), textcoords="offset points", size=10, ha=side, weight="bold")
    if yours:
        look = {"color": COLOURS["ink"], "markersize": 8, "markeredgewidth": 1.6, "linestyle": ""}
        for place in (0, 1):
            left.plot(list(yours), [pair[place] for pair in yours.values()], "x", **look)
        right.plot(*zip(*yours.values(), strict=True), "x", label="your own run", **look)
    left.set_ylim(highest.min() - 0.3, highest.max() + 0.3)
    if diamond(left, 0.75, guess):
        make_room(left, [guess])
    (here,) = left.plot([1, 1], [0, 1], color=COLOURS["ink"], linewidth=1, transform=left.get_xaxis_transform())
    left.set(xlabel="strength (× the trained update)", ylabel="loss on test names (nats a letter)", title="Both losses")
    left.set_xticks(np.arange(0, strengths[-1] + 0.1, 0.25))
    right.set(xlabel=f"loss on {language} (nats a letter)", ylabel="loss on English (nats a letter)")
    right.set_title("The same as a path: down and to the left is better")
    right.tick_params(labelleft=True)
    die_axis(right)
    legend(right, loc="upper right")
    return TurnItDown(Picture(fig, [here, list(dots.values())]), here, dots)
