"""Valleys: does the best learning rate stay when the rank changes? Thirty-six runs, done in front of the learner.

Loss after a short run by learning rate, one line a rank; beside it where each valley's bottom lies.
"""

from functools import lru_cache
from itertools import cycle
from math import inf

from lora_teach.live.explore import View
from lora_teach.live.watch import watch
from lora_teach.measure.retraining import CHANCE
from lora_teach.pictures.valleys.numbers import LEARNING_RATES, RANKS, Sweep, measure_valleys, spoken, valley_runs
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, log2_axis, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

FEW = (0.001, 0.0032, 0.01, 0.032, 0.1)  # learning rates, where a page may not take long
ROLES = {1: "fourth", 4: "lora", 16: "third", 64: "other"}  # as in the race; its full fine-tuning has no rank
LOW, TOP = 0.01, 5.0  # nats: the loss axis, unless a valley is deeper; what lies above is drawn at its edge


async def grow_valleys(scaling="alpha/r", *, alpha=8, digits=None, guess=None, ranks=RANKS, lrs=LEARNING_RATES, seed=0):
    """Do the runs of one rule of scaling on the page, each dot drawn as its run ends; ``await`` it in a cell.

    Stop, or the kernel's interrupt, ends it after the run it is at. What stays in the notebook is the picture of all
    runs that have ended, and one sentence.

    Args:
        scaling: LoRAConfig's: ``"alpha/r"``, ``"alpha/sqrt(r)"`` or ``"alpha"``, a constant.
        alpha: LoRAConfig's.
        digits: A `lora_teach.datasets.digits.Digits`; None takes those turned by 30 degrees.
        guess: The learning rate at which the learner expects the bottom for the last rank.
        ranks: Of LoRA on the two hidden layers, 1 to 64.
        lrs: AdamW's learning rates.
        seed: Decides each adapter's start and the batches.

    Returns:
        A Sweep of the runs that have ended: ``sweep.loss[rank][lr]``. Its ``stopped`` says so if some are missing.
    """
    guess = _checked(guess)
    sweep = Sweep(scaling, alpha, ranks, lrs)
    runs = valley_runs(scaling, alpha=alpha, digits=digits, ranks=sweep.ranks, lrs=sweep.lrs, seed=seed)
    await watch(runs, sweep, sweep.planned, lambda: Growing(sweep, guess), unit="run")
    if len(sweep) < sweep.planned:
        sweep.stopped = f"stopped after run {len(sweep)} of {sweep.planned}"
    return sweep


def _checked(guess):
    return check_guess(guess, 1e-6, 10, "a learning rate")


class TwoPanels:
    """The valleys of one rule, and where their bottoms lie by rank.

    ``guess`` is a learning rate for the last rank, ``about`` tells what else; the loss axis begins at ``low``.
    """

    @styled
    def __init__(self, ranks, lrs, guess=None, low=LOW, about=""):
        guess = _checked(guess)
        made = figure(10.4, 4.0)
        left, right = panels(made, columns=2, width_ratios=[1.75, 1])
        self.panel = Panel(left, ranks, lrs, low)
        self.title = left.set_title("α/√r, α = 8: loss after each run")
        self.joined, self.bottoms = _bottoms_panel(right, ranks, lrs, guess, about)
        ink = {"color": COLOURS["ink"], "linewidth": 1}
        (upright,) = left.plot([], [], transform=left.get_xaxis_transform(), **ink)
        (level,) = right.plot([], [], transform=right.get_yaxis_transform(), **ink)
        self.here = upright, level  # the learning rate at which the slider stands, in both panels
        ring = {"markersize": 13, "markerfacecolor": "none", "color": COLOURS["ink"]}
        self.dots = {rank: left.plot([], [], "o", **ring)[0] for rank in ranks}  # the runs at that learning rate
        legend(left, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0.88))
        moving = [self.panel.moving(), self.title, upright, level, self.dots, self.joined, self.bottoms]
        self.picture = Picture(made, moving)

    def show(self, title, losses, bottoms, lr=None):
        """Draw one rule's valleys, as `Panel.update` takes them; ``lr`` is where the slider stands."""
        self.title.set_text(title)
        self.panel.update(losses, bottoms)
        self.joined.set_data(list(bottoms), list(bottoms.values()))
        for rank, mark in self.bottoms.items():
            mark.set_data([rank], [bottoms[rank]]) if rank in bottoms else mark.set_data([], [])
        for axis, drawn in zip("xy", self.here, strict=True):
            drawn.set_visible(lr is not None)
            if lr is not None:
                drawn.set_data(([lr, lr], [0, 1]) if axis == "x" else ([0, 1], [lr, lr]))
        for rank, ring in self.dots.items():
            loss = losses.get(rank, {}).get(lr)
            ring.set_data(*(([lr], [min(loss, TOP)]) if loss is not None else ([], [])))


class Growing(TwoPanels):
    """The valleys as `watch` lets them grow."""

    def __init__(self, sweep, guess=None):
        guess = _checked(guess)
        super().__init__(sweep.ranks, sweep.lrs, guess, depth(sweep.loss))
        self.update(sweep)

    def update(self, sweep):
        """Draw the runs that have ended."""
        self.show(f"{_upper(sweep.rule)}: loss after each run", sweep.loss, sweep.bottoms())

    def sentence(self, sweep):
        """Tell where the bottoms lie, as far as they are known."""
        begun = "" if len(sweep) == sweep.planned else f"Ended after {len(sweep)} of {sweep.planned} runs. "
        return f"{begun}{_upper(sweep.rule)}: {_bottoms(sweep)}"


class Valleys(TwoPanels, View):
    """Buttons for the rule, and one learning rate for all ranks.

    Args:
        sweeps: Finished sweeps of the same ranks and learning rates, such as `grow_valleys` returns; None measures α/r
            and a constant at a few learning rates.
        guess: The learning rate at which the learner expects the bottom for the last rank under the last rule.

    Raises:
        ValueError: No sweep, two with the same rule, or with other ranks or learning rates; a guess outside 1e-6 to 10.
    """

    def __init__(self, sweeps=None, guess=None):
        self.guess = _checked(guess)
        sweeps = list(_few() if sweeps is None else sweeps)
        self.sweeps = {_upper(sweep.rule): sweep for sweep in sweeps}
        if not sweeps or len(self.sweeps) < len(sweeps):
            raise ValueError(f"sweeps={[sweep.rule for sweep in sweeps]}: give one or more, each with another rule.")
        if len({(sweep.ranks, sweep.lrs) for sweep in sweeps}) > 1:
            raise ValueError("the sweeps differ in ranks or learning rates: give each the same to compare them.")
        self.ranks, self.lrs = sweeps[0].ranks, sweeps[0].lrs
        self._low = min(depth(sweep.loss) for sweep in sweeps)
        self.sliders = {"rule": list(self.sweeps), "learning_rate": (list(self.lrs), self.lrs[len(self.lrs) // 2])}
        super().__init__(self.ranks, self.lrs, self.guess, self._low, list(self.sweeps)[-1])

    def move(self, rule, learning_rate):
        """Show one rule's valleys, and every rank's run at this learning rate."""
        sweep = self.sweeps[rule]
        self.show(f"{rule}: loss after each run", sweep.loss, sweep.bottoms(), learning_rate)
        there = {rank: losses[learning_rate] for rank, losses in sweep.loss.items() if learning_rate in losses}
        said = {rank: f"rank {rank} at {_loss(loss)}" for rank, loss in there.items()}
        times = {rank: sweep.above_lowest(rank, learning_rate) for rank, loss in there.items() if loss < inf}
        worst = max(times, key=times.get, default=None)
        if worst is not None and times[worst] > 1.05:
            said[worst] += f" ({spoken(times[worst])} × its lowest)"
        guessed = f" Your guess for rank {self.ranks[-1]}: {spoken(self.guess)}." if self._guessed(rule) else ""
        listed = ", ".join(said.values()) or "no run"
        return f"{rule}, learning rate {spoken(learning_rate)} for all: {listed}. {_bottoms(sweep, 'The')}{guessed}"

    def _guessed(self, rule):
        return self.guess is not None and rule == list(self.sweeps)[-1]

    def static_figure(self):
        """Return all rules side by side, and all their bottoms, for a saved notebook."""
        made = draw_rules(
            {rule: (sweep.loss, sweep.bottoms()) for rule, sweep in self.sweeps.items()},
            self.ranks, self.lrs, self.guess, self._low,
        )  # fmt: skip
        return show(made, " ".join(f"{rule}: {_bottoms(sweep)}" for rule, sweep in self.sweeps.items()))


class Panel:
    """One panel of valleys: lines, bottoms with plumb lines, crosses at the upper edge for what lies beyond."""

    def __init__(self, axes, ranks, lrs, low=LOW):
        self.axes, self.lines, self.marks = axes, {}, {}
        (self.beyond,) = axes.plot([], [], "x", color=COLOURS["ink"], markersize=8, markeredgewidth=2, clip_on=False)
        self.beyond.set_in_layout(False)
        for rank, role in roles(ranks).items():
            (self.lines[rank],) = axes.plot([], [], **line(role, markersize=5, label=f"rank {rank}"))
            (self.marks[rank],) = axes.plot(
                [], [], **line(role, linestyle="-", linewidth=1, markersize=11, markevery=[0], zorder=3)
            )
        axes.axhline(CHANCE, color=COLOURS["base"], linestyle=":", linewidth=1.2)
        axes.annotate("chance", (0, CHANCE), (4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="left", size=9, color=COLOURS["base"])  # fmt: skip
        self.words = axes.annotate(
            f"blew up, or beyond {TOP:g}", (lrs[0], TOP), (-10, -2), textcoords="offset points", ha="right", va="top",
            size=9, visible=False,
        )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(low, TOP)
        _ticks(axes.yaxis, low, TOP)
        axes.set_xscale("log")
        _lr_axis(axes.xaxis, axes.set_xlim, lrs)
        axes.set(xlabel="learning rate", ylabel="loss after the run (nats)")

    def moving(self):
        """What `update` moves."""
        return [self.lines, self.marks, self.beyond, self.words]

    def update(self, losses, bottoms):
        """Draw ``losses``, ``{rank: {lr: loss}}``, inf for a run that blew up, and ``bottoms``, ``{rank: lr}``."""
        beyond = []
        for rank, drawn in self.lines.items():
            points = sorted(losses.get(rank, {}).items())
            drawn.set_data([lr for lr, _ in points], [min(loss, TOP) for _, loss in points])
            beyond += [lr for lr, loss in points if loss >= TOP]
            lr = bottoms.get(rank)
            depth = [] if lr is None else [losses[rank][lr], 1e-9]  # the plumb line ends below the axis
            self.marks[rank].set_data([lr] * len(depth), depth)
        self.beyond.set_data(beyond, [TOP] * len(beyond))
        self.words.set_visible(bool(beyond))
        if beyond:
            self.words.xy = (min(beyond), TOP)
            left = self.axes.transData.transform(self.words.xy)[0] > self.axes.bbox.x0 + self.axes.bbox.width / 2
            self.words.set(ha="right" if left else "left")
            self.words.xyann = (-10 if left else 10, -2)


@styled
def draw_rules(rules, ranks, lrs, guess=None, low=LOW):
    """Draw each rule's valleys side by side, then the bottoms of all; return the figure.

    ``rules`` is ``{title: (losses, bottoms)}``, each as `Panel.update` takes them; the rest as `TwoPanels`.
    """
    guess = _checked(guess)
    made = figure(12, 3.9)
    *lefts, right = panels(made, columns=1 + len(rules), width_ratios=[1.3] * len(rules) + [1])
    _bottoms_panel(right, ranks, lrs, guess, list(rules)[-1])
    looks = cycle((("-", "full"), ("--", "none"), (":", "full")))  # line, and whether its marks are filled
    for axes, (title, (losses, bottoms)), (style, fill) in zip(lefts, rules.items(), looks, strict=False):
        panel = Panel(axes, ranks, lrs, low)
        panel.update(losses, bottoms)
        axes.set_title(title)
        if axes is not lefts[0]:
            axes.set_ylabel("")
        right.plot(list(bottoms), list(bottoms.values()), color=COLOURS["ink"], linestyle=style, label=title)
        for rank, lr in bottoms.items():
            role = roles(ranks)[rank]
            right.plot(rank, lr, MARKERS[role], color=COLOURS[role], fillstyle=fill, markersize=9, markeredgewidth=1.6)
    legend(lefts[0], loc="lower left")
    legend(right, loc="lower left")
    return made


def depth(losses):
    """Where a loss axis begins on which all these ``{rank: {lr: loss}}`` lie: `LOW`, or lower."""
    finite = [loss for line in losses.values() for loss in line.values() if loss < inf]
    return min([LOW, *(0.7 * loss for loss in finite)])


def _bottoms_panel(axes, ranks, lrs, guess, about=""):
    """Where the bottoms lie, by rank: a line that joins them, and a mark for each."""
    (joined,) = axes.plot([], [], color=COLOURS["ink"], linewidth=1.2)
    marks = {
        rank: axes.plot([], [], **line(role, linestyle="", markersize=9))[0] for rank, role in roles(ranks).items()
    }
    log2_axis(axes, ranks)
    axes.set_yscale("log")
    _lr_axis(axes.yaxis, axes.set_ylim, lrs)
    axes.set(
        xlabel="rank r", ylabel="learning rate", title="Where the bottom lies", xlim=(ranks[0] / 1.5, ranks[-1] * 1.5)
    )
    diamond(axes, ranks[-1], guess, f"your guess for rank {ranks[-1]}" + (f",\n{about}" if about else ""))
    if guess is not None:
        legend(axes, loc="lower left")
    return joined, marks


def _lr_axis(axis, limits, lrs):
    limits(lrs[0] / 1.2, lrs[-1] * 1.2)
    _ticks(axis, lrs[0] / 1.2, lrs[-1] * 1.2)


def _ticks(axis, low, high):
    """Ticks at 1 and 3 of each power of ten, as plain numbers."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    ticks = [tick for power in powers for tick in (power, 3 * power) if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def roles(ranks):
    """The role in which each rank is drawn."""
    spare = cycle(("full", "lora", "third", "other", "fourth"))
    return {rank: ROLES.get(rank) or next(spare) for rank in ranks}


@lru_cache(maxsize=1)
def _few():
    return measure_valleys(lrs=FEW), measure_valleys("alpha", alpha=1, lrs=FEW)


def _bottoms(sweep, the="the"):
    """One sentence about where the bottoms lie."""
    bottoms = sweep.bottoms()
    if not bottoms:
        return f"{the} bottoms are not known yet: each needs all of its runs."
    where = ", ".join(f"{spoken(lr)} (rank {rank})" for rank, lr in bottoms.items())
    spread = sweep.spread()
    if spread is None:
        return f"{the} bottom lies at {where}."
    factor = "all at one place" if spread == 1 else f"a factor of {spoken(spread)} apart"
    return f"{the} bottoms lie at {where}: {factor}."


def _loss(loss):
    return "infinity (it blew up)" if loss == inf else f"{loss:.2f}"


def _upper(text):
    return text[:1].upper() + text[1:] if text[0].isascii() else text
