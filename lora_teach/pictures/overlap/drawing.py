"""φ as heat maps: how much the leading directions of two updates have in common, beside chance."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import AMOUNT, COLOURS, figure, panels, styled


@dataclass
class Overlap:
    """The picture and what moves in it."""

    picture: Picture
    images: dict  # title -> AxesImage
    corners: dict  # title -> Text: φ of one direction each

    def show(self, maps: Mapping) -> None:
        """Show ``{title: (i, j)}``."""
        for title, values in maps.items():
            self.images[title].set_data(np.asarray(values))
            self.corners[title].set_text(f"{np.asarray(values)[0, 0]:.2f}")


@styled
def draw(rows: Mapping, labels: Mapping | None = None) -> Overlap:
    """Make the picture: a row of heat maps for each layer, the same colours in all, from 0 to 1.

    Args:
        rows: ``{layer: {title: φ (i, j)}}``; entry [0, 0] is one direction each.
        labels: ``{title: (what the rows count, what the columns count)}``.
    """
    titles = list(next(iter(rows.values())))
    fig = figure(9.6, 0.9 + 1.9 * len(rows))
    grid = panels(fig, rows=len(rows), columns=len(titles), grid=False, squeeze=False)
    images, corners = {}, {}
    for place, (layer, maps) in enumerate(rows.items()):
        for axes, title in zip(grid[place], titles, strict=True):
            values = np.asarray(maps[title])
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
            down, across = (labels or {}).get(title, ("first i directions", "first j directions"))
            axes.set_ylabel(f"{layer}\n{down}" if title == titles[0] and len(rows) > 1 else down)
            if place == len(rows) - 1:
                axes.set_xlabel(across)
    bar = fig.colorbar(images[titles[-1]], ax=grid, shrink=0.9, pad=0.02)
    bar.set_label("φ: 0 nothing in common, 1 all", size=9)
    return Overlap(Picture(fig, [images, corners]), images, corners)
