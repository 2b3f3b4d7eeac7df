"""Race: LoRA at three ranks against full fine-tuning, stopped together or each at its own best.

What is drawn lies in ``data/race.json``; ``data/make_race.py`` says what an entry holds.
"""

from bisect import bisect
from itertools import cycle
from statistics import mean

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.plots.die import FEW_SIDES, die_axis
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, make_room, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

ROLES = {"LoRA r=1": "fourth", "LoRA r=4": "lora", "LoRA r=16": "third", "full": "full"}
PLUNGE = 40  # steps: the fall from the base's loss, which would flatten all that follows


class Race(View):
    """Language buttons and a step at which everybody stops.

    Args:
        guess: The learner's test loss for the first contender on the first language, in nats a letter.
        result: What ``load_result("race")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 10.
    """

    @styled
    def __init__(self, guess=None, result=None):
        self.guess = check_guess(guess, 0, 10, "a loss in nats")
        self.languages = (result or load_result("race"))["results"]
        self.first = next(iter(self.languages))
        self.sliders = {"language": list(self.languages), "stop_at": (20, 400, 400, 20)}
        self._language, self._drawn = None, []  # the language that is drawn, and its artists
        fig = figure(9.2, 3.8)
        left, right = self.axes = panels(fig, columns=2, width_ratios=[1.35, 1])  # curves, results
        (self.here,) = left.plot([0, 0], [0, 1], color=COLOURS["ink"], lw=1, transform=left.get_xaxis_transform())
        self.dots = {}  # contender -> Line2D: its validation loss where the slider stands
        for name, role in roles(self.languages[self.first]["contenders"]).items():
            look = {"marker": MARKERS[role], "color": COLOURS[role], "markerfacecolor": "white"}
            (self.dots[name],) = left.plot([], [], linestyle="", markersize=8, **look)
        left.set(xlabel="step", ylabel="loss (nats a letter)", title="Loss on validation names")
        right.set_title("Loss on test names, each at its own best")
        die_axis(right, FEW_SIDES)
        self.mark = diamond(right, 0, self.guess)
        self.picture = Picture(fig, [self.here, self.dots])

    def move(self, language, stop_at):
        """Draw the language and where everybody stands at ``stop_at``; tell who leads there, and who at their best."""
        entries = self.languages[language]["contenders"]
        if language != self._language:
            self._enter(language, entries)
        stopped, own = stopped_at(entries, stop_at), own_best(entries)
        self.here.set_xdata([stop_at, stop_at])
        for name, dot in self.dots.items():
            dot.set_data([stop_at], [stopped[name]])
        return (
            f"{language}, everybody stopped at step {stop_at}: {_ranking(stopped)} on validation names. "
            f"Each stopped at its own best: {_ranking(own)} on test names."
            + self.your_guess(about=f" for {next(iter(own))}", shown=language == self.first)
        )

    @styled
    def _enter(self, language, entries):
        """Replace what belongs to one language."""
        for artist in self._drawn:
            artist.remove()
        left, right = self.axes
        self._drawn = _draw_curves(left, language, entries) + _draw_results(right, entries)
        if self.mark is not None:
            self.mark.set_visible(language == self.first)
            if language == self.first:
                make_room(right, [self.guess])
        self._language = language
        self.picture.background_changed()

    def static_figure(self):
        """Return the first language's curves beside every language's results."""
        results = [f"{language}: {_ranking(own_best(r['contenders']))}." for language, r in self.languages.items()]
        words = "Three seeds: bands, bars, and a mark at each one's best step. On test names, best first. "
        return show(draw_all(self.languages, self.first), words + " ".join(results))


@styled
def draw_all(languages, first):
    """Draw the curves of the language ``first`` and the results of all; returns the figure."""
    fig = figure(11.2, 3.8)
    left, *others = panels(fig, columns=1 + len(languages), width_ratios=[2.3] + [1] * len(languages))
    _draw_curves(left, first, languages[first]["contenders"])
    left.set(xlabel="step", ylabel="loss (nats a letter)")
    tests = [[run["test"] for e in r["contenders"].values() for run in e["runs"]] for r in languages.values()]
    span = 1.5 * max(max(losses) - min(losses) for losses in tests)
    for axes, (language, result) in zip(others, languages.items(), strict=True):
        _draw_results(axes, result["contenders"], span)
        axes.set_title(f"{language}, test names")
    return fig


def own_best(entries):
    """Each contender's mean test loss, each at its own best checkpoint: ``{contender: nats a letter}``."""
    return {name: mean(run["test"] for run in entry["runs"]) for name, entry in entries.items()}


def stopped_at(entries, step):
    """Each contender's mean validation loss at the last look up to ``step``: ``{contender: nats a letter}``."""
    return {
        name: mean(run["validation"][bisect(run["steps"], step) - 1] for run in entry["runs"])
        for name, entry in entries.items()
    }


def roles(contenders):
    """The role in which each contender is drawn."""
    spare = cycle(("other", "best"))
    return {name: ROLES.get(name) or next(spare) for name in contenders}


def _draw_curves(axes, language, entries):
    """Validation loss by step: the seeds' mean and band, and each one's best checkpoint; returns the artists."""
    drawn, shown, last = [], [], 0
    for name, role in roles(entries).items():
        runs = entries[name]["runs"]
        looks = min(len(run["steps"]) for run in runs)  # a run may stop when it has not improved for long
        steps = np.array(runs[0]["steps"][:looks])
        losses = np.array([run["validation"][:looks] for run in runs])  # (seeds, looks)
        last = max(last, steps[-1])
        drawn += axes.plot(steps, losses.mean(0), **line(role, marker="", label=name))
        drawn.append(axes.fill_between(steps, losses.min(0), losses.max(0), color=COLOURS[role], alpha=0.18, lw=0))
        best = [(run["best_step"], run["best_validation"]) for run in runs]
        drawn += axes.plot(*zip(*best, strict=True), MARKERS[role], color=COLOURS[role], markersize=7, linestyle="")
        shown.append(losses[:, steps >= PLUNGE])
    low, high = min(map(np.min, shown)), max(map(np.max, shown))
    axes.set(xlim=(0, 1.02 * last), ylim=(low - 0.05 * (high - low), high + 0.2 * (high - low)))  # the legend's room
    axes.set_title(f"{language}: loss on validation names")
    return [*drawn, legend(axes, loc="upper center", ncols=2)]


def _draw_results(axes, entries, span=0.0):
    """Each contender's test losses, a bar a seed, their mean a mark; the y axis spans at least ``span`` nats."""
    drawn, ends = [], []
    for place, (name, role) in enumerate(roles(entries).items()):
        losses = [run["test"] for run in entries[name]["runs"]]
        average = mean(losses)
        drawn += axes.plot([place] * len(losses), losses, "-_", color=COLOURS[role], markersize=9, alpha=0.7)
        drawn += axes.plot([place], [average], MARKERS[role], color=COLOURS[role], markersize=9)
        above = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        drawn.append(axes.annotate(f"{average:.2f}", (place, max(losses)), size=9, **above))
        ends += losses
    middle, half = (min(ends) + max(ends)) / 2, max(span / 2, 0.15, 0.75 * (max(ends) - min(ends)))
    axes.set(xlim=(-0.6, len(entries) - 0.4), ylim=(middle - half, middle + half))
    axes.set_xticks(range(len(entries)), [name.removeprefix("LoRA ") for name in entries])
    axes.grid(axis="x", visible=False)
    return drawn


def _ranking(losses):
    return ", ".join(f"{name} {losses[name]:.2f}" for name in sorted(losses, key=losses.get))
