"""Where the adapters go: NameGPT's weight matrices as a floor plan to scale, with adapters on those that are chosen.

A matrix of ``in_features`` rows and ``out_features`` columns has an area of that many weights. Its adapter stands
along its edges: A on the left, ``in_features`` high and r wide, and B on top, r high and ``out_features`` wide. So
weights are an area and an adapter is r times half a perimeter, which is why the two don't grow alike.
"""

from lora_teach.bases.name_gpt import LAYER_GROUPS, NameGPT
from lora_teach.config import LoRAConfig
from lora_teach.layers.build import sizes
from lora_teach.live.explore import View
from lora_teach.overlay.targets import choose
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np
from matplotlib.collections import PolyCollection

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
SHOWN = (8, 48)  # ranks of the small multiples


class Targets(View):
    """NameGPT's weight matrices to scale, adapters on those that are chosen, and the count of what trains.

    Args:
        base: A NameGPT; only its layers' names and sizes are read.
        guess: How many times as many numbers the MLP trains as attention does, at the same rank; None draws no guess.

    Raises:
        TypeError: ``guess`` is no number.
        ValueError: ``guess`` is not from 0 to 10.
    """

    sliders = {"targets": list(LAYER_GROUPS), "rank": (1, 48, 8)}

    def __init__(self, base=None, guess=None):
        self.guess = check_guess(guess, 0, 10, "a factor")
        base = NameGPT() if base is None else base
        self.adapted = {label: _layers(base, target_modules) for label, target_modules in LAYER_GROUPS.items()}
        self.weights = {label: sum(i * o for i, o in layers.values()) for label, layers in self.adapted.items()}
        self.total = sum(parameter.numel() for parameter in base.parameters())
        self._draw()

    def trainable(self, rank):
        """``{choice: numbers that train at this rank}``: r times the sum of each adapted layer's two sizes."""
        return {label: rank * sum(i + o for i, o in layers.values()) for label, layers in self.adapted.items()}

    @styled
    def _draw(self):
        """The plan above, and a bar for each choice of layers below it."""
        made = figure(9.6, 4.9)
        above, below = panels(made, rows=2, height_ratios=[1.75, 1])
        self.places = _floor(above, self.adapted["all"])
        above.set_title(
            "To scale, in_features down, out_features across. Orange: A, on the left of its matrix. Blue: B, on top.",
            fontsize=10,
        )
        self.tints, self.strips = _cover(above)
        rows, weights = np.arange(len(self.weights))[::-1], list(self.weights.values())
        frozen = {"facecolor": "none", "edgecolor": COLOURS["base"], "label": "frozen weights of these layers"}
        below.barh(rows, weights, height=0.7, **frozen)
        self.bars = below.barh(rows, 0, height=0.7, color=COLOURS["lora"], label="numbers that train: A and B")
        look = {"va": "center", "fontsize": 9, "color": COLOURS["lora"]}
        self.texts = [
            below.text(count + 4000, row, "000,000 train", **look) for row, count in zip(rows, weights, strict=True)
        ]
        below.set(xlim=(0, 1.15 * max(weights)), ylim=(-0.6, len(rows) - 0.4), xlabel="numbers")
        below.set_yticks(rows, self.weights)
        below.xaxis.set_major_formatter("{x:,.0f}")
        below.grid(False, axis="y")
        self.mark = diamond(below, None if self.guess is None else 0, rows[list(self.weights).index("MLP")])
        if self.mark is not None:
            self.mark.set_clip_on(True)
        legend(below, loc="upper right")
        moving = [self.tints, self.strips, self.bars, self.texts, [self.mark] if self.mark else []]
        self.picture = Picture(made, moving)

    def move(self, targets, rank):
        """Put adapters of this rank on the chosen layers and count."""
        trainable = self.trainable(rank)
        places = [self.places[name] for name in self.adapted[targets]]
        self.tints.set_verts([_corners(*place) for place in places])
        self.strips.set_verts([strip for place in places for strip in _strips(*place, rank)])
        for (choice, count), bar, text in zip(trainable.items(), self.bars, self.texts, strict=True):
            bar.set(width=count, alpha=1.0 if choice == targets else 0.35)
            text.set(text=f"{count:,} train", weight="bold" if choice == targets else "normal")
        if self.mark is not None:
            self.mark.set_xdata([self.guess * trainable["attention"]])
        count = trainable[targets]
        return (
            f"{targets} at rank {rank}: {count:,} numbers train, beside {self.weights[targets]:,} frozen weights in "
            f"{len(places)} layers; {count / (self.total + count):.1%} of all parameters."
        )

    def static_figure(self):
        """The four choices side by side at two ranks, with the sentence that can be read off them."""
        area = self.weights["MLP"] / self.weights["attention"]
        edges = self.trainable(1)["MLP"] / self.trainable(1)["attention"]
        return show(
            self._draw_choices(),
            "One of three equal blocks to scale, in_features down and out_features across. Orange: A, on the left of a "
            "matrix. Blue: B, on top. The counts are for all three blocks. The MLP's matrices have "
            f"{area:.2f} times attention's area, which is frozen, and {edges:.2f} times its edges, along which A and "
            "B stand. At rank 48 attention's adapter is as large as what it adapts.",
        )

    @styled
    def _draw_choices(self):
        """The first block under each choice, one row for each rank."""
        made = figure(9.6, 2.45 * len(SHOWN))
        made.get_layout_engine().set(h_pad=0.1)
        first = {name: size for name, size in self.adapted["all"].items() if name.startswith("blocks.0.")}
        for row, rank in zip(panels(made, rows=len(SHOWN), columns=len(self.adapted)), SHOWN, strict=True):
            for axes, (choice, names) in zip(row, self.adapted.items(), strict=True):
                places = _floor(axes, first)
                _cover(axes, [places[name] for name in names if name in places], rank)
                counts = f"{self.trainable(rank)[choice]:,} train, {self.weights[choice]:,} frozen"
                axes.set_title(f"{choice}, rank {rank}\n{counts}", fontsize=10)
        return made


def _layers(base, target_modules):
    """``{name: (in_features, out_features)}`` of the layers that these target modules adapt."""
    adapted = choose(base, LoRAConfig(rank=1, target_modules=target_modules)).adapted
    return {name: sizes(module) for name, module in adapted.items()}


def _floor(axes, layers):
    """Draw the bare matrices of these layers; return ``{name: (left, top, width, height)}``."""
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


def _cover(axes, places=(), rank=0):
    """Put adapters of this rank on the matrices at ``places``: tints over them and strips beside them."""
    strips = [strip for place in places for strip in _strips(*place, rank)]
    look = {"linewidth": 0.5, "snap": False}  # rank 1 stays visible
    tints = PolyCollection([_corners(*place) for place in places], alpha=0.3, color=COLOURS["base"], **look)
    made = tints, PolyCollection(strips, color=[COLOURS["A"], COLOURS["B"]], **look)  # A and B take turns
    for collection in made:
        axes.add_collection(collection)
    return made


def _strips(left, top, width, height, rank):
    """The corners of A, on the left of a matrix, and of B, on top of it, a hair's breadth away."""
    return [_corners(left - 6 - rank, top, rank, height), _corners(left, top - 6 - rank, width, rank)]


def _corners(left, top, width, height):
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
