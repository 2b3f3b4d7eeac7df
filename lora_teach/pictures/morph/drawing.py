"""Morph: names as rows of tiles, a colour for each judge, and how surprised the judges are at each adapter strength."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled

# Whom a letter pleases -> tile, edge, letter, weight: dark with white, bright with bold, or blank.
LOOKS = {
    "e": (COLOURS["base"], COLOURS["base"], "white", "normal"),
    "o": (COLOURS["other"], COLOURS["other"], "black", "bold"),
    "-": ("white", COLOURS["ghost"], COLOURS["base"], "normal"),
}
LOWEST_TOP = 6.0  # nats a letter: the axis is at least this high
ABOVE = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.3, "columnspacing": 1.2}  # of legends


@dataclass
class Written:
    """A name as it is drawn: its letters, a sign for each (a key of LOOKS), and whether somebody has the name."""

    name: str
    tastes: str
    real: bool = False


class Board:
    """Names in monospace, a tile for each letter, real names underlined.

    The letters are outlines in one collection: as texts they would take ten times as long to draw.

    Args:
        axes: Where; only the names are seen of it.
        rows: Names in a column.
        columns: Columns of names beside each other.
        letters: Room for a name; a longer one is cut, with "…" at its end.
        size: Of the letters, in points.
        looks: What each sign stands for, as LOOKS has it; "-" is among them.

    Attributes:
        artists: What moves.
    """

    def __init__(self, axes, rows: int, columns: int = 1, letters: int = 16, size: float = 13, looks: dict = LOOKS):
        self.rows, self.letters, self.size, self._looks = rows, letters, size, looks
        axes.set(xlim=(0, columns * (letters + 1) - 1), ylim=(rows, 0))
        axes.axis("off")
        self._tiles = PolyCollection([], linewidths=0.8, zorder=1)
        self._lines = LineCollection([], colors=COLOURS["ink"], linewidths=2, zorder=1)
        self._glyphs = PathCollection([], offsets=[], offset_transform=axes.transData, linewidths=0, zorder=2)
        self._glyphs.set_transform(Affine2D().scale(axes.figure.dpi / 72))
        self.artists = [self._tiles, self._lines, self._glyphs]
        for artist in self.artists:
            axes.add_collection(artist, autolim=False)

    def show(self, written: Sequence[Written]) -> None:
        """Put these names on the board, the first column from top to bottom, then the next."""
        tiles, looks, glyphs, places, lines = [], [], [], [], []
        for index, one in enumerate(written):
            left, top = index // self.rows * (self.letters + 1), index % self.rows
            cut = len(one.name) > self.letters
            name = one.name[: self.letters - 1] + "…" if cut else one.name
            for x, letter, taste in zip(range(left, left + len(name)), name, one.tastes, strict=False):
                look = self._looks["-" if letter == "…" else taste]
                tiles.append([(x + a, top + b) for a, b in ((0.05, 0.08), (0.95, 0.08), (0.95, 0.78), (0.05, 0.78))])
                glyphs.append(_glyph(letter, look[3], self.size))
                places.append((x + 0.5, top + 0.43))
                looks.append(look)
            if one.real:
                lines.append([(left + 0.05, top + 0.9), (left + len(name) - 0.05, top + 0.9)])
        faces, edges, inks, _ = zip(*looks, strict=True)
        self._tiles.set(verts=tiles, facecolors=faces, edgecolors=edges)
        self._glyphs.set(paths=glyphs, offsets=places, facecolors=inks)
        self._lines.set_segments(lines)


class Curves:
    """The two judges' surprise by strength, with a dot on each line, and the learner's guess on the second.

    Args:
        axes: Where.
        guess: A strength; None draws no diamond.

    Attributes:
        moving: The dots and the thin line between them.
    """

    def __init__(self, axes, guess: float | None = None):
        self.axes, self.guess = axes, guess
        axes.set(xlabel="strength of the adapter", ylabel="surprise, nats a letter", xlim=(0, 3))
        axes.set_xticks(np.arange(0, 3.1, 0.5), [f"×{tick:g}" for tick in np.arange(0, 3.1, 0.5)])
        self._lines = [
            axes.plot([], [], **line("base", marker="", linewidth=2.2))[0],
            axes.plot([], [], **line("other", marker="", linestyle="-", linewidth=2.2))[0],
        ]
        self._diamond = diamond(axes, guess, guess)
        self._here = axes.axvline(0, color=COLOURS["ghost"], linewidth=1.2, zorder=1)
        self._dots = [
            axes.plot([], [], marker, markersize=9, color=COLOURS[role], markeredgecolor="white", clip_on=False)[0]
            for role, marker in (("base", "s"), ("other", "o"))
        ]
        for dot in self._dots:
            dot.set_in_layout(False)  # not yet anywhere, and not clipped: the layout would leave room for it
        self.moving = [self._here, *self._dots]
        self.set_lines([0, 3], [10, 10], [10, 10], "other")  # gives legend and tick labels their place in the layout

    def set_lines(self, strengths: Sequence[float], english: Sequence[float], other: Sequence[float], language: str):
        """Draw both judges' lines anew, in nats a letter, one value a strength. This is background."""
        self._values = np.asarray(strengths), np.asarray(english), np.asarray(other)
        for drawn, values, judge in zip(self._lines, self._values[1:], ("English", language), strict=True):
            drawn.set_data(self._values[0], values)
            drawn.set_label(f"{judge} judge")
        if self._diamond is not None:
            self._diamond.set_data([self.guess], [self.at(self.guess)[1]])
        self.axes.set_ylim(0, max(LOWEST_TOP, 1.05 * self._values[1].max(), 1.05 * self._values[2].max()))
        legend(self.axes, ncols=3, **ABOVE)

    def at(self, strength: float) -> tuple[float, float]:
        """Return both lines' heights at this strength, the English judge's first."""
        return tuple(float(np.interp(strength, self._values[0], values)) for values in self._values[1:])

    def move(self, *strengths: float) -> None:
        """Put the dots at this strength, or at each of several."""
        self._here.set_xdata(strengths[:1] * 2)
        for index, dot in enumerate(self._dots):
            dot.set_data(strengths, [self.at(strength)[index] for strength in strengths])


class Morph:
    """The live picture: a board, above the curves if there are any.

    Args:
        rows: Names in each of the board's two columns.
        curves: Draw the judges' lines as well.
        guess: See `Curves`.

    Attributes:
        picture: The `Picture`.
    """

    @styled
    def __init__(self, rows: int = 4, curves: bool = True, guess: float | None = None):
        made = figure(8, 4.6 if curves else 2.2)
        if curves:
            top, below = panels(made, rows=2, height_ratios=[1, 1.5])
            self.curves = Curves(below, guess)
        else:
            top, self.curves = panels(made), None
        self._axes = top
        self.board = Board(top, rows, columns=2)
        self._title = top.set_title("Icelandic adapter × 0.00")
        self.key("Icelandic")
        self.picture = Picture(made, [self.board.artists, self._title, self.curves.moving if curves else []])

    def key(self, language: str) -> None:
        """Say what the tiles mean. This is background."""
        key(self._axes, language)

    def show(self, title: str, written: Sequence[Written], strength: float) -> None:
        """Move what moves."""
        self._title.set_text(title)
        self.board.show(written)
        if self.curves is not None:
            self.curves.move(strength)


@styled
def draw_columns(
    columns: dict[str, Sequence[Written]],
    language: str | None,
    curves: tuple | None = None,
    strengths: Sequence[float] = (),
    guess: float | None = None,
) -> Figure:
    """Small multiples: a board for each title, side by side, above the curves if they are given.

    Args:
        columns: ``{title: names}``.
        language: The other judge's, for the key; None if each column has another.
        curves: ``(strengths, english, other)`` as for `Curves.set_lines`.
        strengths: Of the columns; a dot on each line stands there.
        guess: See `Curves`.
    """
    rows = max(map(len, columns.values()))
    made = figure(10, 5.6 if curves else 2.9)
    made.get_layout_engine().set(w_pad=0.12)  # inches: the names stand where the sentence under them begins
    grid = made.add_gridspec(2 if curves else 1, len(columns), height_ratios=[1.1, 1] if curves else None)
    for index, (title, written) in enumerate(columns.items()):
        axes = made.add_subplot(grid[0, index])
        axes.set_title(title)
        Board(axes, rows, letters=12, size=10.5).show(written)
    made.legend(handles=_tiles_key(language), loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    if curves:
        below = made.add_subplot(grid[1, :])
        below.grid(True)
        drawn = Curves(below, guess)
        drawn.set_lines(*curves, language)
        drawn.move(*strengths)
    return made


def key(axes, language: str | None) -> None:
    """Put what tiles and underlines mean over the right end of these axes."""
    legend(axes, handles=_tiles_key(language), ncols=4, handlelength=1.2, **ABOVE)


def _tiles_key(language):
    other = f"{language} judge" if language else "that language's judge"
    names = {"e": "English judge", "o": other, "-": "neither"}
    patches = [Patch(facecolor=LOOKS[sign][0], edgecolor=LOOKS[sign][1], label=name) for sign, name in names.items()]
    return [*patches, Line2D([], [], color=COLOURS["ink"], linewidth=2, label="a real name")]


@lru_cache(maxsize=1000)
def _glyph(letter: str, weight: str, size: float):
    """A letter's outline in points, its middle at the origin."""
    font = FontProperties(family="DejaVu Sans Mono", weight=weight)
    middle = Affine2D().translate(-0.301 * size, -0.27 * size)  # half the width, half the height of an x
    return TextPath((0, 0), letter, size=size, prop=font).transformed(middle)
