"""Mix: two adapters over one base, a weight on each: names, squares to scale, and the plane of the two losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from matplotlib.patches import Patch, Rectangle

from lora_teach.pictures.morph.drawing import ABOVE, LOOKS, Board, Written
from lora_teach.plots.picture import Picture
from lora_teach.plots.sizes import bare, square
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, styled

ROLES = ("lora", "other")  # the first adapter's, the second's
FIRST, SECOND = "1", "2"  # whom a letter pleases
TILES = {
    FIRST: (COLOURS["lora"], COLOURS["lora"], "white", "normal"),
    SECOND: (COLOURS["other"], COLOURS["other"], "black", "bold"),
    "-": LOOKS["-"],
}
HATCHES = ("//", "")


@dataclass(frozen=True)
class Plane:
    """What stands on the plane of the two losses, each point (nats on the first's names, nats on the second's).

    ``path`` are the mixtures at ``shares`` of the second adapter, from 0 to 1; shape (shares, 2).
    """

    languages: tuple
    base: tuple
    shares: Sequence[float]
    path: np.ndarray
    guess: tuple | None = None

    def half(self) -> tuple:
        """Half of what each adapter gains on its own language."""
        return tuple((self.base[index] + self.path[-index][index]) / 2 for index in (0, 1))

    def at(self, share: float) -> tuple:
        """The point on the path at this share."""
        return tuple(float(np.interp(share, self.shares, self.path[:, index])) for index in (0, 1))


class Squares:
    """The base and the two adapters to scale, each adapter filled as high as its weight.

    Args:
        axes: Where.
        base: Numbers in the base.
        adapters: Numbers in the two adapters.
        languages: Their names.

    Attributes:
        moving: The fillings and the words over them.
    """

    def __init__(self, axes, base: int, adapters: tuple, languages: tuple) -> None:
        bare(axes)
        side = sqrt(base)
        axes.set_title("Areas are numbers of parameters")
        square(axes, 0, 0, base)
        axes.text(side / 2, side / 2, f"NameGPT\n{base:,}\nnumbers", ha="center", va="center")
        self._sides, self._languages, self._fills, self._words = [], languages, [], []
        for index, numbers in enumerate(adapters):
            left, own = side * (1.2 + 0.95 * index), sqrt(numbers)
            square(axes, left, 0, numbers, facecolor="white", edgecolor=COLOURS["ink"])
            look = {"facecolor": COLOURS[ROLES[index]], "edgecolor": COLOURS["ink"], "hatch": HATCHES[index]}
            self._fills.append(axes.add_patch(Rectangle((left, 0), own, own, **look)))
            self._sides.append(own)
            self._words.append(axes.text(left, own + 0.08 * side, f"{languages[index]}\n× 0.00", va="bottom"))
            axes.text(left + own + 0.06 * side, own / 2, f"{numbers:,}", va="center", size=9)
        axes.set(xlim=(-0.02 * side, 3.0 * side), ylim=(-0.02 * side, 1.02 * side), anchor="W")
        self.moving = [*self._fills, *self._words]

    def show(self, share: float) -> None:
        """Fill them for this share of the second adapter."""
        for fill, word, side, language, weight in zip(
            self._fills, self._words, self._sides, self._languages, (1 - share, share), strict=True
        ):
            fill.set_height(weight * side)
            word.set_text(f"{language}\n× {weight:.2f}")


@dataclass
class Mix:
    """The live picture."""

    picture: Picture
    board: Board
    squares: Squares
    dot: object  # Line2D: the mixture on the plane
    plane: Plane

    def show(self, share: float, written: Sequence[Written]) -> None:
        """Move to this share of the second adapter, which writes these names."""
        self.board.show(written)
        self.squares.show(share)
        x, y = self.plane.at(share)
        self.dot.set_data([x], [y])


@styled
def draw(plane: Plane, base: int, adapters: tuple, rows: int = 4) -> Mix:
    """Make the live picture.

    Args:
        plane: What stands on the plane.
        base: Numbers in the base.
        adapters: Numbers in each adapter.
        rows: Names in each of the board's two columns.
    """
    made = figure(10.4, 4.5)
    grid = made.add_gridspec(2, 2, width_ratios=[1.15, 1], height_ratios=[1, 1.15])
    top, low, right = (made.add_subplot(place) for place in (grid[0, 0], grid[1, 0], grid[:, 1]))
    board = Board(top, rows, columns=2, letters=13, size=12, looks=TILES)
    key(top, plane.languages)
    squares = Squares(low, base, adapters, plane.languages)
    draw_plane(right, plane)
    (dot,) = right.plot([], [], "o", markersize=11, color=COLOURS["third"], markeredgecolor=COLOURS["ink"], zorder=4)
    dot.set_in_layout(False)
    picture = Picture(made, [board.artists, squares.moving, dot])
    return Mix(picture, board, squares, dot, plane)


@styled
def draw_twin(plane: Plane, base: int, adapters: tuple, columns: dict[float, Sequence[Written]]):
    """Small multiples: the names at several shares side by side, the squares, and the plane with a dot for each share.

    Args:
        plane: What stands on the plane.
        base: Numbers in the base.
        adapters: Numbers in each adapter.
        columns: ``{share: names}``.

    Returns:
        A Figure.
    """
    made = figure(10, 6.6)
    made.get_layout_engine().set(w_pad=0.1)
    upper, lower = made.add_gridspec(2, 1, height_ratios=[1, 1.6])
    boards, grid = upper.subgridspec(1, len(columns)), lower.subgridspec(1, 2, width_ratios=[1, 1.5])
    for index, (share, written) in enumerate(columns.items()):
        axes = made.add_subplot(boards[index])
        words = [
            f"{weight:g} {name}" for weight, name in zip((1 - share, share), plane.languages, strict=True) if weight
        ]
        axes.set_title("\n".join(words) + "\n" * (2 - len(words)))
        Board(axes, len(written), letters=12, size=10.5, looks=TILES).show(written)
    made.legend(handles=_key(plane.languages), loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    low, right = map(made.add_subplot, grid)
    Squares(low, base, adapters, plane.languages).show(0.5)
    draw_plane(right, plane)
    for share in sorted(set(columns) - {0, 1}):
        point = plane.at(share)
        right.plot(*point, "o", markersize=9, color=COLOURS["third"], markeredgecolor=COLOURS["ink"], zorder=4)
        weights = f"{1 - share:g} + {share:g}"
        right.annotate(weights, point, (9, 3), textcoords="offset points", size=9)
    return made


def draw_plane(axes, plane: Plane) -> None:
    """Both losses, the base, both ends of the path, the region of more than half of both gains, and the guess."""
    axes.grid(True)
    first, second = plane.languages
    points = np.array([plane.base, *plane.path, *([plane.guess] if plane.guess else [])])  # (points, 2)
    low, high = points.min(0) - 0.25, points.max(0) + 0.3
    half = plane.half()
    axes.add_patch(Rectangle(low, *(half - low), facecolor="#DDEEE6", edgecolor=COLOURS["best"], linestyle="--"))
    axes.annotate("more than half of\nboth gains", low, (6, 6), textcoords="offset points", va="bottom", size=9)
    axes.plot(*plane.path.T, color=COLOURS["third"], linewidth=2.2)
    ends = zip((plane.base, plane.path[0], plane.path[-1]), ("base", *ROLES), strict=True)
    labels = ("the base", f"{first} alone", f"{second} alone")
    for (point, role), text, offset in zip(ends, labels, ((9, 4), (10, 2), (-4, 9)), strict=True):
        axes.plot(*point, MARKERS[role], color=COLOURS[role], markersize=10, zorder=3)
        ha = "left" if offset[0] > 0 else "center"
        axes.annotate(text, point, offset, textcoords="offset points", ha=ha, size=10)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set(xlabel=f"loss on {first} test names, nats a letter", ylabel=f"loss on {second} test names, nats a letter")
    axes.set_title("Weights that sum to 1: down and to the left is better")
    if plane.guess:
        diamond(axes, *plane.guess)
        legend(axes, loc="upper right")


def key(axes, languages: tuple) -> None:
    """Put what the tiles mean over the right end of these axes."""
    legend(axes, handles=_key(languages), ncols=3, handlelength=1.2, **ABOVE)


def _key(languages):
    texts = zip(TILES, (*(f"{language} judge" for language in languages), "neither"), strict=True)
    return [Patch(facecolor=TILES[sign][0], edgecolor=TILES[sign][1], label=text) for sign, text in texts]
