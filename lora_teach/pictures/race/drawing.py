"""Race: LoRA at three ranks against full fine-tuning, each stopped at its own best, one language at a time.

What is drawn lies in ``data/race.json``; `lora_teach.measure.race` says what an entry holds.
"""

from dataclasses import dataclass
from itertools import cycle

import numpy as np

from lora_teach.plots.die import FEW_SIDES, die_axis
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled

ROLES = {"LoRA r=1": "fourth", "LoRA r=4": "lora", "LoRA r=16": "third", "full": "full"}
PLUNGE = 40  # steps: the fall from the base's loss, which would flatten all that follows


def roles(contenders) -> dict[str, str]:
    """The role in which each contender is drawn."""
    spare = cycle(("other", "best"))
    return {name: ROLES.get(name) or next(spare) for name in contenders}


def curves(entry: dict) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a contender was evaluated, ``(looks,)``, and its validation losses, ``(seeds, looks)``.

    Up to the end of its shortest run: a run may stop when it has not improved for long.
    """
    looks = min(len(run["steps"]) for run in entry["runs"])
    return np.array(entry["runs"][0]["steps"][:looks]), np.array([run["validation"][:looks] for run in entry["runs"]])


@dataclass
class Race:
    """The picture and what changes in it."""

    picture: Picture
    axes: np.ndarray  # the curves' panel, the results' panel
    here: object  # Line2D: where the slider stands
    dots: dict  # contender -> Line2D: its validation loss there
    guess: object  # Line2D or None
    drawn: list  # what belongs to one language

    @styled
    def enter(self, language: str, entries: dict, guessed: bool) -> None:
        """Draw another language; ``guessed`` says whether the guess was about this one."""
        for artist in self.drawn:
            artist.remove()
        left, right = self.axes
        self.drawn = draw_curves(left, entries) + draw_results(right, entries)
        self.drawn.append(legend(left, loc="upper center", ncols=2))
        left.set_title(f"{language}: loss on validation names")
        if self.guess is not None:
            self.guess.set_visible(guessed)
            if guessed:
                make_room(right, self.guess.get_ydata())
        self.picture.background_changed()

    def stop(self, step: int, losses: dict) -> None:
        """Move the vertical line to a step, and the hollow marks to ``{contender: validation loss there}``."""
        self.here.set_xdata([step, step])
        for name, dot in self.dots.items():
            dot.set_data([step], [losses[name]])


@styled
def draw(entries: dict, guess: float | None = None) -> Race:
    """Make the picture for these contenders; `Race.enter` and `Race.stop` fill it.

    Args:
        entries: ``{contender: entry}`` of one of the languages.
        guess: The learner's test loss for the first contender.
    """
    fig = figure(9.2, 3.8)
    left, right = axes = panels(fig, columns=2, width_ratios=[1.35, 1])
    (here,) = left.plot([0, 0], [0, 1], color=COLOURS["ink"], linewidth=1, transform=left.get_xaxis_transform())
    dots = {}
    for name, role in roles(entries).items():
        look = {"marker": MARKERS[role], "color": COLOURS[role], "markerfacecolor": "white"}
        (dots[name],) = left.plot([], [], linestyle="", markersize=8, **look)
    left.set(xlabel="step", ylabel="loss (nats a letter)", title="Loss on validation names")
    right.set_title("Loss on test names, each at its own best")
    die_axis(right, FEW_SIDES)
    mark = diamond(right, 0, guess)
    return Race(Picture(fig, [here, dots]), axes, here, dots, mark, [])


@styled
def draw_twin(languages: dict, first: str):
    """The lesson without a slider: the curves of one language, the results of all; returns the figure.

    Args:
        languages: ``{language: {"base": loss, "contenders": entries}}``.
        first: The language whose curves are drawn.
    """
    fig = figure(11.2, 3.8)
    left, *others = panels(fig, columns=1 + len(languages), width_ratios=[2.3] + [1] * len(languages))
    draw_curves(left, languages[first]["contenders"])
    legend(left, loc="upper center", ncols=2)
    left.set(xlabel="step", ylabel="loss (nats a letter)", title=f"{first}: loss on validation names")
    tests = [[run["test"] for e in r["contenders"].values() for run in e["runs"]] for r in languages.values()]
    span = 1.5 * max(max(losses) - min(losses) for losses in tests)
    for axes, (language, result) in zip(others, languages.items(), strict=True):
        draw_results(axes, result["contenders"], span)
        axes.set_title(f"{language}, test names")
    return fig


def draw_curves(axes, entries: dict) -> list:
    """Validation loss by step: the seeds' mean and band, and each one's best checkpoint; returns the artists."""
    drawn, shown, last = [], [], 0
    for name, role in roles(entries).items():
        steps, losses = curves(entries[name])  # (looks,), (seeds, looks)
        last = max(last, steps[-1])
        drawn += axes.plot(steps, losses.mean(0), **line(role, marker="", label=name))
        drawn.append(axes.fill_between(steps, losses.min(0), losses.max(0), color=COLOURS[role], alpha=0.18, lw=0))
        best = [(run["best_step"], run["best_validation"]) for run in entries[name]["runs"]]
        drawn += axes.plot(*zip(*best, strict=True), MARKERS[role], color=COLOURS[role], markersize=7, linestyle="")
        shown.append(losses[:, steps >= PLUNGE])
    low, high = min(map(np.min, shown)), max(map(np.max, shown))
    axes.set(xlim=(0, 1.02 * last), ylim=(low - 0.05 * (high - low), high + 0.2 * (high - low)))  # the legend's room
    return drawn


def draw_results(axes, entries: dict, span: float = 0.0) -> list:
    """Test loss of each contender: the seeds as a bar, their mean as a mark with its number; returns the artists.

    Args:
        axes: Where.
        entries: ``{contender: entry}``.
        span: The y axis spans this many nats at least, so that panels can be compared.
    """
    drawn, ends = [], []
    for place, (name, role) in enumerate(roles(entries).items()):
        losses = [run["test"] for run in entries[name]["runs"]]
        mean = sum(losses) / len(losses)
        drawn += axes.plot([place] * len(losses), losses, "-_", color=COLOURS[role], markersize=9, alpha=0.7)
        drawn += axes.plot([place], [mean], MARKERS[role], color=COLOURS[role], markersize=9)
        above = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        drawn.append(axes.annotate(f"{mean:.2f}", (place, max(losses)), size=9, **above))
        ends += losses
    middle, half = (min(ends) + max(ends)) / 2, max(span / 2, 0.15, 0.75 * (max(ends) - min(ends)))
    axes.set(xlim=(-0.6, len(entries) - 0.4), ylim=(middle - half, middle + half))
    axes.set_xticks(range(len(entries)), [name.removeprefix("LoRA ") for name in entries])
    axes.grid(axis="x", visible=False)
    return drawn


def make_room(axes, guesses, most: float = 1.0) -> None:
    """Let the y axis hold these guesses too, unless one lies more than ``most`` nats off: a slip squeezes nothing."""
    low, high = axes.get_ylim()
    near = [guess for guess in guesses if low - most <= guess <= high + most]
    axes.set_ylim(min([low, *(guess - 0.05 for guess in near)]), max([high, *(guess + 0.05 for guess in near)]))
