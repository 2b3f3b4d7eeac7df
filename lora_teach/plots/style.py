"""One style for every picture: colours by role with a second cue beside each, opaque white, labelled axes.

The colours are Okabe and Ito's eight, which people with the common colour blindnesses can tell apart. Colour never
carries a meaning alone: each role has a marker and a line style too. matplotlib's global settings are never touched,
and pyplot is never imported: figures belong to whoever made them and vanish with them.

A function in ``plots/<topic>.py`` is decorated with `styled`, makes a `figure`, asks it for `panels` and draws.
"""

import functools

from lora_teach.plots.picture import Picture, Still, settle, show

import matplotlib
import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "CYCLE", "LINES", "MARKERS", "AMOUNT", "PHOTO", "SIGNED", "Picture", "Still",
    "diamond", "figure", "legend", "line", "log2_axis", "make_room", "matrix", "panels", "photo", "settle", "show",
    "styled",
]  # fmt: skip

COLOURS = {
    "base": "#555555",  # the frozen model before any training
    "lora": "#0072B2",
    "full": "#D55E00",  # full fine-tuning
    "A": "#E69F00",  # the two factors, in every picture that has them apart: A orange, B blue and hatched
    "B": "#0072B2",
    "best": "#009E73",  # what mathematics allows at best: an SVD floor
    "other": "#E69F00",  # a second adapter, a variant
    "third": "#CC79A7",
    "fourth": "#56B4E9",
    "guess": "#000000",  # the learner's prediction, always a hollow diamond
    "ghost": "#C8C8C8",  # earlier moves, raw values behind a smoothed line
    "ink": "#222222",
}
MARKERS = {"base": "s", "lora": "o", "full": "^", "best": "", "other": "v", "third": "P", "fourth": "X", "guess": "D"}
LINES = {
    "base": ":",
    "lora": "-",
    "full": "--",
    "best": (0, (6, 2)),
    "other": "-.",
    "third": (0, (3, 1, 1, 1, 1, 1)),
    "fourth": (0, (1, 1)),
    "guess": "",
    "ghost": "-",
}
CYCLE = ("lora", "full", "best", "other", "third", "fourth")  # roles to take in turn for lines without one

AMOUNT = "cividis"  # colour map for values from zero up
SIGNED = "PuOr_r"  # for values around zero: purple below, orange above, white between
PHOTO = "gray"
GREYS = matplotlib.colormaps[PHOTO].resampled(32)  # enough for the eye; 256 nearly double a saved notebook's bytes

DPI = 100
LOOK = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": COLOURS["ink"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["base"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": COLOURS["base"],
    "ytick.color": COLOURS["base"],
}


def styled(function):
    """Decorator: what the function draws looks alike, whatever the user's matplotlib settings, which are put back."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        with matplotlib.style.context(["default", LOOK]):
            return function(*args, **kwargs)

    return wrapper


@styled
def figure(width=8.0, height=3.5):
    """An empty figure on opaque white with a canvas of its own; sizes in inches, 100 pixels each.

    Its constrained layout is solved once, when it becomes a `Picture` or is given to `show`.
    """
    made = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    return made


@styled
def panels(figure, rows=1, columns=1, *, grid=True, **options):
    """Axes in the house style: one for a 1×1 grid, else an array of them as ``Figure.subplots`` gives.

    Args:
        grid: Faint lines behind the data; turn it off for matrices and photos.
        options: ``Figure.subplots``'s own, such as ``width_ratios``, ``sharey`` or ``squeeze``.
    """
    made = figure.subplots(rows, columns, **options)
    for axes in [made] if not hasattr(made, "flat") else made.flat:
        axes.grid(grid)
        axes.tick_params(labelsize=LOOK["xtick.labelsize"], color=COLOURS["base"], labelcolor=COLOURS["ink"], length=3)
    return made


def line(role, **changes):
    """Keywords for ``axes.plot`` that draw a line in its role's colour, line style and marker.

    Example:
        >>> line("full", markevery=10)["color"]
        '#D55E00'
    """
    return {"color": COLOURS[role], "linestyle": LINES.get(role, "-"), "marker": MARKERS.get(role, "")} | changes


@styled
def matrix(axes, values, limit=None, *, cmap=SIGNED):
    """A matrix as a heat map, square cells, no ticks; returns the image, which can be a moving artist.

    Args:
        values: ``(rows, columns)``, anything ``numpy.asarray`` takes.
        limit: The colours span -limit to limit (0 to limit for other maps than `SIGNED`); ``None`` takes the largest
            magnitude. Fix it where the matrix moves, or colours mean something else after each move.
    """
    import numpy as np

    values = np.asarray(values, dtype=float)
    top = limit if limit is not None else (float(np.abs(values).max()) or 1.0)
    image = axes.imshow(values, cmap=cmap, vmin=-top if cmap == SIGNED else 0.0, vmax=top, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=COLOURS["ghost"])
    return image


def photo(axes, values, low, high):
    """A matrix in shades of grey, ``low`` black and ``high`` white; returns the image."""
    image = matrix(axes, values, cmap=GREYS)
    image.set_clim(low, high)
    return image


def diamond(axes, x, y, label="your guess"):
    """The learner's guess: a hollow diamond. ``None`` for x or y (no guess made) draws nothing and returns ``None``."""
    if x is None or y is None:
        return None
    (mark,) = axes.plot(
        [x], [y], "D", markersize=10, markerfacecolor="none", markeredgecolor=COLOURS["guess"], markeredgewidth=1.8,
        linestyle="", label=label, zorder=5, clip_on=False,
    )  # fmt: skip
    mark.set_in_layout(False)  # a guess far off the axes must not squeeze them
    return mark


def make_room(axes, guesses, most=1.0):
    """Let the y axis hold these guesses too, unless one lies more than ``most`` beyond it: a slip squeezes nothing."""
    low, high = axes.get_ylim()
    near = [guess for guess in guesses if low - most <= guess <= high + most]
    axes.set_ylim(min([low, *(guess - 0.05 for guess in near)]), max([high, *(guess + 0.05 for guess in near)]))


def log2_axis(axes, values, labels=None):
    """Make the x axis logarithmic to base 2, with a tick at each value and plain numbers, or ``labels``, below them."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values] if labels is None else labels, minor=False)


@styled
def legend(axes, **options):
    """A legend in the house style; ``options`` are ``Axes.legend``'s own."""
    return axes.legend(**({"frameon": False, "fontsize": LOOK["legend.fontsize"]} | options))
