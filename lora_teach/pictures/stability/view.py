"""Stability: over a whole run, how large is the update at each rank, under each rule of scaling? Every move trains."""

from functools import lru_cache

from lora_teach.bases import load_digit_net
from lora_teach.datasets import digits
from lora_teach.live.explore import View
from lora_teach.pictures.stability.numbers import RANKS, RULES, STEPS, followed, growth_at_end
from lora_teach.plots import Picture, figure, legend, line, panels, show, styled

RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
ROLES = {1: "fourth", 8: "lora", 64: "other"}
SIZES, LOSSES = (0.003, 10), (0.03, 20)  # the ends of both axes; what lies beyond is drawn at its edge


class Stability(View):
    """‖ΔW‖ / ‖W‖ by step and the loss by step, a line a rank, under the rule on the button."""

    sliders = {"rule": RULES, "learning_rate": (list(RATES), 0.001)}

    def __init__(self):
        split, base = digits.rotated(90), load_digit_net()
        self.run = lru_cache(maxsize=128)(lambda rank, rule, lr: followed(split, rank, rule, lr, base=base))
        self._draw()

    @styled
    def _draw(self):
        made = figure(9.6, 3.7)
        left, right = panels(made, columns=2)
        self.sizes, self.losses = (
            {rank: axes.plot([], [], **_line(rank))[0] for rank in RANKS} for axes in (left, right)
        )
        _dress(left, right)
        legend(left, loc="lower right")
        self.picture = Picture(made, [self.sizes, self.losses])

    def move(self, rule, learning_rate):
        """Train every rank under this rule at this rate, and draw the runs."""
        runs = {rank: self.run(rank, rule, learning_rate) for rank in RANKS}
        for rank, run in runs.items():
            self.sizes[rank].set_data(run.steps, _within(run.sizes, SIZES))
            self.losses[rank].set_data(run.steps, _within(run.losses, LOSSES))
        ends = ", ".join(f"rank {rank} {run.losses[-1]:.2f}" for rank, run in runs.items())
        return (
            f"With {RULES[rule]}, learning rate {learning_rate:g}: at the end rank {RANKS[-1]}'s update is "
            f"{growth_at_end(runs):.2g} times as large as rank {RANKS[0]}'s. Loss over the last steps: {ends} nats."
        )

    def static_figure(self):
        """The three rules side by side at the first rate."""
        lr = self.sliders["learning_rate"][1]
        runs = {rule: {rank: self.run(rank, rule, lr) for rank in RANKS} for rule in RULES}
        grown = ", ".join(f"{growth_at_end(by_rank):.2g} with {RULES[rule]}" for rule, by_rank in runs.items())
        sentence = (
            f"Digits turned by 90°, all at {lr:g}. At the end rank {RANKS[-1]}'s update is as many times "
            f"as large as rank {RANKS[0]}'s: {grown}."
        )
        return show(self.draw_rules(runs), sentence)

    @styled
    def draw_rules(self, runs):
        """Return a Figure: sizes above, losses below, one column a rule."""
        made = figure(9.6, 5.4)
        grid = panels(made, 2, len(runs), sharex=True, sharey="row")
        for (above, below), (rule, by_rank) in zip(grid.T, runs.items(), strict=True):
            for rank, run in by_rank.items():
                above.plot(run.steps, _within(run.sizes, SIZES), **_line(rank))
                below.plot(run.steps, _within(run.losses, LOSSES), **_line(rank))
            _dress(above, below)
            above.set(title=RULES[rule], xlabel="")
        for axes in grid[:, 1:].flat:
            axes.set_ylabel("")
        legend(grid[0, 0], loc="lower right")
        return made


def _line(rank):
    return line(ROLES[rank], markevery=8, label=f"rank {rank}")


def _dress(sizes, losses):
    for axes, (low, high), label in ((sizes, SIZES, "‖ΔW‖ / ‖W‖"), (losses, LOSSES, "loss, nats a digit")):
        axes.set_yscale("log")
        axes.set(xlim=(0, STEPS), ylim=(low, high), xlabel="step", ylabel=label)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _within(values, limits):
    low, high = limits
    return [min(max(value, low), high) if value == value else high for value in values]
