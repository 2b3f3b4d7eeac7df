"""Turn it down: what the new language loses, and English gets back, when a finished update is scaled.

What is drawn lies in ``data/turn_it_down.json``; `lora_teach.measure.strength` says what a path is.
"""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.plots.die import die_axis
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, make_room, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

NAMED = (0, 0.25, 0.5, 0.75, 1, 1.5)  # strengths that are written beside the path
ROLES = ("lora", "full")


class TurnItDown(View):
    """A strength slider over LoRA's update, with the scaled full update beside it.

    Args:
        guess: The learner's loss on English at strength 0.75, in nats a letter.
        yours: A run of the learner's own, ``{strength: (new language, English)}``, drawn as crosses.
        result: What ``load_result("turn_it_down")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 10.
    """

    def __init__(self, guess=None, yours=None, result=None):
        self.guess = check_guess(guess, 0, 10, "a loss in nats")
        result = result or load_result("turn_it_down")
        self.language, self.strengths = result["settings"]["language"], result["settings"]["strengths"]
        self.sliders = {"strength": (self.strengths, 0.75)}
        self.paths = {name: np.array(entry["paths"]) for name, entry in result["results"].items()}
        self.means = {name: paths.mean(0) for name, paths in self.paths.items()}  # (strengths, 2)
        self._draw(yours)

    @styled
    def _draw(self, yours):
        """Make the picture."""
        fig = figure(9.2, 3.9)
        left, right = panels(fig, columns=2, width_ratios=[1, 1.05], sharey=True)
        self.dots = {}  # contender -> (new language by strength, English by strength, the path): Line2D each
        for role, (name, path) in zip(ROLES, self.means.items(), strict=True):
            left.plot(self.strengths, path[:, 0], **line(role, marker="", label=name))
            left.plot(self.strengths, path[:, 1], **line(role, marker=""))
            for seed in self.paths[name]:
                right.plot(seed[:, 0], seed[:, 1], **line(role, marker="", linewidth=0.8, alpha=0.4))
            right.plot(path[:, 0], path[:, 1], **line(role, marker="", label=name))
            look = {"linestyle": "", "marker": MARKERS[role], "color": COLOURS[role], "markersize": 9}
            self.dots[name] = [axes.plot([], [], **look)[0] for axes in (left, left, right)]
        for strength, (new, old) in zip(self.strengths, next(iter(self.means.values())), strict=True):
            if strength in NAMED:
                right.plot([new], [old], "o", color=COLOURS["lora"], markersize=4)
                at = {0: (-7, 9), 1: (10, -3)}.get(strength, (7, 5))  # beside the path, which turns back near ×1
                right.annotate(f"×{strength:g}", (new, old), at, textcoords="offset points", size=9, va="center")
        highest = np.max(list(self.means.values()), axis=0)  # (strengths, 2)
        for place, text, at, side in ((0, self.language, 1.1, "center"), (1, "English", 0.68, "right")):
            height = float(np.interp(at, self.strengths, highest[:, place]))
            left.annotate(text, (at, height), (0, 9), textcoords="offset points", size=10, ha=side, weight="bold")
        if yours:
            look = {"color": COLOURS["ink"], "markersize": 8, "markeredgewidth": 1.6, "linestyle": ""}
            for place in (0, 1):
                left.plot(list(yours), [pair[place] for pair in yours.values()], "x", **look)
            right.plot(*zip(*yours.values(), strict=True), "x", label="your own run", **look)
        left.set_ylim(highest.min() - 0.3, highest.max() + 0.3)
        if diamond(left, 0.75, self.guess):
            make_room(left, [self.guess])
        (self.here,) = left.plot([1, 1], [0, 1], color=COLOURS["ink"], lw=1, transform=left.get_xaxis_transform())
        left.set(xlabel="strength (× the trained update)", ylabel="loss on test names (nats a letter)")
        left.set_title("Both losses")
        left.set_xticks(np.arange(0, self.strengths[-1] + 0.1, 0.25))
        right.set(xlabel=f"loss on {self.language} (nats a letter)", ylabel="loss on English (nats a letter)")
        right.set_title("The same as a path: down and to the left is better")
        right.tick_params(labelleft=True)
        die_axis(right)
        legend(right, loc="upper right")
        self.picture = Picture(fig, [self.here, self.dots])

    def losses(self, strength):
        """``{contender: (new language, English)}`` at a strength, the means of the seeds, in nats a letter."""
        place = self.strengths.index(strength)
        return {name: tuple(path[place].tolist()) for name, path in self.means.items()}

    def move(self, strength):
        """Stand at this strength."""
        losses = self.losses(strength)
        self.here.set_xdata([strength, strength])
        for name, (new, old) in losses.items():
            for dot, x, y in zip(self.dots[name], (strength, strength, new), (new, old, old), strict=True):
                dot.set_data([x], [y])
        said = "; ".join(
            f"{name} {new:.2f} nats on {self.language}, {old:.2f} on English" for name, (new, old) in losses.items()
        )
        guessed = self.your_guess(about=" for English", shown=strength == 0.75)
        return f"At ×{strength:g}: {said}. {self._trade(strength)}{guessed}"

    def _trade(self, strength):
        """What the first contender pays and gets against strength 1."""
        if strength == 1:
            return "That is the update as it was trained."
        name = next(iter(self.paths))
        (new, old), (new1, old1) = self.losses(strength)[name], self.losses(1.0)[name]
        words = [
            f"{abs(change):.2f} {'worse' if change > 0 else 'better'} on {where}"
            for change, where in ((new - new1, self.language), (old - old1, "English"))
        ]
        return f"Against ×1, {name} is {words[0]} and {words[1]}."
