"""Overlap: do two updates that were trained apart point the same way? φ as heat maps, with chance beside.

What is drawn lies in ``data/learned.json``; `lora_teach.measure.subspace` says what φ is.
"""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.measure.subspace import random_similarity, similarity_map
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import AMOUNT, COLOURS, figure, panels, styled

import numpy as np
import torch

PAPERS = ("q", "v")  # the layers that the paper's Figures 3 and 4 show
LABELS = {  # title of a map: what its rows count, what its columns count
    "r=8 and r=64": ("i of r = 8", "j of r = 64"),
    "r=64, two seeds": ("i of one seed", "j of the other"),
    "chance": ("i, drawn at random", "j, drawn at random"),
}


class Overlap(View):
    """Buttons for the layers of one block of NameGPT; three heat maps: ranks 8 and 64, two seeds, and chance.

    Args:
        result: What ``load_result("learned")`` gives; None loads it.
    """

    def __init__(self, result=None):
        result = result or load_result("learned")
        self.language = result["settings"]["mapped"]["language"]
        self._similarities = result["results"][self.language]["similarities"]
        names = next(iter(self._similarities["maps"].values()))
        self._names = {name.split(".")[-1].removesuffix("_proj"): name for name in names}
        self.sliders = {"layer": list(self._names)}
        fig, self.images, self.corners = draw_maps({"": self.maps(next(iter(self._names)))})
        self.picture = Picture(fig, [self.images, self.corners])

    def maps(self, layer):
        """``{title: φ (i, j)}`` of a layer; the last is of two random subspaces of the same sizes."""
        name = self._names[layer]
        maps = {title: torch.tensor(layers[name]) for title, layers in self._similarities["maps"].items()}
        generator = torch.Generator().manual_seed(len(name))
        inputs = self._similarities["inputs"][name]
        drawn = (torch.randn(inputs, size, generator=generator) for size in next(iter(maps.values())).shape)
        return maps | {"chance": similarity_map(*drawn)}

    def move(self, layer):
        """Show this layer."""
        maps = self.maps(layer)
        for title, values in maps.items():
            self.images[title].set_data(values.numpy())
            self.corners[title].set_text(f"{values[0, 0]:.2f}")
        ranks, seeds = (maps[title] for title in list(LABELS)[:2])
        inputs = self._similarities["inputs"][self._names[layer]]
        rows, columns = ranks.shape
        return (
            f"{self.language}, {layer} of the middle block, {inputs} inputs. The first direction of r = 8 and r = 64: "
            f"φ = {ranks[0, 0]:.2f}; of two seeds: {seeds[0, 0]:.2f}; by chance {random_similarity(inputs, 1, 1):.2f}. "
            f"The first {rows} and {columns}: {ranks[-1, -1]:.2f} and {seeds[-1, -1]:.2f}; by chance "
            f"{random_similarity(inputs, rows, columns):.2f}."
        )

    def static_figure(self):
        """The paper's two layers."""
        rows = {layer: self.maps(layer) for layer in PAPERS}
        first = {layer: [maps[title][0, 0].item() for title in list(LABELS)[:2]] for layer, maps in rows.items()}
        said = "; ".join(f"{layer}: {ranks:.2f} and {seeds:.2f}" for layer, (ranks, seeds) in first.items())
        fig, images, corners = draw_maps(rows)
        return show(
            Picture(fig, [images, corners]),
            f"The number in each corner is φ of the first directions. Ranks 8 and 64, and two seeds, in {said}. Chance "
            "grows with the number of directions too, toward the lower right.",
        )


@styled
def draw_maps(rows):
    """Draw a row of heat maps for each layer, the same colours in all, from 0 to 1.

    ``rows`` is ``{layer: {title: φ (i, j)}}``. Returns the Figure and the last row's ``{title: image}`` and
    ``{title: the Text of φ[0, 0]}``.
    """
    titles = list(next(iter(rows.values())))
    fig = figure(9.6, 0.9 + 1.9 * len(rows))
    grid = panels(fig, rows=len(rows), columns=len(titles), grid=False, squeeze=False)
    images, corners = {}, {}
    for place, (layer, maps) in enumerate(rows.items()):
        for axes, (title, values) in zip(grid[place], maps.items(), strict=True):
            values = np.asarray(values)
            high, wide = values.shape
            images[title] = axes.imshow(
                values, cmap=AMOUNT, vmin=0, vmax=1, aspect="auto", extent=(0.5, wide + 0.5, high + 0.5, 0.5)
            )
            corners[title] = axes.text(
                1, 1, f"{values[0, 0]:.2f}", size=8, ha="left", va="center", color="white",
                bbox={"facecolor": COLOURS["ink"], "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
            axes.set_xticks([1, *range(4, wide + 1, 4)])
            axes.set_yticks([1, *range(4, high + 1, 4)])
            if place == 0:
                axes.set_title(title, size=10)
            down, across = LABELS[title]
            axes.set_ylabel(f"{layer}\n{down}" if title == titles[0] and len(rows) > 1 else down)
            if place == len(rows) - 1:
                axes.set_xlabel(across)
    bar = fig.colorbar(images[titles[-1]], ax=grid, shrink=0.9, pad=0.02)
    bar.set_label("φ: 0 nothing in common, 1 all", size=9)
    return fig, images, corners
