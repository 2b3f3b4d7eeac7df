"""Small matrices and the outer products, column × row, that they are made of."""

from dataclasses import dataclass

import numpy as np
from matplotlib.patches import Rectangle

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, SIGNED, diamond, figure, legend, matrix, panels, styled

LETTERS = "ABCDEFGH"
ABOVE = 1.1  # outer products between a bar's end and its number: room for a diamond
EXACT = {"color": COLOURS["best"], "linewidth": 3.0}  # the frame of a tile that is complete
FRAME = {"fill": False, "edgecolor": COLOURS["base"], "linewidth": 0.8}
UNFINISHED = {"color": COLOURS["ghost"], "linewidth": 0.8}


@styled
def draw_outer_products(A, B):
    """Each column of A times the row of B that goes with it, and their sum A·B.

    A column stands on the left of its product and the row on top of it, as in a multiplication table.

    Args:
        A: ``(rows, rank)``.
        B: ``(rank, columns)``.

    Returns:
        A Figure.
    """
    A, B = np.asarray(A), np.asarray(B)
    (rows, rank), columns = A.shape, B.shape[1]
    made = figure(max(4.0, 3.0 * (rank + (rank > 1))), 3.1)  # a single one still has room for a sentence
    limit = max(np.abs(A).max(), np.abs(B).max(), np.abs(A @ B).max())
    axes = panels(made, columns=rank + (rank > 1), grid=False, squeeze=False)[0]
    for index, one in enumerate(axes):
        number = f" {index + 1}" if rank > 1 else ""
        place = dict(cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
        is_sum = index == rank
        one.imshow(A @ B if is_sum else np.outer(A[:, index], B[index]), extent=(0, columns, rows, 0), **place)
        one.add_patch(Rectangle((0, 0), columns, rows, **FRAME))
        one.set_xlabel("their sum, A·B" if is_sum else f"column{number} × row{number}")
        if not is_sum:
            one.imshow(A[:, [index]], extent=(-2, -1, rows, 0), **place)
            one.imshow(B[[index]], extent=(0, columns, -1, -2), **place)
            one.add_patch(Rectangle((-2, 0), 1, rows, **FRAME))
            one.add_patch(Rectangle((0, -2), columns, 1, **FRAME))
            one.text(-2.3, rows / 2, f"column{number}", rotation=90, ha="right", va="center")
            one.text(columns / 2, -2.3, f"row{number}", ha="center", va="bottom")
        one.set(xlim=(-4, columns + 1), ylim=(rows + 0.5, -4), xticks=[], yticks=[])
        one.spines[:].set_visible(False)
    return made


@dataclass
class Icons:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    rebuilt: list  # one AxesImage a tile
    bars: object  # BarContainer
    texts: list  # one over each bar
    title: object

    def update(self, rebuilt, ranks, used: int) -> None:
        """Show every tile as far as ``used`` outer products bring it.

        Args:
            rebuilt: The tiles made of that many, each ``(16, 16)``.
            ranks: How many each tile needs.
            used: How many there are.
        """
        self.title.set_text(_rows_title(used))
        for image, tile, bar, text, rank in zip(self.rebuilt, rebuilt, self.bars, self.texts, ranks, strict=True):
            image.set_data(tile)
            done = rank <= used
            for spine in image.axes.spines.values():
                spine.set(**(EXACT if done else UNFINISHED))
            bar.set(height=min(rank, used), hatch="" if done else "////", alpha=1.0 if done else 0.35)
            text.set(text=str(rank) if done else "", y=min(rank, used) + ABOVE)


@styled
def draw_icons(tiles: dict, guess=None) -> Icons:
    """The tiles, the tiles rebuilt, and a bar each for the outer products that this took.

    Args:
        tiles: ``{name: (16, 16)}``, lettered in this order.
        guess: The learner's eight numbers in the same order, drawn as diamonds; None draws nothing.
    """
    made = figure(10, 5.2)
    above, below = made.subfigures(2, 1, height_ratios=[1.6, 1])
    grid = panels(above, rows=2, columns=len(tiles), grid=False)
    for axes, letter, tile in zip(grid[0], LETTERS, tiles.values(), strict=True):
        matrix(axes, tile, 1.0).axes.set_title(letter, loc="center")
    rebuilt = [matrix(axes, np.zeros((16, 16)), 1.0) for axes in grid[1]]
    grid[1, 0].set_title(" ", fontsize=10)  # keeps room for the title, which is wider than this panel
    title = grid[1, 0].text(0, 1.06, _rows_title(0), transform=grid[1, 0].transAxes, fontsize=10, in_layout=False)
    axes = panels(below)
    bars = axes.bar(range(len(tiles)), [0] * len(tiles), width=0.55, color=COLOURS["lora"])
    texts = [axes.text(place, 0, "", ha="center", va="bottom") for place in range(len(tiles))]
    diamonds = _bar_axes(axes, LETTERS[: len(tiles)], guess, range(len(tiles)))
    spines = [spine for image in rebuilt for spine in image.axes.spines.values()]
    return Icons(Picture(made, [rebuilt, spines, bars, texts, title, diamonds]), rebuilt, bars, texts, title)


@styled
def draw_sorted(tiles: dict, rebuilt: dict, ranks: dict, guess=None):
    """The same for a page that doesn't move: tiles by rank, each rebuilt from a few numbers of outer products.

    Args:
        tiles: ``{name: (16, 16)}``, lettered in this order.
        rebuilt: ``{number of outer products: {name: (16, 16)}}``.
        ranks: ``{name: how many the tile needs}``.
        guess: As in `draw_icons`.

    Returns:
        A Figure.
    """
    order = sorted(tiles, key=ranks.get)
    letters = dict(zip(tiles, LETTERS, strict=False))
    made = figure(10, 7.4)
    above, below = made.subfigures(2, 1, height_ratios=[1 + len(rebuilt), 1.7])
    grid = panels(above, rows=1 + len(rebuilt), columns=len(order), grid=False)
    for column, name in enumerate(order):
        matrix(grid[0, column], tiles[name], 1.0).axes.set_title(f"{letters[name]}: {name}", loc="center", fontsize=10)
        for axes, (used, made_of) in zip(grid[1:, column], rebuilt.items(), strict=True):
            matrix(axes, made_of[name], 1.0)
            for spine in axes.spines.values():
                spine.set(**(EXACT if ranks[name] <= used else UNFINISHED))
    grid[0, 0].set_ylabel("the tile")
    for axes, used in zip(grid[1:, 0], rebuilt, strict=True):
        axes.set_ylabel(f"{used} outer\nproduct{'' if used == 1 else 's'}")
    axes = panels(below)
    axes.bar(range(len(order)), [ranks[name] for name in order], width=0.55, color=COLOURS["lora"])
    for place, name in enumerate(order):
        axes.text(place, ranks[name] + ABOVE, str(ranks[name]), ha="center", va="bottom")
    _bar_axes(axes, [letters[name] for name in order], guess, [order.index(name) for name in tiles])
    return made


def _rows_title(used: int) -> str:
    return f"rebuilt from {used} outer product{'' if used == 1 else 's'} each; a thick frame: exact"


def _bar_axes(axes, letters, guess, places) -> list:
    """Set up the axes of the bars; return the guess's diamonds."""
    axes.set(ylabel="outer products", ylim=(0, 20), yticks=[0, 4, 8, 12, 16], xlim=(-0.5, len(letters) - 0.5))
    axes.set_xticks(range(len(letters)), letters)
    axes.grid(False, axis="x")
    if guess is None:
        return []
    guesses = zip(places, guess, strict=True)
    diamonds = [
        diamond(axes, place, number, "_" if index else "your guess") for index, (place, number) in enumerate(guesses)
    ]
    legend(axes, loc="upper left")
    return diamonds
