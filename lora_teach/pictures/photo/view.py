"""A photo's singular value decomposition: what the largest r outer products show of it, and what they cost."""

from lora_teach.datasets.photo import centred_pagoda
from lora_teach.live.explore import View
from lora_teach.measure.spectrum import energy_lost, factors, spectrum
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, figure, legend, line, panels, photo, styled

import numpy as np
import torch

SHOWN = (1, 2, 4, 8, 16, 48)  # ranks of the small multiples


class Photo(View):
    """A photo at rank r.

    Args:
        values: The photo, ``(rows, columns)``, with its mean grey as zero; None takes the pagoda.
    """

    def __init__(self, values=None):
        self.values = centred_pagoda() if values is None else values
        self.sigma = spectrum(self.values)  # (k,)
        self.A, self.B = factors(self.values, len(self.sigma))  # (rows, k), (k, columns): largest outer product first
        self.lost = 100 * energy_lost(self.values)  # (k + 1,), %
        self.stored = 100 * torch.arange(len(self.lost)) * sum(self.values.shape) / self.values.numel()  # (k + 1,), %
        self.sliders = {"rank": (1, len(self.sigma), min(8, len(self.sigma)))}
        self._draw()

    @styled
    def _draw(self):
        """Four panels: the sum of r outer products, the r-th alone, the singular values, lost and stored by rank."""
        made = figure(12, 3.2)
        first, second, third, fourth = panels(made, columns=4, grid=False, width_ratios=[1, 1, 1.2, 1.2])
        low, high = self.values.min().item(), self.values.max().item()
        self.sum, self.last = (photo(axes, np.zeros(self.values.shape), low, high) for axes in (first, second))
        self.titles = first.set_title("00 outer products"), second.set_title("number 00 alone")
        sigma = self.sigma.numpy()
        third.plot(range(1, len(sigma) + 1), sigma, **line("ghost", marker="o", markersize=3, linestyle=""))
        (self.kept,) = third.plot([], [], **line("best", marker="o", markersize=4, linestyle=""))
        third.grid(True)
        third.set(title="sizes σ, largest first", xlabel="outer product", ylabel="σ", xlim=(-2, len(sigma) + 2))
        third.set(yscale="log", ylim=(sigma[len(sigma) * 9 // 10], 1.5 * sigma[0]))
        third.yaxis.set_major_formatter("{x:g}")
        second.set_xlabel("contrast stretched", fontsize=9)
        self._curves(fourth)
        self.dots = [fourth.plot([], [], **line(role, linestyle=""))[0] for role in ("lora", "full")]
        self.picture = Picture(made, [self.sum, self.last, self.titles, self.kept, self.dots])

    def move(self, rank):
        """Show the photo at this rank."""
        last = (self.A[:, [rank - 1]] @ self.B[[rank - 1]]).numpy()  # (rows, columns)
        self.sum.set_data(self.best(rank).numpy())
        self.last.set_data(last)
        size = np.abs(last).max() or 1.0
        self.last.set_clim(-size, size)
        self.titles[0].set_text(f"{rank} outer product{'' if rank == 1 else 's'}")
        self.titles[1].set_text(f"number {rank} alone")
        self.kept.set_data(range(1, rank + 1), self.sigma[:rank])
        for dot, curve in zip(self.dots, (self.lost, self.stored), strict=True):
            dot.set_data([rank], [curve[rank]])
        numbers, whole = rank * sum(self.values.shape), self.values.numel()
        return (
            f"Rank {rank} loses {self.lost[rank]:.1f} % of the squared values and stores {numbers:,} numbers where the "
            f"photo has {whole:,}{': a saving no longer' if numbers >= whole else ''}."
        )

    def best(self, rank):
        """Return the sum of the largest ``rank`` outer products: ``(rows, columns)``."""
        return self.A[:, :rank] @ self.B[:rank]

    @styled
    def static_figure(self):
        """Six ranks side by side, and lost against stored for all; None for a photo too small for these ranks."""
        if len(self.sigma) < SHOWN[-1]:
            return None
        made, names = figure(12, 4.6), [f"rank {rank}" for rank in SHOWN]
        axes = made.subplot_mosaic([[*names[:3], "curves"], [*names[3:], "curves"]], width_ratios=[1, 1, 1, 1.9])
        for rank, name in zip(SHOWN, names, strict=True):
            photo(axes[name], self.best(rank), self.values.min().item(), self.values.max().item())
            axes[name].set_title(f"{name}: {self.lost[rank]:.1f} % lost", fontsize=10)
            axes[name].set_xlabel(f"{rank * sum(self.values.shape):,} numbers", fontsize=10)
        self._curves(axes["curves"])
        ranks, listed = ", ".join(map(str, SHOWN[:-1])), ", ".join(f"{self.lost[rank]:.0f} %" for rank in SHOWN[:-1])
        return show(
            made,
            f"Rank {ranks} lose {listed} of the squared values. From rank {int((self.stored < 100).sum())} on, the "
            "factors hold at least as many numbers as the photo.",
        )

    def _curves(self, axes):
        """Lost and stored by rank."""
        axes.plot(self.lost, **line("lora", marker="", label="squared error"))
        axes.plot(self.stored, **line("full", marker="", label="numbers stored"))
        even = int((self.stored < 100).sum())
        axes.annotate(
            f"as many as the photo\nat rank {even}", (even, 100), (6, -4), textcoords="offset points", va="top",
            fontsize=9, color=COLOURS["ink"],
        )  # fmt: skip
        axes.plot([even], [100], **line("full", marker="|", markersize=12, linestyle=""))
        axes.grid(True)
        axes.set(title="% of the whole photo", xlabel="rank r", ylabel="%", xlim=(0, len(self.sigma)), ylim=(0, 205))
        legend(axes, loc="upper left")


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
def draw_attempts(attempts, floor):
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
