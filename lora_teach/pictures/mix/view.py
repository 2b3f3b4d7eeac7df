"""Mix: two adapters over one base, a weight on each: the names, squares to scale, and the plane of the two losses."""

from functools import cache
from math import sqrt

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.live.explore import View
from lora_teach.measure.judging import TEMPERATURE, tastes
from lora_teach.measure.writing import Writer
from lora_teach.pictures.mix.numbers import mixture_losses, share_of_gain
from lora_teach.plots import show
from lora_teach.plots.name_tiles import LOOKS, Board, Written, draw_key, judges_key
from lora_teach.plots.picture import Picture
from lora_teach.plots.sizes import bare, square
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, styled
from lora_teach.utils.validation import check_guesses

import numpy as np
from matplotlib.patches import Rectangle

STEP = 0.05  # of the slider
COLUMNS = [0.0, 0.25, 0.5, 0.75, 1.0]  # of the saved picture
SHOWN = 8  # names
SEED = 74  # as in notebook 00
LOWEST, HIGHEST = 1.0, 6.0  # nats: a guess beyond would squeeze the picture
ROLES = ("lora", "other")  # the first adapter's, the second's
HATCHES = ("//", "")
FIRST, SECOND = "1", "2"  # whom a letter pleases
TILES = {
    FIRST: (COLOURS["lora"], COLOURS["lora"], "white", "normal"),
    SECOND: (COLOURS["other"], COLOURS["other"], "black", "bold"),
    "-": LOOKS["-"],
}


class Mix(View):
    """Eight names and both losses for ``(1 − share) · first adapter + share · second adapter``.

    Args:
        guess: What the learner expects of half and half: (nats on the first language, nats on the second).
        first: A language that has an adapter.
        second: Another.

    Attributes:
        base: The base's losses: (nats on the first language, nats on the second).
        path: Those of the mixtures at ``shares`` of the second adapter, from 0 to 1: ``(shares, 2)``.

    Raises:
        TypeError, ValueError: A guess that is not two numbers, or a loss outside 1 to 6.
    """

    sliders = {"share": (0.0, 1.0, 0.5, STEP)}

    def __init__(self, guess=None, first="Finnish", second="Zulu"):
        self.guess = check_guesses(guess, 2, LOWEST, HIGHEST, "a loss in nats")
        self.languages = first, second
        self.labels = {"share": f"{first} → {second}"}
        model = load_language_adapter(load_language_adapter(load_name_gpt(), first), second)
        split = [names.load(language) for language in self.languages]
        self.shares = [step * STEP for step in range(round(1 / STEP) + 1)]
        mixtures = [None, *map(self.weights, self.shares)]
        self.base, *path = mixture_losses(model, mixtures, [one.test for one in split])
        self.path = np.array(path)  # (shares, 2)
        self._writer, self._noise = Writer(model), TEMPERATURE * gumbel_noise(SHOWN, SEED)
        self._judges = dict(zip((FIRST, SECOND), (names.Judge(one.train) for one in split), strict=True))
        self._size = sum(parameter.numel() for parameter in model.base_model.parameters())
        self._adapters = [sum(p.numel() for p in model.adapters[name].parameters()) for name in self.languages]
        self.written = cache(self.written)  # a slider comes back to where it was
        self._draw()

    @styled
    def _draw(self):
        made = figure(10.4, 4.5)
        grid = made.add_gridspec(2, 2, width_ratios=[1.15, 1], height_ratios=[1, 1.15])
        top, low, right = (made.add_subplot(place) for place in (grid[0, 0], grid[1, 0], grid[:, 1]))
        self.board = Board(top, SHOWN // 2, columns=2, letters=13, size=12, looks=TILES)
        draw_key(top, judges_key(*self.languages, looks=TILES))
        self.squares = Squares(low, self._size, self._adapters, self.languages)
        self._draw_plane(right)
        look = {"color": COLOURS["third"], "markeredgecolor": COLOURS["ink"], "zorder": 4}
        (self.dot,) = right.plot([], [], "o", markersize=11, **look)
        self.dot.set_in_layout(False)
        self.picture = Picture(made, [self.board.artists, self.squares.moving, self.dot])

    def move(self, share):
        """Mix: this share of the second adapter, the rest of the first."""
        self.board.show(self.written(share))
        self.squares.show(share)
        x, y = self.losses(share)
        self.dot.set_data([x], [y])
        weights = " + ".join(f"{weight:.2f} × {name}" for name, weight in self.weights(share).items())
        guessed = ""
        if self.guess and round(share / STEP) == round(0.5 / STEP):
            guessed = f" Your guess: {self.guess[0]:.2f} and {self.guess[1]:.2f}."
        return f"{weights}: {self._knows(share)}.{guessed}"

    def weights(self, share):
        """Return what ``set_adapter`` is given at this share of the second adapter."""
        return dict(zip(self.languages, (1 - share, share), strict=True))

    def losses(self, share):
        """Return nats a letter on the test names of the first language and of the second."""
        return tuple(self.path[round(share / STEP)].tolist())

    def gains(self, share):
        """Return for each language the share of its own adapter's gain over the base."""
        own = (self.path[0][0], self.path[-1][1])
        return tuple(map(share_of_gain, self.losses(share), self.base, own))

    def written(self, share):
        """Return the eight names, each with its letters' judges."""
        mixed = self._writer.mix(self.weights(share), self._noise)
        return [Written(name, tastes(name, self._judges)) for name in mixed]

    @styled
    def draw_columns(self):
        """Return a Figure: the names at several shares, the squares, and the plane with a dot for each share."""
        made = figure(10, 6.6)
        made.get_layout_engine().set(w_pad=0.1)
        upper, lower = made.add_gridspec(2, 1, height_ratios=[1, 1.6])
        boards, grid = upper.subgridspec(1, len(COLUMNS)), lower.subgridspec(1, 2, width_ratios=[1, 1.5])
        for index, share in enumerate(COLUMNS):
            axes = made.add_subplot(boards[index])
            words = [f"{weight:g} {name}" for name, weight in self.weights(share).items() if weight]
            axes.set_title("\n".join(words) + "\n" * (2 - len(words)))
            Board(axes, SHOWN, letters=12, size=10.5, looks=TILES).show(self.written(share))
        handles = judges_key(*self.languages, looks=TILES)
        made.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=9)
        low, right = map(made.add_subplot, grid)
        Squares(low, self._size, self._adapters, self.languages).show(0.5)
        self._draw_plane(right)
        look = {"color": COLOURS["third"], "markeredgecolor": COLOURS["ink"], "zorder": 4}
        for share in COLUMNS[1:-1]:
            point = self.losses(share)
            right.plot(*point, "o", markersize=9, **look)
            right.annotate(f"{1 - share:g} + {share:g}", point, (9, 3), textcoords="offset points", size=9)
        return made

    def static_figure(self):
        """Return five mixtures side by side over the squares and the plane."""
        sentence = f"The same eight throws of the dice from {' to '.join(self.languages)}, areas to scale. "
        return show(self.draw_columns(), f"{sentence}Half and half: {self._knows(0.5)}.")

    def _knows(self, share):
        words = []
        for name, loss, base, gain in zip(
            self.languages, self.losses(share), self.base, self.gains(share), strict=True
        ):
            what = f"{gain:.0%} of its adapter's gain" if loss <= base else f"worse than the base's {base:.2f}"
            words.append(f"{loss:.2f} nats on {name} names, {what}")
        return "; ".join(words)

    def _draw_plane(self, axes):
        """Both losses: the base, both ends of the path, the region of more than half of both gains, and the guess."""
        axes.grid(True)
        first, second = self.languages
        points = np.array([self.base, *self.path, *([self.guess] if self.guess else [])])  # (points, 2)
        low, high = points.min(0) - 0.25, points.max(0) + 0.3
        half = (np.array(self.base) + (self.path[0][0], self.path[-1][1])) / 2  # of what each adapter gains
        axes.add_patch(Rectangle(low, *(half - low), facecolor="#DDEEE6", edgecolor=COLOURS["best"], linestyle="--"))
        axes.annotate("more than half of\nboth gains", low, (6, 6), textcoords="offset points", va="bottom", size=9)
        axes.plot(*self.path.T, color=COLOURS["third"], linewidth=2.2)
        ends = zip((self.base, self.path[0], self.path[-1]), ("base", *ROLES), strict=True)
        labels = ("the base", f"{first} alone", f"{second} alone")
        for (point, role), text, offset in zip(ends, labels, ((9, 4), (10, 2), (-4, 9)), strict=True):
            axes.plot(*point, MARKERS[role], color=COLOURS[role], markersize=10, zorder=3)
            ha = "left" if offset[0] > 0 else "center"
            axes.annotate(text, point, offset, textcoords="offset points", ha=ha, size=10)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.set(
            xlabel=f"loss on {first} test names, nats a letter", ylabel=f"loss on {second} test names, nats a letter"
        )
        axes.set_title("Weights that sum to 1: down and to the left is better")
        if self.guess:
            diamond(axes, *self.guess)
            legend(axes, loc="upper right")


class Squares:
    """The base and the two adapters to scale, by their numbers, each adapter filled as high as its weight."""

    def __init__(self, axes, base, adapters, languages):
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

    def show(self, share):
        """Fill them for this share of the second adapter."""
        for fill, word, side, language, weight in zip(
            self._fills, self._words, self._sides, self._languages, (1 - share, share), strict=True
        ):
            fill.set_height(weight * side)
            word.set_text(f"{language}\n× {weight:.2f}")
