"""New data arrives: the losses on old, new and the base's own names while an adapter is trained on, in four ways.

What is drawn lies in ``data/new_data.json``; `lora_teach.pictures.new_data.numbers` says what a way is.
"""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.pictures.new_data.numbers import ON
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

ROLES = ("other", "lora", "base")  # of the old language, the new one, the base's own
LOWEST, HIGHEST = 1.5, 5.0  # nats: the y axes


class NewData(View):
    """Buttons for the way, and a slider for how much of the run is done.

    Args:
        guess: The loss on the old language's test names that the learner expects at the end of the first way, in nats
            a letter.
        result: What ``load_result("new_data")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 10.
    """

    def __init__(self, guess=None, result=None):
        self.guess = check_guess(guess, 0, 10, "a loss in nats")
        result = result or load_result("new_data")
        settings, results = result["settings"], result["results"]
        self.languages = [settings[which] for which in ("old", "new", "base")]
        self.start = results["start"]
        self.paths = {way: np.array(runs) for way, runs in results["ways"].items()}  # (seeds, looks, 3)
        self.done = np.linspace(0, 100, settings["looks"] + 1)  # percent
        step = round(100 / settings["looks"])
        self.sliders = {"way": list(self.paths), "done": (0, 100, 100, step)}
        self.labels = {"done": "% of the run"}
        self._draw()

    @styled
    def _draw(self):
        fig = figure(9.6, 4.0)
        left, right = panels(fig, columns=2, width_ratios=[1.2, 1])
        self.lines, self.dots = [], []
        for role, language in zip(ROLES, self.languages, strict=True):
            look = line(role, marker="", label=language)
            self.lines += left.plot(self.done, self.done, **look)
            self.dots += left.plot([], [], MARKERS[role], color=COLOURS[role], markersize=9)
        self._frame(left)
        (self.here,) = left.plot([0, 0], [0, 1], color=COLOURS["ink"], lw=1, transform=left.get_xaxis_transform())
        self.mark = diamond(left, 100, self.guess)
        left.set_title("Loss on test names while it trains")
        legend(left, loc="upper left", ncols=2)
        ways = list(self.paths)
        for row, runs in enumerate(self.paths.values()):
            for role, ends in zip(ROLES, runs[:, -1].T, strict=True):  # ends: (seeds,)
                right.plot(ends, [row] * len(ends), "|", color=COLOURS[role], markersize=9, alpha=0.7)
                right.plot([ends.mean()], [row], MARKERS[role], color=COLOURS[role], markersize=7, alpha=0.9)
        right.axvline(self.start["base"][0], color=COLOURS["other"], linestyle=":")
        right.set(xlim=(LOWEST, HIGHEST), ylim=(len(ways) - 0.4, -0.9), xlabel="loss at the end (nats a letter)")
        where = (self.start["base"][0], -0.62)
        right.annotate(f"{self.languages[0]}, the base", where, (5, 0), textcoords="offset points", size=9, va="center")
        right.set_yticks(
            range(len(ways)), [way.replace(", then", ",\nthen").replace("one on", "one\non") for way in ways]
        )
        right.set_title("All ways, at their ends")
        look = {"color": COLOURS["ink"], "markersize": 9, "clip_on": False, "transform": right.get_yaxis_transform()}
        (self.chosen,) = right.plot([0.03], [0], ">", **look)
        self.picture = Picture(
            fig, [self.chosen, self.lines, self.dots, self.here, *([self.mark] if self.mark else [])]
        )

    def _frame(self, axes):
        """Axes of losses by the run's progress, with the base's loss on the old language dotted."""
        axes.axhline(self.start["base"][0], color=COLOURS["other"], linestyle=":", linewidth=1.2)
        axes.set(xlim=(-2, 102), ylim=(LOWEST, HIGHEST), xlabel="% of the run", ylabel="nats a letter")

    def losses(self, way, done):
        """Return the mean losses over seeds on old, new and the base's own test names, nats a letter."""
        return self.paths[way].mean(0)[int(np.abs(self.done - done).argmin())]

    def move(self, way, done):
        """Draw the way and stand where so many percent of its run are done."""
        mean = self.paths[way].mean(0)  # (looks, 3)
        losses = self.losses(way, done)
        for drawn, dot, values, loss in zip(self.lines, self.dots, mean.T, losses, strict=True):
            drawn.set_ydata(values)
            dot.set_data([done], [loss])
        self.here.set_xdata([done, done])
        self.chosen.set_ydata([list(self.paths).index(way)])
        if self.mark:
            self.mark.set_visible(way == ON)
        said = ", ".join(f"{language} {loss:.2f}" for language, loss in zip(self.languages, losses, strict=True))
        old, base = losses[0], self.start["base"][0]
        against = "worse" if old > base else "better"
        guessed = self.your_guess(about=f" for {self.languages[0]}", shown=way == ON and done == 100)
        return (
            f"{way[0].upper()}{way[1:]}, {done} % of the run: {said} nats a letter. On {self.languages[0]} that is "
            f"{abs(old - base):.2f} {against} than the base without any adapter.{guessed}"
        )

    @styled
    def static_figure(self):
        """Return all ways side by side, each with its seeds."""
        fig = figure(11.2, 3.5)
        for axes, (way, runs) in zip(
            panels(fig, columns=len(self.paths), sharey=True), self.paths.items(), strict=True
        ):
            self._frame(axes)
            for role, language, values in zip(ROLES, self.languages, runs.mean(0).T, strict=True):
                axes.plot(self.done, values, **line(role, markevery=[0, -1], label=language))
            for seed in runs:
                for role, values in zip(ROLES, seed.T, strict=True):
                    axes.plot(self.done, values, color=COLOURS[role], linewidth=0.7, alpha=0.5)
            axes.set_title(f"{way[0].upper()}{way[1:]}", size=10)
            if axes.get_subplotspec().is_first_col():
                diamond(axes, 100, self.guess)
                legend(axes, loc="upper left")
            else:
                axes.set_ylabel("")
        ends = {way: self.losses(way, 100)[0] for way in self.paths}
        words = ", ".join(f"{way} {loss:.2f}" for way, loss in ends.items())
        return show(
            fig,
            f"{self.languages[0]} at the end of each way: {words}. Dotted: the base without an adapter, "
            f"{self.start['base'][0]:.2f}. Before, with its adapter, it was {self.start['adapter'][0]:.2f}.",
        )
