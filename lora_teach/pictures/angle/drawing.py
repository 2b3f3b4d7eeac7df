"""Angle: changed digits as the network gets them and reads them, the loss of a retraining, and what it came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lora_teach.plots.loss_curve import smoothed
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled

CHANCE = log(10)  # nats: guessing among ten digits
WINDOW = 10  # steps: a curve is the mean of so many around each
READERS = {"truth": "ink", "base": "base", "LoRA": "lora", "full": "full"}  # of the digits, each in its role
GHOSTS = 6  # earlier moves that stay
SIDE, PITCH = 8, 9  # pixels of a digit, and from one to the next


@dataclass
class Angle:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    tiles: object  # AxesImage: the sample digits side by side
    read: dict  # reader -> [Text]: what each digit is, or is taken for
    curves: dict  # role -> Line2D: loss by step
    ghosts: list  # Line2D: the losses of earlier moves
    dots: dict  # "lora", "ghost" -> Line2D: accuracy by rank
    levels: dict  # "base", "full" -> Line2D: accuracy, at every rank
    guess: object  # Line2D or None

    def update(self, tiles, readings, losses, accuracies, rank: int, earlier: Sequence, guessed: bool) -> None:
        """Show one move.

        Args:
            tiles: The sample digits as the network gets them, ``(digits, 8, 8)``, 0 for white to 1 for black.
            readings: ``{one of READERS: a digit for each tile}``.
            losses: ``{"lora" or "full": loss at each step}``.
            accuracies: ``{"base", "lora" or "full": share of test digits}``.
            rank: The rank that was trained.
            earlier: ``(rank, losses, accuracy)`` of earlier moves.
            guessed: Whether the guess was about this move.
        """
        self.tiles.set_data(strip(tiles, down=True))
        for who, texts in self.read.items():
            for text, digit, truth in zip(texts, readings[who], readings["truth"], strict=True):
                _write(text, digit, truth, who)
        for role, curve in self.curves.items():
            _draw_loss(curve, losses[role])
        for number, curve in enumerate(self.ghosts):
            _draw_loss(curve, earlier[number][1] if number < len(earlier) else [])
        self.dots["lora"].set_data([rank], [100 * accuracies["lora"]])
        self.dots["ghost"].set_data([past[0] for past in earlier], [100 * past[2] for past in earlier])
        for role, level in self.levels.items():
            level.set_ydata([100 * accuracies[role]] * 2)
        if self.guess is not None:
            self.guess.set_visible(guessed)


@styled
def draw(digits: int, ranks: Sequence[int], steps: int, guess: float | None = None, about: str = "") -> Angle:
    """Three panels: sample digits and how they are read, loss by step, and accuracy by rank.

    Args:
        digits: How many sample digits.
        ranks: Those of the slider.
        steps: Length of a run.
        guess: The learner's accuracy for rank 1, in %; None draws nothing.
        about: What else the guess is about.
    """
    made = figure(12, 4.2)
    left, middle, right = panels(made, columns=3, width_ratios=[0.8, 1.4, 1.2])
    tiles, read = _digits_panel(left, digits)
    ghosts = [middle.plot([], [], color=COLOURS["ghost"], linewidth=1)[0] for _ in range(GHOSTS)]
    curves = {role: middle.plot([], [], **line(role, marker=""))[0] for role in ("full", "lora")}
    _loss_axes(middle, steps)
    middle.set_title(f"Loss (mean of {WINDOW} steps around each)")
    level = {role: line(role, marker="") | {"transform": right.get_yaxis_transform()} for role in ("full", "base")}
    levels = {role: right.plot([0, 1], [0, 0], **look)[0] for role, look in level.items()}
    dots = {
        "ghost": right.plot([], [], "o", color=COLOURS["ghost"])[0],
        "lora": right.plot([], [], "o", color=COLOURS["lora"], markersize=10)[0],
    }
    _rank_axes(right, ranks)
    mark = diamond(right, ranks[0], guess, f"your guess, rank {ranks[0]}{about}")
    keys = [
        Line2D([], [], **line("lora", label="LoRA now")),
        Line2D([], [], **line("full", marker="", label="full fine-tuning")),
        Line2D([], [], **line("ghost", marker="o", label="earlier moves")),
        Line2D([], [], **line("base", marker="", label="before")),
    ] + ([mark] if mark else [])
    made.legend(handles=keys, loc="outside lower right", ncols=5, frameon=False, fontsize=9)
    moving = [tiles, read, curves, ghosts, dots, levels, [mark] if mark else []]
    return Angle(Picture(made, moving), tiles, read, curves, ghosts, dots, levels, mark)


@styled
def draw_tasks(tasks: Mapping, ranks: Sequence[int], guess: float | None = None, block: int = 1):
    """Small multiples for a page whose sliders don't move: a column for each task; returns the figure.

    Args:
        tasks: ``{title: (tiles, base, losses, accuracies)}``: the digits, ``(digits, 8, 8)``; the base's accuracy; by
            contender (a rank, or None for full fine-tuning) the loss over its longest run, and the share of test
            digits that are read after each of its runs, the longest last.
        ranks: Those trained, three.
        guess: The learner's accuracy for the first rank at the first task, in %.
        block: Each of the losses is the mean of so many steps.
    """
    made = figure(12, 5.6)
    grid = panels(made, rows=3, columns=len(tasks), height_ratios=[0.36, 1.25, 1.1], squeeze=False)
    contenders = [*ranks, None]
    roles = dict(zip(contenders, ("fourth", "lora", "third", "full"), strict=True))
    for column, (title, (tiles, base, losses, accuracies)) in zip(grid.T, tasks.items(), strict=True):
        top, middle, low = column
        _show_tiles(top, tiles)
        top.set_title(title)
        for one, role in roles.items():
            (curve,) = middle.plot([], [], **line(role, marker="", label=_name(one)))
            curve.set_data([block * (number + 0.5) for number in range(len(losses[one]))], losses[one])
        _loss_axes(middle, block * max(map(len, losses.values())))
        places = range(1 + len(contenders))
        shares = [[base], *(accuracies[one] for one in contenders)]
        for place, role, share in zip(places, ("base", *roles.values()), shares, strict=True):
            for number, one in enumerate(share, start=1):
                fill = "full" if number == len(share) else "none"  # shorter runs are hollow
                low.plot(place, 100 * one, **line(role, markersize=8, fillstyle=fill, markeredgewidth=1.5))
            last, up = 100 * share[-1], share[-1] < 0.8
            if guess is not None and low is grid[2, 0] and place == 1:
                up = guess < last  # away from the diamond
            low.annotate(
                f"{last:.0f} %", (place, last), (0, 7 if up else -8), textcoords="offset points", ha="center",
                va="bottom" if up else "top", size=9,
            )  # fmt: skip
        _chance(low, 10)
        low.set(ylim=(0, 104), xlim=(-0.5, len(places) - 0.5), yticks=range(0, 101, 25))
        low.set_xticks(places, ["base", *map(_name, contenders)])
        low.grid(axis="x", visible=False)
        if middle is not grid[1, 0]:
            middle.set_ylabel("")
        if max(map(len, shares)) > 1:
            low.annotate("hollow: after the first 200 steps", (0.03, 0.5), xycoords="axes fraction", size=9)
    grid[2, 0].set_ylabel("test digits read (%)")
    legend(grid[1, 0], loc="lower left", ncols=2)
    if diamond(grid[2, 0], 1, guess):
        look = {"textcoords": "offset points", "ha": "right", "va": "center", "size": 9}
        grid[2, 0].annotate("your guess", (1, guess), (-10, 0), **look)
    return made


def strip(tiles, down: bool = False) -> np.ndarray:
    """The digits in a row with a gap between, or one below the other: ``(digits, 8, 8)`` -> ``(8, 9 * digits - 1)``."""
    tiles = np.asarray(tiles, dtype=float)
    wide = np.full((SIDE, PITCH * len(tiles) - 1), np.nan)
    for place, tile in enumerate(tiles):
        wide[:, PITCH * place : PITCH * place + SIDE] = tile.T if down else tile
    return wide.T if down else wide


def _digits_panel(axes, digits: int):
    """A table: the digits as they are shown to the network, what they are, and how each reader reads them."""
    image = _show_tiles(axes, np.zeros((digits, SIDE, SIDE)), down=True)
    read = {}
    for number, (who, role) in enumerate(READERS.items()):
        right = 13 + 8 * number
        axes.text(right, -3, who, color=COLOURS[role], ha="center", va="center", fontsize=10)
        middles = [PITCH * place + (SIDE - 1) / 2 for place in range(digits)]
        read[who] = [axes.text(right, middle, "", ha="center", va="center", fontsize=11) for middle in middles]
    axes.set(xlim=(-1, 13 + 8 * len(READERS) - 3), ylim=(PITCH * digits - 0.5, -5))
    axes.set_title(f"The first {digits} test digits, as read by")
    return image, read


def _show_tiles(axes, tiles, down: bool = False):
    """Draw the digits with a border around each; returns the image."""
    image = axes.imshow(strip(tiles, down), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    for place in range(len(tiles)):
        corner = (-0.7, PITCH * place - 0.7) if down else (PITCH * place - 0.7, -0.7)  # around the image, not under it
        axes.add_patch(Rectangle(corner, SIDE + 0.4, SIDE + 0.4, fill=False, edgecolor=COLOURS["ghost"], linewidth=0.8))
    axes.axis("off")
    return image


def _write(text, digit, truth, who) -> None:
    """A digit as it was read: a wrong one in another colour, with a cross."""
    wrong = digit != truth
    text.set_text(f"{digit} ✗" if wrong else f"{digit}")
    text.set_color(COLOURS["full"] if wrong else COLOURS["ink"])
    text.set_fontweight("bold" if who == "truth" else "normal")


def _draw_loss(curve, losses) -> None:
    curve.set_data(range(1, len(losses) + 1), smoothed(losses, WINDOW) if len(losses) else [])


def _loss_axes(axes, steps: int) -> None:
    axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss (nats a digit)", xlim=(0, steps), ylim=(0.015, 8))
    ticks = (0.03, 0.1, 0.3, 1, 3)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    _chance(axes, CHANCE)


def _rank_axes(axes, ranks) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.set(xlabel="rank r", xlim=(ranks[0] / 1.5, ranks[-1] * 1.5), ylim=(0, 104), yticks=range(0, 101, 20))
    axes.set_title("Test digits read right (%)")
    _chance(axes, 10)


def _chance(axes, height) -> None:
    axes.axhline(height, color=COLOURS["base"], linestyle=(0, (1, 3)), linewidth=1.1)
    axes.annotate("chance", (1, height), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                  ha="right", size=9, color=COLOURS["base"])  # fmt: skip


def _name(contender) -> str:
    return "full" if contender is None else f"rank {contender}"
