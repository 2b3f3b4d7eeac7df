"""A model's weight matrices as a floor plan, drawn to scale, with the adapters on those that are adapted.

A matrix of ``in_features`` rows and ``out_features`` columns has an area of that many weights. Its adapter stands
along its edges: A on the left, ``in_features`` high and r wide, and B on top, r high and ``out_features`` wide. So
weights are an area and an adapter is r times half a perimeter, which is why the two don't grow alike.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.collections import PolyCollection

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, figure, legend, panels, styled

WIDTH, HIDDEN = 96, 384  # NameGPT's sizes
ROOM = 66  # features between two matrices: the strips of the highest rank stand there
STEP = WIDTH + ROOM
PLACES = {  # left and top edge of a matrix in its block, in features: q k over v o, up below them, down at the right
    "q_proj": (0, 0),
    "k_proj": (STEP, 0),
    "v_proj": (0, STEP),
    "o_proj": (STEP, STEP),
    "up_proj": (0, 2 * STEP),
    "down_proj": (HIDDEN + ROOM, 0),
}
BLOCK = HIDDEN + WIDTH + 2 * ROOM + 20  # from one block's left edge to the next one's


@dataclass
class Plan:
    """The picture, where the matrices stand in it, and the artists that move."""

    picture: Picture
    places: dict  # name of a layer -> (left, top, width, height) of its matrix
    tints: PolyCollection  # over the adapted matrices
    strips: PolyCollection  # A and B beside them
    bars: list  # one a choice: the numbers that train
    texts: list  # one a choice, at the bar's end
    guess: object  # Line2D, or None

    def update(self, adapted, rank: int, trainable: dict, chosen: str, guess: float | None = None) -> None:
        """Draws one choice.

        Args:
            adapted: Names of the layers that have an adapter.
            rank: Their rank.
            trainable: ``{choice: how many numbers it trains at this rank}``.
            chosen: The choice that the plan shows.
            guess: Where the diamond stands, if there is one.
        """
        places = [self.places[name] for name in adapted]
        self.tints.set_verts([_corners(*place) for place in places])
        self.strips.set_verts([strip for place in places for strip in _strips(*place, rank)])
        for (choice, count), bar, text in zip(trainable.items(), self.bars, self.texts, strict=True):
            bar.set_width(count)
            bar.set_alpha(1.0 if choice == chosen else 0.35)
            text.set_text(f"{count:,} train")
            text.set_weight("bold" if choice == chosen else "normal")
        if self.guess is not None:
            self.guess.set_xdata([guess])


@styled
def draw(layers: dict, weights: dict, guess: bool = False) -> Plan:
    """The plan above, and a bar for each choice of layers below it.

    Args:
        layers: ``{name: (in_features, out_features)}`` of NameGPT's linear layers, such as "blocks.0.mlp.up_proj".
        weights: ``{choice: how many weights the layers have that it adapts}``; one choice is "MLP".
        guess: Whether there is a diamond for a guess, in the row of "MLP".
    """
    made = figure(9.6, 4.9)
    above, below = panels(made, rows=2, height_ratios=[1.75, 1])
    places = _floor(above, layers)
    above.set_title(
        "To scale, in_features down and out_features across. Dark: A on the left of its matrix, B on top.", fontsize=10
    )
    tints, strips = _cover(above)
    rows = np.arange(len(weights))[::-1]
    below.barh(
        rows,
        weights.values(),
        height=0.7,
        facecolor="none",
        edgecolor=COLOURS["base"],
        label="frozen weights of these layers",
    )
    bars = below.barh(rows, 0, height=0.7, color=COLOURS["lora"], label="numbers that train: A and B")
    texts = [
        below.text(count + 4000, row, "000,000 train", va="center", fontsize=9, color=COLOURS["lora"])
        for row, count in zip(rows, weights.values(), strict=True)
    ]
    below.set(xlim=(0, 1.15 * max(weights.values())), ylim=(-0.6, len(rows) - 0.4), xlabel="numbers")
    below.set_yticks(rows, weights)
    below.xaxis.set_major_formatter("{x:,.0f}")
    below.grid(False, axis="y")
    mark = None
    if guess:
        row = rows[list(weights).index("MLP")]
        (mark,) = below.plot([0], [row], "D", markersize=10, markerfacecolor="none", markeredgecolor=COLOURS["guess"],
                             markeredgewidth=1.8, linestyle="", label="your guess", zorder=5)  # fmt: skip
    legend(below, loc="upper right")
    picture = Picture(made, [tints, strips, *bars, texts, *([mark] if guess else [])])
    return Plan(picture, places, tints, strips, list(bars), texts, mark)


@styled
def draw_choices(layers: dict, adapted: dict, weights: dict, trainable: dict):
    """The choices side by side on the first block, one row for each rank: a figure that needs no slider.

    Args:
        layers: ``{name: (in_features, out_features)}`` of the first block's linear layers.
        adapted: ``{choice: names of the layers that it adapts}``.
        weights: ``{choice: how many weights these layers have in the whole model}``.
        trainable: ``{rank: {choice: how many numbers it trains in the whole model}}``.
    """
    made = figure(9.6, 2.45 * len(trainable))
    made.get_layout_engine().set(h_pad=0.1)
    grid = panels(made, rows=len(trainable), columns=len(adapted), squeeze=False)
    for row, (rank, counts) in zip(grid, trainable.items(), strict=True):
        for axes, (choice, names) in zip(row, adapted.items(), strict=True):
            places = _floor(axes, layers)
            _cover(axes, [places[name] for name in names if name in places], rank)
            axes.set_title(f"{choice}, rank {rank}\n{counts[choice]:,} train, {weights[choice]:,} frozen", fontsize=10)
    return made


def _floor(axes, layers: dict) -> dict:
    """Draws the bare matrices of these layers; returns ``{name: (left, top, width, height)}``."""
    places = {}
    blocks = sorted({int(name.split(".")[1]) for name in layers})
    for name, (in_features, out_features) in layers.items():
        _, block, *_, kind = name.split(".")
        left, top = PLACES[kind]
        left += blocks.index(int(block)) * BLOCK
        places[name] = (left, top, out_features, in_features)
        axes.text(left + out_features / 2, top + in_features / 2, kind.removesuffix("_proj"), ha="center", va="center",
                  fontsize=9, rotation=90 if in_features > out_features else 0, color=COLOURS["ink"])  # fmt: skip
    matrices = [_corners(*place) for place in places.values()]
    axes.add_collection(PolyCollection(matrices, facecolor="#EDEDED", edgecolor=COLOURS["base"], linewidth=0.8))
    head = 50 if len(blocks) > 1 else 0  # room for the blocks' names
    for place, block in enumerate(blocks if head else ()):
        axes.text(place * BLOCK, -ROOM - 4, f"block {block}", fontsize=10, va="bottom", color=COLOURS["ink"])
    axes.set(xlim=(-ROOM, len(blocks) * BLOCK - ROOM - 10), ylim=(2 * STEP + WIDTH + 4, -ROOM - head), aspect="equal")
    axes.axis("off")
    return places


def _cover(axes, places=(), rank: int = 0):
    """Puts adapters of this rank on the matrices at ``places``: tints over them and strips beside them."""
    strips = [strip for place in places for strip in _strips(*place, rank)]
    look = {"color": COLOURS["lora"], "linewidth": 0.5, "snap": False}  # rank 1 stays visible
    made = PolyCollection([_corners(*place) for place in places], alpha=0.2, **look), PolyCollection(strips, **look)
    for collection in made:
        axes.add_collection(collection)
    return made


def _strips(left, top, width, height, rank):
    """The corners of A, on the left of a matrix, and of B, on top of it, a hair's breadth away."""
    return [_corners(left - 6 - rank, top, rank, height), _corners(left, top - 6 - rank, width, rank)]


def _corners(left, top, width, height):
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
