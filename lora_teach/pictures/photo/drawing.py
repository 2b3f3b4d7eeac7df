"""A photo at rank r: the picture, the outer products' sizes, and what is lost against what is stored."""

from dataclasses import dataclass

import numpy as np

from lora_teach.pictures.keyhole.drawing import photo
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, figure, legend, line, panels, styled


@dataclass
class Photo:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    sum: object  # AxesImage: the first r outer products together
    last: object  # AxesImage: the r-th alone
    titles: tuple  # over these two
    kept: object  # Line2D: the first r singular values
    dots: tuple  # Line2D, on the two curves
    lost: np.ndarray  # (k + 1,), %
    stored: np.ndarray

    def update(self, best, last, sigma, rank: int) -> None:
        """Show one rank.

        Args:
            best: The sum of the first ``rank`` outer products.
            last: The last of these alone.
            sigma: All singular values.
            rank: How many outer products.
        """
        self.sum.set_data(best)
        self.last.set_data(last)
        size = np.abs(last).max() or 1.0
        self.last.set_clim(-size, size)
        self.titles[0].set_text(f"{rank} outer product{'' if rank == 1 else 's'}")
        self.titles[1].set_text(f"number {rank} alone")
        self.kept.set_data(range(1, rank + 1), sigma[:rank])
        for dot, curve in zip(self.dots, (self.lost, self.stored), strict=True):
            dot.set_data([rank], [curve[rank]])


@styled
def draw_one(values):
    """The photo alone.

    Args:
        values: The photo, ``(rows, columns)``.

    Returns:
        A Figure.
    """
    made = figure(3.6, 2.8)
    photo(panels(made, grid=False), values, float(values.min()), float(values.max()))
    return made


@styled
def draw(values, sigma, lost, stored) -> Photo:
    """Four panels: the sum of r outer products, the r-th alone, the singular values, lost and stored by rank.

    Args:
        values: The photo, ``(rows, columns)``.
        sigma: Its singular values, ``(k,)``.
        lost: The squared error in % at rank 0, 1, …, ``(k + 1,)``.
        stored: The numbers of A and B in % of the photo's, ``(k + 1,)``.
    """
    made = figure(12, 3.2)
    first, second, third, fourth = panels(made, columns=4, grid=False, width_ratios=[1, 1, 1.2, 1.2])
    low, high = float(np.min(values)), float(np.max(values))
    total, last = (photo(axes, np.zeros_like(values), low, high) for axes in (first, second))
    titles = first.set_title("00 outer products"), second.set_title("number 00 alone")
    third.plot(range(1, len(sigma) + 1), sigma, **line("ghost", marker="o", markersize=3, linestyle=""))
    (kept,) = third.plot([], [], **line("best", marker="o", markersize=4, linestyle=""))
    third.grid(True)
    third.set(title="sizes σ, largest first", xlabel="outer product", ylabel="σ", xlim=(-2, len(sigma) + 2))
    third.set(yscale="log", ylim=(sigma[len(sigma) * 9 // 10], 1.5 * sigma[0]))
    third.yaxis.set_major_formatter("{x:g}")
    second.set_xlabel("contrast stretched", fontsize=9)
    _curves(fourth, lost, stored)
    dots = tuple(fourth.plot([], [], **line(role, linestyle=""))[0] for role in ("lora", "full"))
    return Photo(Picture(made, [total, last, *titles, kept, *dots]), total, last, titles, kept, dots, lost, stored)


@styled
def draw_ranks(values, bests: dict, lost, stored):
    """The same at several ranks at once, for a page whose slider doesn't move.

    Args:
        values: The photo, ``(rows, columns)``.
        bests: ``{rank: the photo at that rank}``; an even number of them.
        lost: As in `draw`.
        stored: As in `draw`.

    Returns:
        A Figure.
    """
    half = len(bests) // 2
    made = figure(12, 4.6)
    names = [f"rank {rank}" for rank in bests]
    axes = made.subplot_mosaic([[*names[:half], "curves"], [*names[half:], "curves"]], width_ratios=[*[1] * half, 1.9])
    low, high = float(np.min(values)), float(np.max(values))
    for (rank, best), name in zip(bests.items(), names, strict=True):
        photo(axes[name], best, low, high)
        axes[name].set_title(f"{name}: {lost[rank]:.1f} % lost", fontsize=10)
        axes[name].set_xlabel(f"{rank * sum(values.shape):,} numbers", fontsize=10)
    _curves(axes["curves"], lost, stored)
    return made


@styled
def draw_attempts(attempts: dict, floor: float):
    """How much each of many attempts at one rank loses, kind by kind, beside the least that this rank can lose.

    Args:
        attempts: ``{kind: [share lost, 0 to 1]}``, at most four kinds.
        floor: The share that the best loses.

    Returns:
        A Figure.
    """
    made = figure(9, 2.6)
    axes = panels(made)
    for place, (lost, role) in enumerate(zip(attempts.values(), ("third", "other", "lora", "full"), strict=False)):
        heights = place + 0.25 * np.sin(1.7 * np.arange(len(lost)) ** 1.5)  # spread out, so that dots don't hide dots
        axes.plot(100 * np.asarray(lost), heights, MARKERS[role], color=COLOURS[role], markersize=4, alpha=0.5)
    axes.axvline(100 * floor, **line("best", label="the SVD's cut"))
    axes.set_yticks(range(len(attempts)), attempts)
    axes.grid(False, axis="y")
    axes.set(xlabel="squared error, % of the squared values", xlim=(0, 100), ylim=(-0.6, len(attempts) - 0.4))
    legend(axes, loc="upper center")
    return made


def _curves(axes, lost, stored) -> None:
    ranks = range(len(lost))
    axes.plot(ranks, lost, **line("lora", marker="", label="squared error"))
    axes.plot(ranks, stored, **line("full", marker="", label="numbers stored"))
    even = np.argmax(np.asarray(stored) >= 100)
    axes.annotate(
        f"as many as the photo\nat rank {even}", (even, 100), (6, -4), textcoords="offset points", va="top", fontsize=9,
        color=COLOURS["ink"],
    )  # fmt: skip
    axes.plot([even], [100], **line("full", marker="|", markersize=12, linestyle=""))
    axes.grid(True)
    axes.set(title="% of the whole photo", xlabel="rank r", ylabel="%", xlim=(0, len(lost) - 1), ylim=(0, 205))
    legend(axes, loc="upper left")
