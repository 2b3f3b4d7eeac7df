"""Intruders turned down: what the new language loses, and English gets back, beside turning down the whole update.

`lora_teach.measure.intruders` says what an intruder is; the paths of whole runs lie in ``data/learned.json``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, make_room, panels, styled

METERS = ("learned", "forgotten")
LOOKS = {"intruders": ("other", "its intruders × factor"), "update": ("lora", "the whole update × factor")}

SHORT = {"intruders": "intruders ×", "update": "all of ΔW ×"}  # where there is little room


@dataclass
class Intruders:
    """The picture and what moves in it."""

    picture: Picture
    bars: dict  # meter -> Rectangle
    numbers: dict  # meter -> Text
    path: object  # Line2D: the intruders' path
    dots: dict  # "intruders", "update" -> Line2D in the plane
    most: dict  # meter -> nats, as it was trained

    def show(self, meters: Mapping, path: Sequence, dots: Mapping) -> None:
        """Show ``{meter: nats}``, the intruders' path ``[(new language, English), …]`` and where both stand on it."""
        for name, nats in meters.items():
            self.bars[name].set_width(nats)
            self.numbers[name].set_text(f"{nats:.2f}")
            self.numbers[name].set_x(max(nats, self.most[name]) + 0.05)  # beside the frame
        self.path.set_data(*np.transpose(path))
        for name, (new, old) in dots.items():
            self.dots[name].set_data([new], [old])


@styled
def draw(base: Sequence, tuned: Sequence, dial: Sequence, language: str, guess: float | None = None) -> Intruders:
    """Make the picture.

    Args:
        base: The base's ``(loss on the new language, loss on English)``, in nats a letter.
        tuned: The tuned model's.
        dial: The path of the whole update turned down, ``[(new language, English), …]``.
        language: The new language.
        guess: The learner's loss on English where the intruders are taken out at ×0.75.
    """
    fig = figure(9.4, 3.9)
    left, right = panels(fig, columns=2, width_ratios=[1, 1.25])
    most = {"learned": base[0] - tuned[0], "forgotten": tuned[1] - base[1]}
    left.barh([1, 0], list(most.values()), height=0.5, color="none", edgecolor=COLOURS["ghost"], linewidth=1.4)
    filled = left.barh([1, 0], list(most.values()), height=0.5, color=[COLOURS["best"], COLOURS["full"]])
    filled[1].set_hatch("//")
    numbers = {name: left.text(0, y, "", va="center", size=11) for name, y in zip(METERS, (1, 0), strict=True)}
    left.set_yticks([1, 0], [f"learned:\n{language}", "forgotten:\nEnglish"])
    left.set(xlabel="nats a letter, against the base", xlim=(-0.3, max(most.values()) * 1.35), ylim=(-0.6, 1.6))
    left.set_title("Grey frames: as it was trained")
    left.axvline(0, color=COLOURS["base"], linewidth=1)
    role, label = LOOKS["update"]
    right.plot(*np.transpose(dial), **line(role, marker="", label=label))
    role, label = LOOKS["intruders"]
    (path,) = right.plot([], [], **line(role, marker="", label=label))
    dots = {name: right.plot([], [], **line(role, linestyle="", markersize=9))[0] for name, (role, _) in LOOKS.items()}
    for text, (x, y) in (("base", base), ("as trained", tuned)):
        right.plot([x], [y], "s", color=COLOURS["base"], markersize=5)
        right.annotate(text, (x, y), (8, 0), textcoords="offset points", size=9)
    right.set(xlabel=f"loss on {language} (nats a letter)", ylabel="loss on English (nats a letter)")
    right.set_xlim(tuned[0] - 0.15, max(base[0], tuned[0] + 1) + 0.9)
    right.set_ylim(base[1] - 0.2, tuned[1] + 0.3)
    right.set_title("Down and to the left is better")
    if diamond(right, tuned[0] + 0.03, guess):
        make_room(right, [guess])
    legend(right, loc="upper right")
    bars = dict(zip(METERS, filled, strict=True))
    return Intruders(Picture(fig, [bars, numbers, path, dots]), bars, numbers, path, dots, most)


@styled
def multiples(contenders: Mapping, counts: Mapping, base: Sequence, language: str):
    """Small multiples for a saved notebook, a panel for each contender; return the Figure.

    Args:
        contenders: ``{contender: {"intruders": (seeds, factors, 2), "update": (seeds, factors, 2)}}``.
        counts: ``{contender: mean number of intruders}``.
        base: The base's ``(loss on the new language, loss on English)``.
        language: The new language.
    """
    fig = figure(9.8, 3.4)
    grid = panels(fig, columns=len(contenders), sharex=True, sharey=True)
    for axes, (name, both) in zip(grid, contenders.items(), strict=True):
        for way, (role, _) in LOOKS.items():
            paths = np.asarray(both[way])  # (seeds, factors, 2)
            for path in paths:
                axes.plot(*path.T, **line(role, marker="", linewidth=0.8, alpha=0.4))
            axes.plot(*paths.mean(0).T, **line(role, markersize=4, label=SHORT[way]))
        axes.plot(*base, "s", color=COLOURS["base"], markersize=5)
        axes.set_title(f"{name}\n{counts[name]:.0f} intruders", size=10)
    low, high = np.asarray(next(iter(contenders.values()))["update"]).mean(0)[[-1, 0]].T
    grid[0].set(xlim=(low[0] - 0.1, low[1] + 1.0), ylim=(base[1] - 0.25, high.max() + 0.6))
    grid[0].set_ylabel("loss on English (nats a letter)")
    fig.supxlabel(f"loss on {language} (nats a letter); down and to the left is better; grey square: the base", size=10)
    legend(grid[-1], loc="upper right", fontsize=8)
    return fig
