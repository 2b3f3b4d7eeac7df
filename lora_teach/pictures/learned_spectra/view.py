"""Spectra: how many directions of a finished update hold most of it, for full fine-tuning and LoRA.

What is drawn lies in ``data/learned.json``; ``data/make_learned.py`` says what a spectrum is. Beside the learned
updates stand random ones of the same rank, from ``data/control.json``: what is uneven in them was not learned.
"""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, log2_axis, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

KINDS = {
    "all layers": "",
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "o": "o_proj",
    "MLP up": "up_proj",
    "MLP down": "down_proj",
}
ROLES = ("other", "third", "lora", "best", "full")  # LoRA's ranks from low to high, then full fine-tuning
DRAWN = ("LoRA r=8", "full")  # beside whom a random update stands
SHARE = 0.9
TICKS = (1, 2, 4, 8, 16, 32, 64, 96)


class Spectra(View):
    """A slider over directions, and buttons for the kind of layer.

    Args:
        guess: How many directions, the learner thinks, hold 90 % of full fine-tuning's update.
        result: What ``load_result("learned")`` gives; None loads it.
        control: What ``load_result("control")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 1 to 96.
    """

    sliders = {"directions": (1, 96, 8), "layers": list(KINDS)}

    @styled
    def __init__(self, guess=None, result=None, control=None):
        self.guess = check_guess(guess, 1, 96, "a number of directions")
        result, control = result or load_result("learned"), control or load_result("control")
        self.language = result["settings"]["mapped"]["language"]
        contenders = result["results"][self.language]["contenders"]
        self._spectra = {name: entry["spectra"] for name, entry in contenders.items()}
        self._drawn = {name: control["results"][self.language][name]["spectra"] for name in DRAWN}
        fig = figure(9.4, 3.9)
        left, right = panels(fig, columns=2)
        self.lines, self.dots, self.here = {}, {}, []  # contender -> its Line2D of σ, and of the share held
        for role, name in zip(ROLES, self._spectra, strict=True):
            look = line(role, markersize=4, markevery=[0, -1])
            big = {"linestyle": "", "marker": MARKERS[role] or "s", "color": COLOURS[role], "markersize": 8}
            self.lines[name] = left.plot([], [], **look)[0], right.plot([], [], **look, label=name)[0]
            self.dots[name] = left.plot([], [], **big)[0], right.plot([], [], **big)[0]
        self.random = {name: right.plot([], [], **_ghost())[0] for name in DRAWN}
        self.random["full"].set_label("random, r=8 and full")
        right.axhline(SHARE, color=COLOURS["ghost"], linewidth=1.2, zorder=0)
        right.annotate("90 %", (1, SHARE), (2, 3), textcoords="offset points", size=9, color=COLOURS["base"])
        diamond(right, self.guess, SHARE)
        largest = max(max(sigma) for spectra in self._spectra.values() for sigma in spectra.values())
        left.set(ylabel="singular value σ of ΔW", title="How large each direction is", yscale="log")
        left.set_ylim(largest / 300, largest * 1.4)
        right.set(ylabel="share of the squares of ΔW", title="How much the leading ones hold", ylim=(0, 1.04))
        for axes, label in ((left, "direction, the largest first"), (right, "number of leading directions")):
            log2_axis(axes, TICKS)
            axes.set(xlabel=label, xlim=(0.9, 107))
            self.here += axes.plot([1, 1], [0, 1], color=COLOURS["ink"], lw=1, transform=axes.get_xaxis_transform())
        legend(right, loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
        self.picture = Picture(fig, [self.here, self.lines, self.dots, self.random])

    def values(self, kind):
        """``{contender: σ (rank,)}``, means over the layers of a kind."""
        return {name: np.mean(_chosen(spectra, kind), axis=0) for name, spectra in self._spectra.items()}

    def held(self, kind, random=False):
        """``{contender: share of the squares that 1, 2, … directions hold (rank,)}``, means over the layers.

        With ``random`` of the random updates beside them.
        """
        updates = self._drawn if random else self._spectra
        squares = {name: np.square(_chosen(spectra, kind)) for name, spectra in updates.items()}  # (layers, rank) each
        return {name: (of.cumsum(1) / of.sum(1, keepdims=True)).mean(0) for name, of in squares.items()}

    def count(self, kind, random=False):
        """``{contender: how many directions hold 90 %}``, of the mean over the layers; as `held`."""
        return {name: int((shares < SHARE - 1e-9).sum()) + 1 for name, shares in self.held(kind, random).items()}

    def move(self, directions, layers):
        """Stand at this many directions, in layers of this kind."""
        held = self.held(layers)
        for here in self.here:
            here.set_xdata([directions, directions])
        for name, sigma in self.values(layers).items():
            at = np.arange(1, len(sigma) + 1)
            for drawn, dot, heights in zip(self.lines[name], self.dots[name], (sigma, held[name]), strict=True):
                drawn.set_data(at, heights)
                dot.set_data(at[directions - 1 : directions], heights[directions - 1 : directions])
        for name, shares in self.held(layers, random=True).items():
            self.random[name].set_data(np.arange(1, len(shares) + 1), shares)
        said = ", ".join(f"{name} {shares[min(directions, len(shares)) - 1]:.0%}" for name, shares in held.items())
        return (
            f"{self.language}, {layers}: the {directions} leading directions hold {said} of the update. "
            f"90 % of full fine-tuning's takes {self.count(layers)['full']}, of a random update of its size "
            f"{self.count(layers, random=True)['full']}.{self.your_guess('g')}"
        )

    @styled
    def static_figure(self):
        """The share held, a panel for each kind of layer, and where 90 % are reached."""
        kinds = list(KINDS)[1:]
        fig = figure(9.4, 4.9)
        grid = panels(fig, rows=2, columns=(len(kinds) + 1) // 2, sharex=True, sharey=True).flat
        needs = []
        for axes, kind in zip(grid, kinds, strict=False):
            counts = self.count(kind)
            needs.append(counts["full"])
            for role, (name, shares) in zip(ROLES, self.held(kind).items(), strict=True):
                at = np.arange(1, len(shares) + 1)
                axes.plot(at, shares, **line(role, marker="", linewidth=1.4, label=name))
                mark = {"marker": MARKERS[role] or "s", "color": COLOURS[role], "markersize": 6}
                axes.plot([counts[name]], [shares[counts[name] - 1]], **mark)
            for place, shares in enumerate(self.held(kind, random=True).values()):
                label = None if place else "random, r=8 and full"
                axes.plot(np.arange(1, len(shares) + 1), shares, **_ghost(), label=label)
            axes.axhline(SHARE, color=COLOURS["ghost"], linewidth=1.2, zorder=0)
            log2_axis(axes, TICKS[::2])
            axes.set(title=f"{kind}: full needs {counts['full']}", ylim=(0, 1.04), xlim=(0.9, 107))
            axes.title.set_fontsize(10)
        fig.supxlabel("number of leading directions", size=10)
        fig.supylabel("share of the squares of ΔW", size=10)
        legend(grid[0], loc="lower right", fontsize=8, frameon=True, framealpha=0.9, edgecolor="none")
        learned, random = (self.count("all layers", random) for random in (False, True))
        return show(
            fig,
            f"Updates for {self.language} names. Full fine-tuning's takes {min(needs)} to {max(needs)} of 96 "
            "directions to hold 90 % of its squares (marks); a random update as large takes "
            f"{random['full']}. LoRA's of rank 8 takes {learned['LoRA r=8']}, a random one {random['LoRA r=8']}.",
        )


def _chosen(spectra, kind):
    return [sigma for layer, sigma in spectra.items() if layer.endswith(KINDS[kind])]


def _ghost():
    return {"color": COLOURS["base"], "linestyle": ":", "linewidth": 1.2}
