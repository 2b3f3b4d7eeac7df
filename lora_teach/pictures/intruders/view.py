"""Intruders: shrink the directions that fine-tuning brought in, and watch what is learned and what is forgotten.

`lora_teach.measure.intruders` says what an intruder is; the paths of whole runs lie in ``data/learned.json``, those of
random updates of the same size, the control, in ``data/control.json``.
"""

from functools import cache

from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.live.explore import View
from lora_teach.measure.learned import Shrinker
from lora_teach.measure.random_update import with_random_updates
from lora_teach.measure.results import load_result
from lora_teach.measure.strength import strength_path
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, make_room, panels, styled
from lora_teach.utils.threads import one_thread
from lora_teach.utils.validation import check_guess

import numpy as np

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)
LETTERS_KNOWN = 300  # English test names that the meter reads: all 1,450 would take four times as long
EPSILONS = [0.4, 0.5, 0.6, 0.7, 0.8]
METERS = ("learned", "forgotten")
UPDATES = {"learned": "", "random": "A random update of the same size and rank. "}  # what is moved, and how it is said
LOOKS = {"intruders": ("other", "its intruders × factor"), "update": ("lora", "the whole update × factor")}
STILL = {"intruders": ("other", "intruders ×"), "update": ("lora", "all of ΔW ×"), "random": ("third", "random ones ×")}


class Intruders(View):
    """Sliders over the intruders' factor and ε; buttons for a language's shipped adapter and a random update as large.

    Args:
        guess: The learner's loss on English with the intruders at ×0.75.
        language: One with a shipped adapter.
        k: How many leading singular vectors of each tuned weight are looked at.
        result: What ``load_result("learned")`` gives, for the saved notebook's figure; None loads it.
        control: What ``load_result("control")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 10.
    """

    sliders = {"factor": (0.0, 1.0, 0.75, 0.05), "epsilon": (EPSILONS, 0.5), "update": list(UPDATES)}
    labels = {"epsilon": "ε"}

    def __init__(self, guess=None, language="Zulu", k=10, result=None, control=None):
        self.guess = check_guess(guess, 0, 10, "a loss in nats")
        self.language, self.k, self._result, self._control = language, k, result, control
        self.lists = names.load(language).test, names.load("English").test[:LETTERS_KNOWN]
        self._base, learned = load_name_gpt(), load_language_adapter(load_name_gpt(), language)
        self._tuned = {"learned": learned, "random": with_random_updates(self._base, learned)}
        self.shrinker, self.path, self.losses = cache(self.shrinker), cache(self.path), cache(self.losses)
        with one_thread():
            self.base = [evaluate(self._base, some) for some in self.lists]
            self.dials = {
                update: strength_path(tuned, FACTORS, *self.lists, self._base) for update, tuned in self._tuned.items()
            }
        self.dial = self.dials["learned"]
        self._draw(self.dial[-1])

    @styled
    def _draw(self, tuned):
        """Make the picture; ``tuned`` is the ``(loss on the new language, loss on English)`` as it was trained."""
        base, fig = self.base, figure(9.4, 3.9)
        left, right = panels(fig, columns=2, width_ratios=[1, 1.25])
        self.most = {"learned": base[0] - tuned[0], "forgotten": tuned[1] - base[1]}
        most = list(self.most.values())
        left.barh([1, 0], most, height=0.5, color="none", edgecolor=COLOURS["ghost"], linewidth=1.4)
        filled = left.barh([1, 0], most, height=0.5, color=[COLOURS["best"], COLOURS["full"]])
        filled[1].set_hatch("//")
        self.bars = dict(zip(METERS, filled, strict=True))
        self.numbers = {name: left.text(0, y, "", va="center", size=11) for name, y in zip(METERS, (1, 0), strict=True)}
        left.set_yticks([1, 0], [f"learned:\n{self.language}", "forgotten:\nEnglish"])
        left.set(xlabel="nats a letter, against the base", xlim=(-0.3, max(most) * 1.35), ylim=(-0.6, 1.6))
        left.set_title("Grey frames: as it was trained")
        left.axvline(0, color=COLOURS["base"], linewidth=1)
        role, label = LOOKS["update"]
        (self.dial_line,) = right.plot(*np.transpose(self.dial), **line(role, marker="", label=label))
        role, label = LOOKS["intruders"]
        (self.line,) = right.plot([], [], **line(role, marker="", label=label))
        self.dots = {way: right.plot([], [], **line(r, linestyle="", markersize=9))[0] for way, (r, _) in LOOKS.items()}
        for text, (x, y) in (("base", base), ("as trained", tuned)):
            right.plot([x], [y], "s", color=COLOURS["base"], markersize=5)
            right.annotate(text, (x, y), (8, 0), textcoords="offset points", size=9)
        right.set(xlabel=f"loss on {self.language} (nats a letter)", ylabel="loss on English (nats a letter)")
        right.set_xlim(tuned[0] - 0.15, max(base[0], tuned[0] + 1) + 0.9)
        right.set_ylim(base[1] - 0.2, tuned[1] + 0.3)
        right.set_title("Down and to the left is better")
        if diamond(right, tuned[0] + 0.03, self.guess):
            make_room(right, [self.guess])
        legend(right, loc="upper right")
        self.picture = Picture(fig, [self.bars, self.numbers, self.line, self.dial_line, self.dots])

    def shrinker(self, epsilon, update="learned"):
        """The `Shrinker` for an ε, made once."""
        return Shrinker(self._base, self._tuned[update], epsilon, self.k)

    def path(self, epsilon, update="learned"):
        """``[(new language, English), …]`` for FACTORS."""
        return [self.losses(factor, epsilon, update) for factor in FACTORS]

    def losses(self, factor, epsilon, update="learned"):
        """``(loss on the new language, on English)`` with the intruders at this factor, in nats a letter."""
        with one_thread():
            return tuple(self.shrinker(epsilon, update).path([factor], *self.lists)[0])

    def move(self, factor, epsilon, update="learned"):
        """Stand at this factor of the intruders' singular values, of this update, and count intruders with this ε."""
        new, old = self.losses(factor, epsilon, update)
        whole = self.dials[update]
        dial = [float(np.interp(factor, FACTORS, column)) for column in zip(*whole, strict=True)]
        for name, nats in zip(METERS, (self.base[0] - new, old - self.base[1]), strict=True):
            self.bars[name].set_width(nats)
            self.numbers[name].set_text(f"{nats:.2f}")
            self.numbers[name].set_x(max(nats, self.most[name]) + 0.05)  # beside the frame
        self.line.set_data(*np.transpose(self.path(epsilon, update)))
        self.dial_line.set_data(*np.transpose(whole))
        for way, (x, y) in zip(LOOKS, ((new, old), dial), strict=True):
            self.dots[way].set_data([x], [y])
        counts = self.shrinker(epsilon, update).counts
        guessed = self.your_guess(about=" for English", shown=factor == 0.75 and update == "learned")
        return (
            f"{UPDATES[update]}ε = {epsilon:g}: {sum(counts.values())} intruders among the {self.k * len(counts)} "
            "leading directions. "
            f"At ×{factor:g} the loss is {new:.2f} nats on {self.language} and {old:.2f} on English; with the whole "
            f"update at ×{factor:g} about {dial[0]:.2f} and {dial[1]:.2f}.{guessed}"
        )

    def static_figure(self):
        """Full fine-tuning and LoRA at every rank, each beside a random update of its size, from the stored runs."""
        result, control = self._result or load_result("learned"), self._control or load_result("control")
        epsilon, results = result["settings"]["epsilon"], result["results"][self.language]
        both, counts, said = {}, {}, []
        for name, entry in results["contenders"].items():
            drawn = control["results"][self.language][name]["runs"]
            both[name] = {way: np.array([run[f"{way} shrunk"] for run in entry["runs"]]) for way in LOOKS}
            both[name]["random"] = np.array([run["intruders shrunk"] for run in drawn])
            counts[name] = [
                np.mean([sum(run["intruders"][str(epsilon)]) for run in runs]) for runs in (entry["runs"], drawn)
            ]
            path = both[name]["intruders"].mean(0)  # (factors, 2)
            new, old = (path[FACTORS.index(0.75)] - path[-1]).round(2) + 0.0  # no -0.00
            said.append(f"{name} {new:+.2f} and {old:+.2f}")
        return show(
            draw_contenders(both, counts, results["base"], self.language),
            f"Intruders (ε = {epsilon:g}) at ×0.75 change the loss on {self.language} and on English by: "
            f"{'; '.join(said)}. Pink: random updates, as large in each layer: they learn next to nothing and "
            "forget little, whatever their intruders.",
        )


@styled
def draw_contenders(contenders, counts, base, language):
    """Draw a panel for each contender and return the Figure.

    ``contenders`` is ``{contender: {way of STILL: (seeds, factors, 2)}}``, ``counts`` ``{contender: (intruders, those
    of random updates)}``, ``base`` the base's ``(loss on the new language, loss on English)``.
    """
    fig = figure(9.8, 3.6)
    grid = panels(fig, columns=len(contenders), sharex=True, sharey=True)
    for axes, (name, both) in zip(grid, contenders.items(), strict=True):
        for way, (role, label) in STILL.items():
            for path in both[way]:
                axes.plot(*path.T, **line(role, marker="", linewidth=0.8, alpha=0.4))
            axes.plot(*both[way].mean(0).T, **line(role, markersize=4, label=label))
        axes.plot(*base, "s", color=COLOURS["base"], markersize=5)
        learned, random = counts[name]
        axes.set_title(f"{name}: {learned:.0f} intruders\n(at random {random:.0f})", size=10)
    low, high = next(iter(contenders.values()))["update"].mean(0)[[-1, 0]].T
    grid[0].set(xlim=(low[0] - 0.1, low[1] + 1.0), ylim=(base[1] - 0.25, high.max() + 0.6))
    grid[0].set_ylabel("loss on English (nats a letter)")
    fig.supxlabel(f"loss on {language} (nats a letter); down and to the left is better; grey square: the base", size=10)
    legend(grid[-1], loc="upper right", fontsize=8)
    return fig
