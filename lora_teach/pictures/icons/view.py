"""Icons: eight tiles and how many outer products, column × row, each is made of."""

from lora_teach.datasets.icons import SIZE, icons
from lora_teach.live.explore import View
from lora_teach.measure.spectrum import numerical_rank, truncate
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, SIGNED, diamond, figure, legend, matrix, panels, styled
from lora_teach.utils.validation import check_guesses

import numpy as np
from matplotlib.patches import Rectangle

LETTERS = "ABCDEFGH"
SHOWN = (1, 2, 4, 8)  # numbers of outer products in the small multiples
ABOVE = 1.1  # outer products between a bar's end and its number: room for a diamond
EXACT = {"color": COLOURS["best"], "linewidth": 3.0}  # the frame of a tile that is complete
UNFINISHED = {"color": COLOURS["ghost"], "linewidth": 0.8}
FRAME = {"fill": False, "edgecolor": COLOURS["base"], "linewidth": 0.8}


class Icons(View):
    """Eight tiles, rebuilt from as many outer products as the slider says; what is complete gets a thick frame.

    Args:
        guess: The rank of each tile, A to H, as the learner predicts it: eight numbers from 0 to 16.

    Raises:
        TypeError, ValueError: ``guess`` is something else, and not None.
    """

    sliders = {"outer_products": (0, SIZE, 0)}

    def __init__(self, guess=None):
        self.tiles = icons()
        self.guess = check_guesses(guess, len(LETTERS), 0, SIZE, "a rank")
        self.ranks = {name: numerical_rank(tile) for name, tile in self.tiles.items()}
        self._draw()

    @styled
    def _draw(self):
        """The tiles, the tiles rebuilt, and a bar each for the outer products that this took."""
        made = figure(10, 5.2)
        above, below = made.subfigures(2, 1, height_ratios=[1.6, 1])
        grid = panels(above, rows=2, columns=len(self.tiles), grid=False)
        for axes, letter, tile in zip(grid[0], LETTERS, self.tiles.values(), strict=True):
            matrix(axes, tile, 1.0).axes.set_title(letter, loc="center")
        self.rebuilt = [matrix(axes, np.zeros((SIZE, SIZE)), 1.0) for axes in grid[1]]
        grid[1, 0].set_title(" ", fontsize=10)  # keeps room for the title, which is wider than this panel
        self.title = grid[1, 0].text(0, 1.06, "", transform=grid[1, 0].transAxes, fontsize=10, in_layout=False)
        axes = panels(below)
        places = range(len(self.tiles))
        self.bars = axes.bar(places, [0] * len(self.tiles), width=0.55, color=COLOURS["lora"])
        self.texts = [axes.text(place, 0, "", ha="center", va="bottom") for place in places]
        diamonds = _bar_axes(axes, LETTERS, self.guess, places)
        spines = [spine for image in self.rebuilt for spine in image.axes.spines.values()]
        self.picture = Picture(made, [self.rebuilt, spines, self.bars, self.texts, self.title, diamonds])

    def move(self, outer_products):
        """Show what this many outer products make of each tile."""
        self.title.set_text(f"rebuilt from {_amount(outer_products)} each; a thick frame: exact")
        shown = zip(self.rebuilt, self.bars, self.texts, self.tiles.values(), self.ranks.values(), strict=True)
        for image, bar, text, tile, rank in shown:
            image.set_data(truncate(tile, outer_products).numpy())
            done, height = rank <= outer_products, min(rank, outer_products)
            for spine in image.axes.spines.values():
                spine.set(**(EXACT if done else UNFINISHED))
            bar.set(height=height, hatch="" if done else "////", alpha=1.0 if done else 0.35)
            text.set(text=str(rank) if done else "", y=height + ABOVE)
        done = [name for name, rank in self.ranks.items() if rank <= outer_products]
        if not done:
            return f"With {outer_products} outer products each, no tile is complete."
        if len(done) == len(self.tiles):
            return "All eight tiles are complete; the numbers over the bars are their ranks." + self._verdict()
        return f"With {_amount(outer_products)} each, {len(done)} of 8 tiles are complete: {', '.join(done)}."

    @styled
    def static_figure(self):
        """The tiles by rank, each rebuilt from 1, 2, 4 and 8 outer products, and the numbers that they need."""
        names, order = list(self.tiles), sorted(self.tiles, key=self.ranks.get)
        letters = dict(zip(names, LETTERS, strict=True))
        made = figure(10, 7.4)
        above, below = made.subfigures(2, 1, height_ratios=[1 + len(SHOWN), 1.7])
        grid = panels(above, rows=1 + len(SHOWN), columns=len(order), grid=False)
        for column, name in zip(grid.T, order, strict=True):
            tile = self.tiles[name]
            matrix(column[0], tile, 1.0).axes.set_title(f"{letters[name]}: {name}", loc="center", fontsize=10)
            for axes, used in zip(column[1:], SHOWN, strict=True):
                matrix(axes, truncate(tile, used), 1.0)
                for spine in axes.spines.values():
                    spine.set(**(EXACT if self.ranks[name] <= used else UNFINISHED))
        grid[0, 0].set_ylabel("the tile")
        for axes, used in zip(grid[1:, 0], SHOWN, strict=True):
            axes.set_ylabel(_amount(used).replace("outer ", "outer\n"))
        axes = panels(below)
        axes.bar(range(len(order)), [self.ranks[name] for name in order], width=0.55, color=COLOURS["lora"])
        for place, name in enumerate(order):
            axes.text(place, self.ranks[name] + ABOVE, str(self.ranks[name]), ha="center", va="bottom")
        _bar_axes(axes, [letters[name] for name in order], self.guess, map(order.index, names))
        return show(
            made,
            f"Outer products needed: {', '.join(f'{name} {self.ranks[name]}' for name in order)}. A thick frame marks "
            "a tile that is exact. The bare diagonal costs as much as noise: none of its rows can be made from the "
            "others." + self._verdict(),
        )

    def _verdict(self):
        if self.guess is None:
            return ""
        right = sum(round(guess) == rank for guess, rank in zip(self.guess, self.ranks.values(), strict=True))
        return f" You had {right} of 8 right."


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


def _amount(used):
    return f"{used} outer product{'' if used == 1 else 's'}"


def _bar_axes(axes, letters, guess, places):
    """Set up the axes of the bars; return the guess's diamonds."""
    axes.set(ylabel="outer products", ylim=(0, 20), yticks=[0, 4, 8, 12, 16], xlim=(-0.5, len(letters) - 0.5))
    axes.set_xticks(range(len(letters)), letters)
    axes.grid(False, axis="x")
    if guess is None:
        return []
    diamonds = [
        diamond(axes, place, number, "_" if index else "your guess")
        for index, (place, number) in enumerate(zip(places, guess, strict=True))
    ]
    legend(axes, loc="upper left")
    return diamonds
