"""Angle: digits that the base misreads, and a LoRA that is trained anew at every move of rank, angle or alpha."""

from functools import lru_cache
from statistics import mean
from typing import NamedTuple

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets.digits import SIDE
from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import CHANCE, STEPS
from lora_teach.measure.tuning import count_trainable
from lora_teach.pictures.angle.numbers import changed, retrain_at
from lora_teach.plots.loss_curve import smoothed
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, log2_axis, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np
import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

RANKS = (1, 2, 4, 8, 16, 32, 64)
SAMPLES = 6  # digits that are shown
GUESSED = (8.0, 30, "white")  # alpha, angle and paper that the guess for rank 1 is about
WINDOW = 10  # steps: a curve is the mean of so many around each
READERS = {"truth": "ink", "base": "base", "LoRA": "lora", "full": "full"}  # of the digits, each in its role
GHOSTS = 6  # earlier moves that stay
PITCH = SIDE + 1  # pixels from one digit to the next


class Result(NamedTuple):
    """What a run came to: loss by step, share of test digits read, how it reads the samples, numbers trained."""

    loss: list
    accuracy: float
    reads: list
    numbers: int
    blew_up: bool


class Angle(View):
    """Rank, angle, alpha and paper; LoRA is trained for 200 steps at every move to a new place.

    Full fine-tuning of the same digits is trained once for each angle and paper. Going back to a place trains nothing.

    On black paper LoRA with α = 8 fails at every rank up to 16 in 200 steps. That is no matter of rank alone: the
    exact cure W → −W, which has full rank, can be cut to rank 8 and still reads nine digits in ten, and with 1,000
    steps rank 4 gets there too. Rank 1 doesn't.

    Args:
        guess: The accuracy, in %, that the learner predicts for rank 1 at 30° with α = 8.
        seed: Decides each adapter's start and the batches, which are the same for LoRA and full fine-tuning.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 0 to 100.
    """

    sliders = {
        "rank": (list(RANKS), 4),
        "angle": (0, 180, 30, 10),
        "alpha": (["0.5", "2", "8", "32", "128"], "8"),
        "paper": ["white", "black"],
    }
    labels = {"alpha": "α"}

    @styled
    def __init__(self, guess=None, seed=0):
        self.guess, self.seed = _checked(guess), seed
        self.base = load_digit_net()
        self.task, self.run = lru_cache(maxsize=None)(self._task), lru_cache(maxsize=None)(self._run)
        self.place, self.earlier = None, []  # where it stands, and where it stood before, the newest first
        made = figure(12, 4.2)
        left, middle, right = panels(made, columns=3, width_ratios=[0.8, 1.4, 1.2])
        self.tiles, self.read = _digits_panel(left, SAMPLES)  # the digits, and by reader what each is taken for
        self.ghosts = [middle.plot([], [], color=COLOURS["ghost"], linewidth=1)[0] for _ in range(GHOSTS)]
        self.curves = {role: middle.plot([], [], **line(role, marker=""))[0] for role in ("full", "lora")}
        _loss_axes(middle, STEPS)
        middle.set_title(f"Loss (mean of {WINDOW} steps around each)")
        level = {role: line(role, marker="") | {"transform": right.get_yaxis_transform()} for role in ("full", "base")}
        self.levels = {role: right.plot([0, 1], [0, 0], **look)[0] for role, look in level.items()}
        self.dots = {
            "ghost": right.plot([], [], "o", color=COLOURS["ghost"])[0],
            "lora": right.plot([], [], "o", color=COLOURS["lora"], markersize=10)[0],
        }
        _rank_axes(right, RANKS)
        self.mark = diamond(right, RANKS[0], self.guess, f"your guess, rank {RANKS[0]} at {GUESSED[1]}°")
        marks = [self.mark] if self.mark else []
        keys = [
            Line2D([], [], **line("lora", label="LoRA now")),
            Line2D([], [], **line("full", marker="", label="full fine-tuning")),
            Line2D([], [], **line("ghost", marker="o", label="earlier moves")),
            Line2D([], [], **line("base", marker="", label="before")),
        ]
        made.legend(handles=[*keys, *marks], loc="outside lower right", ncols=5, frameon=False, fontsize=9)
        moving = [self.tiles, self.read, self.curves, self.ghosts, self.dots, self.levels, marks]
        self.picture = Picture(made, moving)

    def move(self, rank, angle, alpha="8", paper="white"):
        """Train, or find, the run at this place and show it over the earlier ones."""
        place = rank, float(alpha), angle, paper, STEPS
        split, base, reads = self.task(angle, paper)
        lora, full = self.run(*place), self.run(None, None, angle, paper, STEPS)
        self._remember(place)
        guessed = place[1:4] == GUESSED
        if self.mark is not None:
            self.mark.set_visible(guessed)
        self.tiles.set_data(strip(_pictures(split), down=True))
        truths = split.test[1][:SAMPLES].tolist()
        readings = {"truth": truths, "base": reads, "LoRA": lora.reads, "full": full.reads}
        for who, texts in self.read.items():
            for text, digit, truth in zip(texts, readings[who], truths, strict=True):
                _write(text, digit, truth, who)
        earlier = [(past[0], self.run(*past)) for past in self._beside(place)]
        _draw_loss(self.curves["lora"], lora.loss)
        _draw_loss(self.curves["full"], full.loss)
        for number, curve in enumerate(self.ghosts):
            _draw_loss(curve, earlier[number][1].loss if number < len(earlier) else [])
        self.dots["lora"].set_data([rank], [100 * lora.accuracy])
        self.dots["ghost"].set_data([past for past, _ in earlier], [100 * run.accuracy for _, run in earlier])
        self.levels["full"].set_ydata([100 * full.accuracy] * 2)
        self.levels["base"].set_ydata([100 * base] * 2)
        where = f"{angle}°" + (" on black paper" if paper == "black" else "")
        done = f"after {STEPS} steps" if not lora.blew_up else f"it blew up after step {len(lora.loss)}, and"
        return (
            f"Rank {rank}, α = {float(alpha):g}, {where}: {done} {_percents(lora.accuracy)} of the test digits are "
            f"read right; before {_percents(base)}; with full fine-tuning {_percents(full.accuracy)}. LoRA trained "
            f"{lora.numbers:,} numbers, full fine-tuning {full.numbers:,}."
            + self.your_guess("g", unit=" %", shown=guessed and rank == RANKS[0])
        )

    def forget(self):
        """Forget earlier moves, whose marks are grey; what they trained is kept."""
        self.place, self.earlier = None, []

    def _remember(self, place):
        """Make the place that was left the newest of the earlier ones; each stands there once."""
        if self.place not in (None, place):
            self.earlier = [self.place, *(past for past in self.earlier if past != self.place)]
        self.place = place

    def _beside(self, place):
        """The newest earlier places of the same digits: another task's marks mean nothing beside this one's lines."""
        same = [past for past in self.earlier if past != place and past[2:4] == place[2:4]]
        return same[:GHOSTS]

    def _task(self, angle, paper):
        """Return the changed digits, the base's accuracy on the test ones, and how it reads the samples."""
        split = changed(angle, paper)
        return split, accuracy(self.base, *split.test), _reads(self.base, split)

    def _run(self, rank, alpha, angle, paper, steps):
        """Train LoRA at this place; rank None means full fine-tuning."""
        split = self.task(angle, paper)[0]
        run = retrain_at(split, rank, alpha, steps=steps, seed=self.seed, base=self.base)
        numbers = count_trainable(run.model)
        return Result(run.loss, run.accuracy, _reads(run.model, split), numbers, run.blew_up)

    def static_figure(self):
        """Return three tasks side by side: loss by step and accuracy of three ranks and full fine-tuning.

        They were trained before, by the command that ``data/angle.json`` names, with three seeds.
        """
        result = load_result("angle")
        settings = result["settings"]
        tasks = {}
        for title, found in result["results"].items():
            angle, paper, _ = settings["tasks"][title]
            entries = {
                rank: found["contenders"]["full" if rank is None else str(rank)] for rank in _contenders(settings)
            }
            losses = {rank: entry["losses"] for rank, entry in entries.items()}
            accuracies = {rank: [mean(seeds) for seeds in entry["accuracies"]] for rank, entry in entries.items()}
            tasks[title] = _pictures(changed(angle, paper)), found["base"], losses, accuracies
        made = draw_tasks(tasks, settings["ranks"], self.guess, settings["block"])
        return show(made, _lesson(tasks, settings))


def _checked(guess):
    return check_guess(guess, 0, 100, "a percentage")


@styled
def draw_tasks(tasks, ranks, guess=None, block=1):
    """Draw small multiples, a column for each task; return the figure. Losses are means of ``block`` steps.

    ``tasks`` are ``{title: (tiles, base, losses, accuracies)}``: digits ``(digits, 8, 8)``; the base's accuracy; by
    contender (a rank, or None for full fine-tuning) the loss over its longest run, and the share of test digits that
    are read after each of its runs, the longest last. ``guess`` is about the first rank at the first task, in %.
    """
    guess = _checked(guess)
    made = figure(12, 5.6)
    grid = panels(made, rows=3, columns=len(tasks), height_ratios=[0.36, 1.25, 1.1], squeeze=False)
    contenders = [*ranks, None]
    roles = dict(zip(contenders, ("fourth", "lora", "third", "full"), strict=True))
    for column, (title, (tiles, base, losses, accuracies)) in zip(grid.T, tasks.items(), strict=True):
        top, middle, low = column
        _show_tiles(top, tiles)
        top.set_title(title)
        for one, role in roles.items():
            (curve,) = middle.plot([], [], **line(role, marker="", label=_name(one)))
            curve.set_data([block * (number + 0.5) for number in range(len(losses[one]))], losses[one])
        _loss_axes(middle, block * max(map(len, losses.values())))
        places = range(1 + len(contenders))
        shares = [[base], *(accuracies[one] for one in contenders)]
        for place, role, share in zip(places, ("base", *roles.values()), shares, strict=True):
            for number, one in enumerate(share, start=1):
                fill = "full" if number == len(share) else "none"  # shorter runs are hollow
                low.plot(place, 100 * one, **line(role, markersize=8, fillstyle=fill, markeredgewidth=1.5))
            last, up = 100 * share[-1], share[-1] < 0.8 or 0 < share[-1] - min(share) < 0.2  # away from a hollow mark
            if guess is not None and low is grid[2, 0] and place == 1:
                up = guess < last  # away from the diamond
            beside = last < 5  # where the line of chance would run through it
            low.annotate(
                f"{last:.0f} %", (place, last), (9, 1) if beside else (0, 7 if up else -8), size=9,
                textcoords="offset points", ha="left" if beside else "center", va="bottom" if up else "top",
            )  # fmt: skip
        _chance(low, 10)
        low.set(ylim=(0, 114), xlim=(-0.5, len(places) - 0.5), yticks=range(0, 101, 25))
        low.set_xticks(places, ["base", *map(_name, contenders)])
        low.grid(axis="x", visible=False)
        if middle is not grid[1, 0]:
            middle.set_ylabel("")
        if max(map(len, shares)) > 1:
            low.annotate("hollow: after the first 200 steps", (0.03, 0.5), xycoords="axes fraction", size=9)
    grid[2, 0].set_ylabel("test digits read (%)")
    legend(grid[1, 0], loc="lower left", ncols=2)
    if diamond(grid[2, 0], 1, guess):
        look = {"textcoords": "offset points", "ha": "right", "va": "center", "size": 9}
        grid[2, 0].annotate("your guess", (1, guess), (-10, 0), **look)
    return made


def strip(tiles, down=False):
    """The digits in a row with a gap between, or one below the other: ``(digits, 8, 8)`` -> ``(8, 9 * digits - 1)``."""
    tiles = np.asarray(tiles, dtype=float)
    wide = np.full((SIDE, PITCH * len(tiles) - 1), np.nan)
    for place, tile in enumerate(tiles):
        wide[:, PITCH * place : PITCH * place + SIDE] = tile.T if down else tile
    return wide.T if down else wide


def _digits_panel(axes, digits):
    """A table: the digits as they are shown to the network, what they are, and how each reader reads them."""
    image = _show_tiles(axes, np.zeros((digits, SIDE, SIDE)), down=True)
    read = {}
    for number, (who, role) in enumerate(READERS.items()):
        right = 13 + 8 * number
        axes.text(right, -3, who, color=COLOURS[role], ha="center", va="center", fontsize=10)
        middles = [PITCH * place + (SIDE - 1) / 2 for place in range(digits)]
        read[who] = [axes.text(right, middle, "", ha="center", va="center", fontsize=11) for middle in middles]
    axes.set(xlim=(-1, 13 + 8 * len(READERS) - 3), ylim=(PITCH * digits - 0.5, -5))
    axes.set_title(f"The first {digits} test digits, as read by")
    return image, read


def _show_tiles(axes, tiles, down=False):
    """Draw the digits with a border around each; returns the image."""
    image = axes.imshow(strip(tiles, down), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    for place in range(len(tiles)):
        corner = (-0.7, PITCH * place - 0.7) if down else (PITCH * place - 0.7, -0.7)  # around the image, not under it
        axes.add_patch(Rectangle(corner, SIDE + 0.4, SIDE + 0.4, fill=False, edgecolor=COLOURS["ghost"], linewidth=0.8))
    axes.axis("off")
    return image


def _write(text, digit, truth, who):
    """A digit as it was read: a wrong one in another colour, with a cross."""
    wrong = digit != truth
    text.set_text(f"{digit} ✗" if wrong else f"{digit}")
    text.set_color(COLOURS["full"] if wrong else COLOURS["ink"])
    text.set_fontweight("bold" if who == "truth" else "normal")


def _draw_loss(curve, losses):
    curve.set_data(range(1, len(losses) + 1), smoothed(losses, WINDOW) if len(losses) else [])


def _loss_axes(axes, steps):
    axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss (nats a digit)", xlim=(0, steps), ylim=(0.015, 8))
    ticks = (0.03, 0.1, 0.3, 1, 3)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    _chance(axes, CHANCE)


def _rank_axes(axes, ranks):
    log2_axis(axes, ranks)
    axes.set(xlabel="rank r", xlim=(ranks[0] / 1.5, ranks[-1] * 1.5), ylim=(0, 104), yticks=range(0, 101, 20))
    axes.set_title("Test digits read right (%)")
    _chance(axes, 10)


def _chance(axes, height):
    axes.axhline(height, color=COLOURS["base"], linestyle=(0, (1, 3)), linewidth=1.1)
    axes.annotate("chance", (1, height), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                  ha="right", size=9, color=COLOURS["base"])  # fmt: skip


def _name(contender):
    return "full" if contender is None else f"rank {contender}"


def _contenders(settings):
    """The ranks of the small multiples, and None for full fine-tuning."""
    return [*settings["ranks"], None]


def _pictures(split):
    """The sample digits, ``(digits, 8, 8)``."""
    return split.test[0][:SAMPLES].reshape(-1, SIDE, SIDE).numpy()


def _reads(model, split):
    with torch.no_grad():
        return model(split.test[0][:SAMPLES]).argmax(-1).tolist()


def _lesson(tasks, settings):
    """The accuracies of the small multiples, each task in a sentence."""
    said = []
    for title, (_, base, _, accuracies) in tasks.items():
        short, *longer = zip(*accuracies.values(), strict=True)  # one share for each contender
        first, *others = settings["tasks"][title][2]
        listed = f"{title}: {_percents(base, *short)}"
        for steps, shares in zip(others, longer, strict=True):
            listed += f", after {steps:,} steps {_percents(*shares)}"
        said.append(f"{listed}.")
    ranks = ", ".join(map(str, settings["ranks"][:-1])) + f" and {settings['ranks'][-1]}"
    return (
        f"Test digits read right before, then after {first} steps with LoRA of rank {ranks} and with full fine-tuning "
        f"(means of {len(settings['seeds'])} seeds). " + " ".join(said)
    )


def _percents(*shares):
    return ", ".join(f"{100 * share:.0f}" for share in shares) + " %"
