"""Equal KL: reward, different names and English by how far a run has moved from the base."""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.pictures.equal_kl.numbers import PENALTY, at_equal_kl
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_guess

ROLES = {"LoRA r=1": "fourth", "LoRA r=8": "lora", "full": "full"}
LEVELS = [1, 2, 3, 4, 5]  # nats a name
GUESSED = 4  # the KL that the guess is about
PANELS = {"success": "Names that the judge likes", "distinct": "Different names", "English": "Loss on English names"}


class EqualKL(View):
    """A slider over the divergence from the base at which runs with the penalty are compared; ``data/rewards.json``.

    Args:
        guess: The share of names, in %, that the learner expects the judge to like of rank 1 at 4 nats a name.
        result: What ``load_result("rewards")`` gives; None loads it.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 100.
    """

    sliders = {"KL": (LEVELS, GUESSED)}
    labels = {"KL": "KL, nats a name"}

    @styled
    def __init__(self, guess=None, result=None):
        self.guess = check_guess(guess, 0, 100, "a percentage")
        self.results = (result or load_result("rewards"))["results"]
        made = figure(12, 4.2)
        self.axes = dict(zip(PANELS, panels(made, columns=3), strict=True))
        self.dots, self.here = {}, []
        for what, axes in self.axes.items():
            for name, role in ROLES.items():
                for number, run in enumerate(self.results["contenders"][name]["runs"][PENALTY]):
                    label, until = name if number == 0 else None, first_beyond(run["kl"])
                    look = line(role, marker="", linewidth=1.5, label=label)
                    axes.plot(run["kl"][:until], run[what][:until], **look)
                look = {"color": COLOURS[role], "marker": MARKERS[role], "markeredgecolor": COLOURS["ink"]}
                (self.dots[what, name],) = axes.plot([], [], linestyle="", markersize=9, zorder=4, **look)
            (rule,) = axes.plot([1, 1], [0, 1], color=COLOURS["ink"], lw=1, transform=axes.get_xaxis_transform())
            self.here.append(rule)
            axes.set(xlim=(0, LEVELS[-1] + 1), xlabel="KL to the base (nats a name)", title=PANELS[what])
        for what in ("success", "distinct"):
            self.axes[what].set(ylim=(0, 1.04), ylabel="share of 200 names")
        self.axes["English"].set(ylabel="nats a letter")
        self.axes["English"].axhline(self.results["base"]["English"], **line("base", marker="", label="the base"))
        self.mark = diamond(self.axes["success"], GUESSED, None if self.guess is None else self.guess / 100)
        legend(self.axes["English"], loc="upper left")
        self.picture = Picture(made, [self.dots, self.here])

    def move(self, KL):
        """Compare where all are this far from the base."""
        found = {what: at_equal_kl(self.results, KL, what) for what in PANELS}
        for (what, name), dot in self.dots.items():
            dot.set_data([[KL], [found[what][name].mean]] if name in found[what] else ([], []))
        for rule in self.here:
            rule.set_xdata([KL, KL])
        said = [
            f"{name} {found['success'][name].mean:.0%} ({found['success'][name].low:.0%} to "
            f"{found['success'][name].high:.0%}), {found['distinct'][name].mean:.0%} different, English "
            f"{found['English'][name].mean:.2f}"
            for name in ROLES
            if name in found["success"]
        ]
        lead = f"{KL:g} nat{'s' if KL != 1 else ''} a name from the base the judge likes, of three seeds: "
        return lead + "; ".join(said) + "." + self.your_guess("g", about=" for rank 1", unit=" %", shown=KL == GUESSED)


def first_beyond(kl):
    """Return how many looks a run has up to the first beyond the last level, or to its farthest: then it wanders."""
    farthest = kl.index(max(kl))
    return next((place for place, one in enumerate(kl) if one >= LEVELS[-1]), farthest) + 1
