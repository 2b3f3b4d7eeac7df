"""Rehearsal: what a share of old names among the new ones keeps, beside what turning the adapter down keeps.

What is drawn lies in ``data/new_data.json`` and, for the dial, in ``data/turn_it_down.json``.
"""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.plots.die import die_axis
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

ASKED = 0.25  # the share that the guess is about


class Rehearsal(View):
    """A slider for the share of old names.

    Args:
        guess: The loss on the base's own test names that the learner expects at a share of 25 %, in nats a letter.
        yours: A run of the learner's own: (loss on the new language, loss on the base's own), drawn as a cross.
        result: What ``load_result("new_data")`` gives; None loads it.
        dial: What ``load_result("turn_it_down")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 10.
    """

    def __init__(self, guess=None, yours=None, result=None, dial=None):
        self.guess = check_guess(guess, 0, 10, "a loss in nats")
        result, dial = result or load_result("new_data"), dial or load_result("turn_it_down")
        self.new, self.own = (result["settings"][which] for which in ("new", "base"))
        runs = {float(share): np.array(seeds)[:, 1:] for share, seeds in result["results"]["rehearsal"].items()}
        self.runs = dict(sorted(runs.items()))  # share -> (seeds, 2): the new language, the base's own
        self.sliders = {"share": (list(self.runs), ASKED if ASKED in self.runs else next(iter(self.runs)))}
        self.labels = {"share": f"share of {self.own}"}
        self.base = np.array(result["results"]["start"]["base"])[1:]
        name, entry = next(iter(dial["results"].items()))
        self.strengths, self.dial, self.dialled = dial["settings"]["strengths"], np.array(entry["paths"]).mean(0), name
        self._draw(yours)

    @styled
    def _draw(self, yours):
        fig = figure(8.6, 4.2)
        axes = panels(fig)
        path = np.array([seeds.mean(0) for seeds in self.runs.values()])  # (shares, 2)
        kept = [at for at, strength in enumerate(self.strengths) if 0 < strength <= 1]
        axes.plot(
            *self.dial[kept].T, **line("lora", marker="", linestyle="--", label="04's dial: the adapter turned down")
        )
        for at in kept:
            if self.strengths[at] in (0.5, 0.75, 1):
                axes.annotate(
                    f"×{self.strengths[at]:g}",
                    self.dial[at],
                    (7, -3),
                    textcoords="offset points",
                    size=9,
                    color=COLOURS["lora"],
                )
        axes.plot(*path.T, **line("best", marker="o", linestyle="-", label=f"{self.own} names rehearsed"))
        for (share, seeds), point in zip(self.runs.items(), path, strict=True):
            axes.plot(*seeds.T, ".", color=COLOURS["best"], markersize=4, alpha=0.7)
            axes.annotate(f"{share:.0%}", point, (-12, -4), textcoords="offset points", size=9, ha="right", va="top")
        axes.axhline(self.base[1], color=COLOURS["base"], linestyle=":")
        axes.annotate(f"the base on {self.own}", (0.99, self.base[1]), (0, 4), xycoords=("axes fraction", "data"),
                      textcoords="offset points", size=9, ha="right")  # fmt: skip
        if yours is not None:
            axes.plot(
                *yours, "x", color=COLOURS["ink"], markersize=9, markeredgewidth=2, linestyle="", label="your own run"
            )
        every = np.concatenate(
            [*self.runs.values(), self.dial[kept], *([np.array([yours])] if yours is not None else [])]
        )
        low, high = every.min(0), every.max(0)
        room = 0.12 * (high - low)
        axes.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(self.base[1] - 0.15, high[1] + room[1]))
        if self.guess is not None and ASKED in self.runs:
            diamond(axes, self.runs[ASKED].mean(0)[0], min(self.guess, high[1] + room[1]))
        look = {
            "marker": MARKERS["lora"],
            "markersize": 14,
            "markerfacecolor": "none",
            "markeredgewidth": 2,
            "linestyle": "",
        }
        (self.dot,) = axes.plot([], [], color=COLOURS["ink"], **look)
        axes.set(
            xlabel=f"loss on {self.new} test names (nats a letter)",
            ylabel=f"loss on {self.own} test names (nats a letter)",
        )
        axes.set_title("Down and to the left is better")
        die_axis(axes)
        legend(axes, loc="upper right")
        self.picture = Picture(fig, [self.dot])

    def losses(self, share):
        """Return the mean losses over seeds at this share: (the new language, the base's own), nats a letter."""
        return tuple(self.runs[share].mean(0).tolist())

    def dial_at(self, own):
        """Return the new language's loss where the dial has this loss on the base's own; None beyond its ends."""
        path = sorted((old, new) for new, old in self.dial.tolist())
        olds, news = zip(*path, strict=True)
        return float(np.interp(own, olds, news)) if olds[0] <= own <= olds[-1] else None

    def move(self, share):
        """Stand at this share."""
        new, own = self.losses(share)
        self.dot.set_data([new], [own])
        turned = self.dial_at(own)
        beside = "" if turned is None else f" Turned down to the same {self.own} the adapter costs {turned:.2f}."
        guessed = self.your_guess(about=f" for {self.own}", shown=share == ASKED)
        more = f", in {1 / (1 - share):.2f} times the steps" if share else ""
        return (
            f"{share:.0%} {self.own} among the names{more}: {self.new} {new:.2f}, {self.own} {own:.2f} nats a letter."
            f"{beside}{guessed}"
        )

    def static_figure(self):
        """Return the picture, with the losses at each share under it."""
        told = "; ".join(
            f"{share:.0%}: {self.new} {self.losses(share)[0]:.2f}, {self.own} {self.losses(share)[1]:.2f}"
            for share in self.runs
        )
        self.move(next(iter(self.sliders.values()))[1])
        return show(
            self.picture, f"Nats a letter by the share of {self.own} names. {told}. Three seeds are the small dots."
        )
