"""TwoRates: A's learning rate against B's, with the diagonal on which both are one."""

import math

from lora_teach.live.explore import View
from lora_teach.measure.variants import RATIO
from lora_teach.pictures.own_rate.numbers import spaced
from lora_teach.pictures.two_rates.numbers import best_by_ratio, table
from lora_teach.plots import COLOURS, Picture, diamond, figure, legend, line, panels, styled
from lora_teach.plots.style import AMOUNT
from lora_teach.utils.validation import check_guess

from matplotlib.patheffects import withStroke

MOST = 1e4  # times: the largest ratio that can be guessed, and the inverse of the smallest
EDGE = [withStroke(linewidth=3, foreground=COLOURS["ink"])]  # white lines and words over yellow


class TwoRates(View):
    """A heat map of the share read right over both rates; beside it the best for each ratio of the two.

    Args:
        guess: The best ratio of B's rate to A's, as the learner expects it.

    Raises:
        TypeError: ``guess`` is no number.
        ValueError: ``guess`` is not from 0.0001 to 10000.
    """

    labels = {"rate_of_A": "rate of A", "rate_of_B": "rate of B"}

    def __init__(self, guess=None):
        self.guess = check_guess(guess, 1 / MOST, MOST, "a ratio")
        self.rates, self.shares = table()
        middle = self.rates[len(self.rates) // 2]
        self.sliders = {"rate_of_A": (self.rates, middle), "rate_of_B": (self.rates, middle)}
        self.by_ratio = best_by_ratio(self.shares)
        self.ratios = {
            apart: self.rates[max(apart, 0)] / self.rates[max(-apart, 0)] for apart in self.by_ratio
        }  # the grid's factors are alike
        self._draw()

    @styled
    def _draw(self):
        made = figure(9.6, 4.5)
        left, right = panels(made, columns=2, width_ratios=[1, 1.25])
        left.grid(False)
        image = left.imshow(self.shares, cmap=AMOUNT, vmin=0, vmax=1, origin="lower")
        made.colorbar(image, ax=left, shrink=0.85, format=lambda share, _: f"{share:.0%}")
        last = len(self.rates) - 1
        left.plot([0, last], [0, last], color="white", linewidth=1.6, path_effects=EDGE)
        left.annotate("one rate for both", (0, 0), (6, 12), textcoords="offset points", color="white",
                      size=9, rotation=45, rotation_mode="anchor", path_effects=EDGE)  # fmt: skip
        above = math.log(RATIO) / math.log(self.rates[1] / self.rates[0])  # in cells
        left.plot([above, last], [0, last - above], color="white", linewidth=1.6, linestyle="--", path_effects=EDGE)
        left.annotate("LoRA+", (above, 0), (22, 8), textcoords="offset points", color="white", size=9,
                      rotation=45, rotation_mode="anchor", path_effects=EDGE)  # fmt: skip
        ring = {"markersize": 15, "markerfacecolor": "none", "markeredgecolor": "white", "markeredgewidth": 2.4}
        (self.ring,) = left.plot([], [], "o", **ring)
        labels = [f"{rate:g}" for rate in self.rates]
        left.set_xticks(range(len(labels)), labels, rotation=60)
        left.set_yticks(range(len(labels)), labels)
        left.set(xlabel="learning rate of B", ylabel="learning rate of A", title="Validation digits read right")
        ratios, bests = list(self.ratios.values()), [best for best, _ in self.by_ratio.values()]
        right.plot(ratios, bests, **line("lora", label="best at this ratio"))
        (self.dot,) = right.plot([], [], "o", **ring | {"markeredgecolor": COLOURS["ink"]})
        for ratio, text in ((1, "one rate"), (RATIO, "LoRA+")):
            right.axvline(ratio, color=COLOURS["base"], linestyle=":", linewidth=1.2)
            right.annotate(text, (ratio, 0.02), (4, 0), textcoords="offset points", size=9, color=COLOURS["base"])
        right.set_xscale("log")
        right.set(xlabel="B's rate / A's rate", ylim=(0, 1.03), title="Best along each diagonal")
        right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        diamond(right, self.guess, 0.97)
        legend(right, loc="lower left", bbox_to_anchor=(0, 0.06))
        self.picture = Picture(made, [self.ring, self.dot])

    def move(self, rate_of_A, rate_of_B):
        """Ring the place of these two rates, and their ratio."""
        a, b = self.rates.index(rate_of_A), self.rates.index(rate_of_B)
        self.ring.set_data([b], [a])
        self.dot.set_data([self.ratios[b - a]], [self.shares[a][b]])
        here, one = self.shares[a][b], self.by_ratio[0]
        best = max(self.by_ratio, key=lambda apart: self.by_ratio[apart])
        return (
            f"A at {rate_of_A:g}, B at {rate_of_B:g}: {spaced(here)} read right. The best with one rate for both: "
            f"{spaced(one[0], '.1%')} at {self.rates[one[1]]:g}; the best of all: "
            f"{spaced(self.by_ratio[best][0], '.1%')}, B's rate {self.ratios[best]:.2g} times A's."
            + self.your_guess("g", about=" for the ratio")
        )
