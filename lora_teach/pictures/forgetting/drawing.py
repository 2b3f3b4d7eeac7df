"""Learning against forgetting: the loss on a new language against the loss on English, for several ways of training.

What is drawn lies in ``data/forgetting.json``; `lora_teach.pictures.forgetting.numbers` says what a path is, and
`lora_teach.pictures.forgetting.equal_learning` what stands at equal learning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_teach.plots.die import die_axis
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

ROLES = {
    "1": "fourth",
    "4": "lora",
    "16": "third",
    "64": "best",
}  # by rank; rsLoRA's marks are hollow, its lines dashed
WAYS = {"strength": "scaled", "training": "trained"}
NAMED = (0, 0.5, 1, 1.5)  # strengths that are written beside the path
SIDES = (6, 7, 8, 10, 12, 15, 20, 30, 40, 60, 80)


def look(name: str, marker: bool = False) -> dict:
    """Return how a contender is drawn: its line, or with ``marker`` its mark alone.

    Args:
        name: "full", or a name that ends in its rank, such as "rsLoRA r=16".
        marker: For single points.
    """
    role = "full" if name == "full" else ROLES.get(name.rpartition("=")[2], "other")
    if not marker:
        dashes = {"full": "--"}.get(role, (0, (3, 1.5)) if name.startswith("rs") else "-")
        return {"color": COLOURS[role], "linestyle": dashes}
    fill = "white" if name.startswith("rs") else COLOURS[role]
    return {
        "color": COLOURS[role], "marker": MARKERS[role] or "d", "markerfacecolor": fill, "linestyle": "",
        "markeredgewidth": 1.5,
    }  # fmt: skip


@dataclass
class Forgetting:
    """The picture and what changes in it."""

    picture: Picture
    axes: np.ndarray  # the paths' panel, then one for each of WAYS
    dots: dict  # contender -> Line2D: where it stands at the strength; "yours" too
    guess: object  # Line2D or None
    drawn: list  # what belongs to one language

    @styled
    def enter(
        self, language: str, paths: Mapping, strengths: Sequence[float], equal: Mapping, yours=None, guessed=True
    ):
        """Draw a language.

        Args:
            language: The new language.
            paths: ``{contender: (seeds, strengths, 2)}``, the losses on the new language and on English.
            strengths: Factors of the update.
            equal: ``{way: (level, {contender: (mean, lowest, highest)})}``: the loss on English at one loss on the new
                language.
            yours: A run of one's own, ``[(new language, English), …]`` over the strengths, or None.
            guessed: Whether the guess is about this language.
        """
        for artist in self.drawn:
            artist.remove()
        left, *others = self.axes
        self.drawn = _draw_paths(left, paths, strengths, yours)
        left.set(
            xlabel=f"loss on {language} (nats a letter)", title="The finished update, scaled: down and left is better"
        )
        for axes, way in zip(others, WAYS, strict=True):
            level, bands = equal[way]
            self.drawn += _draw_rows(axes, bands, list(self.dots))
            axes.set_title(f"English, {WAYS[way]} to {level:.2f}", fontsize=10)
        if self.guess is not None:
            self.guess.set_visible(guessed)
        self.picture.background_changed()

    def move(self, losses: Mapping) -> None:
        """Stand at a strength; ``losses`` is ``{contender or "yours": (new language, English)}``."""
        for name, dot in self.dots.items():
            dot.set_data([[value] for value in losses[name]] if name in losses else ([], []))


@styled
def draw(contenders: Sequence[str], guess: float | None = None) -> Forgetting:
    """Make the picture for these contenders; `Forgetting.enter` and `Forgetting.move` fill it.

    Args:
        contenders: Their names.
        guess: The learner's loss on English for the first contender, where all are scaled to have learned equally much.
    """
    made = figure(12, 4.8)
    left, middle, right = axes = panels(made, columns=3, width_ratios=[2.4, 1, 1])
    right.sharey(middle)
    left.set(xlabel="loss on the new language", ylabel="loss on English (nats a letter)", xlim=(2, 3), ylim=(2, 5))
    left.annotate("down and to the left is better", (0.02, 0.03), xycoords="axes fraction", size=9)
    left.yaxis.set_major_locator(MultipleLocator(0.5))  # labels of one width, whatever the language
    die_axis(left, SIDES, top=True)
    for one in (middle, right):
        one.set_yticks(range(len(contenders)), contenders)
        one.set(ylim=(len(contenders) - 0.5, -0.5), xlabel="loss on English", title="English")
        one.grid(axis="y", visible=False)
    right.tick_params(labelleft=False)
    dots = {name: left.plot([], [], **look(name, marker=True), markersize=9, zorder=4)[0] for name in contenders}
    (dots["yours"],) = left.plot([], [], "x", color=COLOURS["ink"], markersize=10, markeredgewidth=2, zorder=5)
    mark = diamond(middle, guess, 0)
    return Forgetting(Picture(made, [dots]), axes, dots, mark, [])


@styled
def draw_twin(languages: Mapping, guess: float | None = None) -> Figure:
    """Small multiples for a page whose slider doesn't move: a row a language, a column a contender.

    Args:
        languages: ``{language: (paths, strengths, training, equal)}``: paths and equal as for `Forgetting.enter`,
            ``training`` as ``{contender: [(looks, 2), …]}``, a path a seed.
        guess: The learner's, as for `draw`, about the first language.
    """
    columns = max(len(paths) for paths, *_ in languages.values())
    made = figure(12, 0.6 + 2.2 * len(languages))
    grid = panels(made, rows=len(languages), columns=columns, squeeze=False, sharex="row", sharey="row")
    for row, (language, (paths, strengths, training, equal)) in zip(grid, languages.items(), strict=True):
        level, bands = equal["strength"]
        for axes, name in zip(row, paths, strict=False):
            for other in paths:
                axes.plot(*np.mean(paths[other], axis=0).T, **line("ghost", marker="", linewidth=1))
            for seed in training[name]:
                axes.plot(*np.asarray(seed).T, color=look(name)["color"], linewidth=0.9, linestyle=":")
            axes.plot(*np.mean(paths[name], axis=0).T, **look(name), linewidth=1.8)
            ends = np.asarray(paths[name])[:, list(strengths).index(1)]  # (seeds, 2)
            axes.plot(*ends.T, **look(name, marker=True), markersize=5)
            if name in bands:
                axes.plot([level], [bands[name][0]], "+", color=COLOURS["ink"], markersize=9, markeredgewidth=1.5)
                axes.annotate(
                    f"{bands[name][0]:.2f}", (level, bands[name][0]), (7, 5), textcoords="offset points", size=9
                )
            axes.set_title(name)
        for axes in row[len(paths) :]:
            axes.set_visible(False)
        if language == next(iter(languages)):
            diamond(row[0], level, guess)
        row[0].set_ylabel(f"English, after {language}")
        row[(len(paths) - 1) // 2].set_xlabel(f"loss on {language} (nats a letter)")
    return made


def _draw_paths(axes, paths: Mapping, strengths: Sequence[float], yours) -> list:
    """Each contender's mean path, its point at ×1 with the seeds' band both ways; returns the artists."""
    drawn, at = [], list(strengths).index(1)
    for name, seeds in paths.items():
        seeds = np.asarray(seeds)  # (seeds, strengths, 2)
        x, y = seeds.mean(0).T
        drawn += axes.plot(x, y, **look(name), linewidth=1.3)
        ends, colour = seeds[:, at], look(name)["color"]
        drawn += axes.plot([ends[:, 0].min(), ends[:, 0].max()], [y[at]] * 2, color=colour, linewidth=1, alpha=0.8)
        drawn += axes.plot([x[at]] * 2, [ends[:, 1].min(), ends[:, 1].max()], color=colour, linewidth=1, alpha=0.8)
    every = np.concatenate([np.asarray(seeds).mean(0) for seeds in paths.values()])
    if yours is not None:
        x, y = np.asarray(yours).T
        drawn += axes.plot(x, y, color=COLOURS["ink"], linewidth=1, linestyle="-")
        every = np.concatenate([every, np.asarray(yours)])
    first = np.asarray(paths["full" if "full" in paths else next(iter(paths))]).mean(0)
    for strength, point in zip(strengths, first, strict=True):
        if strength in NAMED:
            offset = {"xytext": (14, -5), "va": "top"} if strength else {"xytext": (0, 8), "ha": "center"}
            drawn.append(axes.annotate(f"×{strength:g}", point, textcoords="offset points", size=9, **offset))
    low, high = every.min(0), every.max(0)
    room = 0.06 * (high - low)
    axes.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
    keys = [axes.plot([], [], **look(name) | {"linestyle": "", "label": name} | look(name, True))[0] for name in paths]
    if yours is not None:
        keys += axes.plot([], [], "x", color=COLOURS["ink"], label="your own run")
    return [*drawn, *keys, legend(axes, loc="upper right", handles=keys)]


def _draw_rows(axes, bands: Mapping, names: Sequence[str]) -> list:
    """English at equal learning: a row a contender, its mean as a mark with its number, its band as a bar."""
    drawn = []
    for row, name in enumerate(names):
        if name not in bands:
            continue
        middle, low, high = bands[name]
        drawn += axes.plot([low, high], [row, row], color=look(name)["color"], linewidth=2.5, solid_capstyle="butt")
        drawn += axes.plot([middle], [row], **look(name, marker=True), markersize=7)
        above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "size": 9}
        drawn.append(axes.annotate(f"{middle:.2f}", (middle, row), **above))
    if "full" in bands:
        drawn.append(axes.axvspan(*bands["full"][1:], color=COLOURS["full"], alpha=0.15, lw=0, zorder=0))
    low, high = min(one[1] for one in bands.values()), max(one[2] for one in bands.values())
    room = max(0.1 * (high - low), 0.05)
    axes.set_xlim(low - room, high + room)
    return drawn
