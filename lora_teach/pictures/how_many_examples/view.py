"""How many examples does it take? The share of unseen names answered right, and the answers themselves.

What is drawn lies in ``data/examples.json``; ``data/make_examples.py`` says what an entry holds.
"""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.plots.name_tiles import Board, Written, draw_key
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_guess

from matplotlib.patches import Patch

ASKED = 100  # examples: what the guess is about
RIGHT, WRONG, GIVEN = "r", "w", "-"  # signs of letters
TILES = {
    RIGHT: (COLOURS["lora"], COLOURS["lora"], "white", "normal"),
    WRONG: (COLOURS["other"], COLOURS["other"], "black", "bold"),
    GIVEN: ("white", COLOURS["ghost"], COLOURS["base"], "normal"),
}
WORDS = {RIGHT: "answer, right", WRONG: "answer, wrong", GIVEN: "prompt"}


class HowManyExamples(View):
    """A slider for the number of examples that an adapter was trained on.

    Args:
        guess: The share right of unseen names that the learner expects after 100 examples, in percent.
        yours: A run of the learner's own: (number of examples, share right from 0 to 1), drawn as a cross.
        result: What ``load_result("examples")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 100.
    """

    def __init__(self, guess=None, yours=None, result=None):
        self.guess, self.yours = check_guess(guess, 0, 100, "a share in %"), yours
        results = (result or load_result("examples"))["results"]
        self.asked, self.base = results["asked"], results["base"]
        self.counts = {int(count): entry for count, entry in results["counts"].items()}
        start = ASKED if ASKED in self.counts else next(iter(self.counts))
        self.sliders = {"examples": (list(self.counts), start)}
        self._draw()

    @styled
    def _draw(self):
        fig = figure(9.6, 4.2)
        left, right = panels(fig, columns=2, width_ratios=[1.25, 1])
        shown = next(iter(self.counts.values()))["shown"]
        self._draw_curve(left)
        (self.dot,) = left.plot([], [], MARKERS["lora"], color=COLOURS["ink"], markersize=15, markerfacecolor="none",
                                markeredgewidth=2)  # fmt: skip
        self.board = Board(right, len(shown), letters=15, size=11, looks=TILES)
        keys = [Patch(facecolor=TILES[sign][0], edgecolor=TILES[sign][1], label=said) for sign, said in WORDS.items()]
        draw_key(right, keys)
        self.picture = Picture(fig, [self.dot, self.board.artists])

    def _draw_curve(self, axes):
        counts = list(self.counts)
        means = [100 * self.share(count) for count in counts]
        axes.plot(counts, means, **line("lora", label="mean of three seeds"))
        for count, entry in self.counts.items():
            axes.plot([count] * len(entry["test"]), [100 * one for one in entry["test"]], "_", color=COLOURS["lora"],
                      markersize=11, alpha=0.7)  # fmt: skip
        axes.axhline(100 * self.base, color=COLOURS["base"], linestyle=":", label="the base")
        if self.yours is not None:
            axes.plot(self.yours[0], 100 * self.yours[1], "x", color=COLOURS["ink"], markersize=10, markeredgewidth=2,
                      linestyle="", label="your own run")  # fmt: skip
        if ASKED in self.counts:
            diamond(axes, ASKED, self.guess)
        axes.set(xscale="log", ylim=(-3, 103), xlabel="examples", ylabel=f"% right of {self.asked} unseen names")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_title("Right to the letter")
        legend(axes, loc="lower right")

    def share(self, count):
        """Return the mean share right over seeds, 0 to 1."""
        test = self.counts[count]["test"]
        return sum(test) / len(test)

    def move(self, examples):
        """Stand at this number of examples and show what one of its adapters answered."""
        entry = self.counts[examples]
        self.dot.set_data([examples], [100 * self.share(examples)])
        self.board.show([_written(*one) for one in entry["shown"]])
        seeds = ", ".join(f"{share:.0%}" for share in entry["test"])
        guessed = self.your_guess(form=".0f", unit=" %", shown=examples == ASKED)
        return (
            f"{examples} examples: {self.share(examples):.0%} of {self.asked} unseen names right (seeds {seeds}), at a "
            f"learning rate of {entry['lr']:g}.{guessed}"
        )

    @styled
    def static_figure(self):
        """Return the curve beside the first answers at each number of examples."""
        fig = figure(11.6, 4.0)
        grid = panels(fig, columns=1 + len(self.counts), width_ratios=[2.2] + [1] * len(self.counts))
        self._draw_curve(grid[0])
        for axes, (count, entry) in zip(grid[1:], self.counts.items(), strict=True):
            Board(axes, len(entry["shown"]), letters=14, size=9, looks=TILES).show(
                [_written(*o) for o in entry["shown"]]
            )
            axes.set_title(f"{count} examples", size=10)
        keys = [Patch(facecolor=TILES[sign][0], edgecolor=TILES[sign][1], label=said) for sign, said in WORDS.items()]
        fig.legend(handles=keys, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
        told = ", ".join(f"{self.share(count):.0%} after {count}" for count in self.counts)
        return show(
            fig, f"Right to the letter, of {self.asked} unseen names, three seeds: {told}. The base: {self.base:.0%}."
        )


def _written(prompt, said, due):
    return Written(prompt + said, GIVEN * len(prompt) + (RIGHT if said == due else WRONG) * len(said))
