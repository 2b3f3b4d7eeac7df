"""Sizes: models and adapters as squares whose areas are their numbers of parameters."""

from math import ceil, sqrt

from lora_teach.plots.style import COLOURS, figure, panels, styled

from matplotlib.patches import Rectangle

PAPER = "#E3E3E3"  # the frozen base


def square(axes, left, low, numbers, **look):
    """Add a square with an area of ``numbers`` in the axes' units, its lower left corner at ``(left, low)``."""
    side = sqrt(numbers)
    drawn = Rectangle((left, low), side, side, **({"edgecolor": COLOURS["base"], "facecolor": PAPER} | look))
    axes.add_patch(drawn)
    return drawn


def bare(axes):
    """Nothing of the axes is seen, and a unit is as long upwards as sideways."""
    axes.set_aspect("equal")
    axes.axis("off")


@styled
def draw(base, adapters, own="English"):
    """A whole model for each language, and one model with an adapter for each other language, all to one scale.

    Args:
        base: Numbers in the whole model.
        adapters: ``{language: numbers in its adapter}``.
        own: The base's own language.

    Returns:
        A Figure.
    """
    made = figure(9.4, 4.0)
    axes = panels(made, grid=False)
    bare(axes)
    side, gap, small = sqrt(base), 0.07 * sqrt(base), max(map(sqrt, adapters.values()))
    languages = [own, *adapters]
    columns = ceil(sqrt(len(languages)))
    rows = ceil(len(languages) / columns)
    for index, language in enumerate(languages):
        left, low = index % columns * (side + gap), (rows - 1 - index // columns) * (side + gap)
        square(axes, left, low, base)
        axes.text(left + side / 2, low + side / 2, language, ha="center", va="center")
    height = rows * (side + gap) - gap
    start = columns * (side + gap) + 1.2 * side
    square(axes, start, height - side, base)
    axes.text(start + side / 2, height - side / 2, f"{own}\n(the base)", ha="center", va="center")
    lines = ceil(len(adapters) / 2)
    for index, (language, numbers) in enumerate(adapters.items()):
        left = start + index // lines * 1.05 * side
        low = height - side - gap - small - index % lines * (small + gap)
        square(axes, left, low, numbers, facecolor=COLOURS["lora"], edgecolor=COLOURS["ink"])
        axes.text(left + small + gap, low + sqrt(numbers) / 2, language, va="center")
    whole, shared = base * len(languages), base + sum(adapters.values())
    axes.text(0, height + gap, f"a model each: {whole:,} numbers", va="bottom", size=11)
    axes.text(start, height + gap, f"one model, an adapter each: {shared:,}", va="bottom", size=11)
    axes.set(xlim=(-gap, start + 2.2 * side), ylim=(-gap, height + 0.3 * side))
    return made
