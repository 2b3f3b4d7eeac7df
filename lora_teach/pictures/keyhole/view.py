"""Keyhole: a LoRA layer learns a photo that it never sees, and ends where the SVD would have cut it off."""

from functools import lru_cache

from lora_teach.datasets.photo import centred_pagoda
from lora_teach.live.explore import View
from lora_teach.measure.fitting import examples, fit_in_place, fresh_layer
from lora_teach.measure.spectrum import energy_lost, truncate
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, CYCLE, diamond, figure, legend, line, panels, photo, styled
from lora_teach.utils.validation import check_guess

import numpy as np

STEPS = 300
RANKS = (1, 2, 4, 8, 16)  # of the small multiples
LABEL_GAP = 5  # % of the start between two labels at the right
GUESSED_RANK = 2  # the rank whose loss the learner predicts


class Keyhole(View):
    """The update to be learnt is a photo; what may be seen of it is random x and x times the photo.

    Every move of the rank trains a new LoRALayer, 300 steps; the step slider goes back through them.

    Args:
        target: The hidden matrix, ``(in_features, out_features)``; None takes the pagoda.
        guess: The loss that the learner predicts for rank 2, in % of the loss at the start.

    Raises:
        TypeError: ``guess`` is no number.
        ValueError: ``guess`` is not from 0 to 100.
    """

    sliders = {"rank": (1, 32, 4), "step": (0, STEPS, STEPS, 10)}

    def __init__(self, target=None, guess=None):
        self.target = centred_pagoda() if target is None else target
        self.guess = check_guess(guess, 0, 100, "a number of %")
        self.batches = examples(self.target)
        self.floors = 100 * energy_lost(self.target)  # (k + 1,), % of the start, by rank
        self.run = lru_cache(maxsize=8)(self._run)  # a run of rank 32 holds 7 MB
        self._draw()

    def _run(self, rank):
        """Return a whole run at this rank: the fit, its loss by step in % of the start, and the best of that rank."""
        fit = fit_in_place(fresh_layer(self.target, rank), self.batches, STEPS)
        return fit, 100 * fit.loss(self.target).numpy(), truncate(self.target, rank)

    @styled
    def _draw(self):
        """Four panels: the target, the product now, the best of its rank, and the loss by step with its floor."""
        made = figure(12, 3.2)
        left, middle, right, curves = panels(made, columns=4, grid=False, width_ratios=[1, 1, 1, 1.55])
        left.set_title("hidden, to be learnt")
        self._photo(left, self.target)
        self.product, self.best = (self._photo(axes, np.zeros(self.target.shape)) for axes in (middle, right))
        middle.set_title("A·B, trained")  # rank and step stand in the sentence: a title that moves is a third of a move
        right.set_title("the best of its rank (SVD)")
        (self.whole,) = curves.plot([], [], **line("ghost", linewidth=1.4))
        (self.taken,) = curves.plot([], [], **line("lora", marker="", label="A·B, trained"))
        (self.dot,) = curves.plot([], [], **line("lora", linestyle=""))
        (self.floor,) = curves.plot([], [], **line("best", label="the best of its rank"))
        self._loss_axes(curves)
        legend(curves, loc="upper right")
        moving = [self.product, self.best, self.whole, self.taken, self.dot, self.floor]
        self.picture = Picture(made, moving)

    def move(self, rank, step):
        """Show a run of this rank after this step."""
        fit, loss, best = self.run(rank)
        floor = self.floors[rank].item()
        self.product.set_data(fit.product(step).numpy())
        self.best.set_data(best.numpy())
        self.whole.set_data(range(len(loss)), loss)
        self.taken.set_data(range(step + 1), loss[: step + 1])
        self.dot.set_data([step], [loss[step]])
        self.floor.set_data([0, STEPS], [floor, floor])
        return (
            f"Rank {rank}, after step {step}: the loss is {loss[step]:.1f} % of what it was at the start; no matrix of "
            f"rank {rank} gets below {floor:.1f} %. A and B hold {rank * sum(self.target.shape):,} numbers, "
            f"the hidden matrix {self.target.numel():,}."
        )

    def static_figure(self):
        """Five ranks side by side: trained above, the best below, and every loss with its floor."""
        losses = {rank: self.run(rank)[1] for rank in RANKS}
        above = max(loss[-1].item() - self.floors[rank].item() for rank, loss in losses.items())
        return show(
            self._draw_ranks(),
            f"Trained at rank {', '.join(map(str, RANKS))}, the loss ends at "
            f"{', '.join(f'{loss[-1]:.0f}' for loss in losses.values())} % of its start, nowhere more than "
            f"{max(1, round(above + 0.5))} percentage point above the best that this rank allows: A·B, trained, looks "
            "like the SVD's cut, which nobody computed for it.",
        )

    @styled
    def _draw_ranks(self):
        made = figure(12, 3.7)
        rows = [["target", *(f"trained {r}" for r in RANKS), "loss"], ["words", *(f"best {r}" for r in RANKS), "loss"]]
        axes = made.subplot_mosaic(rows, width_ratios=[*[1] * (1 + len(RANKS)), 2.1])
        self._photo(axes["target"], self.target)
        axes["target"].set_title("hidden", fontsize=10)
        axes["words"].axis("off")
        panel = axes["loss"]
        for rank, role in zip(RANKS, CYCLE, strict=False):
            fit, loss, best = self.run(rank)
            self._photo(axes[f"trained {rank}"], fit.product(STEPS))
            self._photo(axes[f"best {rank}"], best)
            axes[f"trained {rank}"].set_title(f"rank {rank}", fontsize=10)
            floor = self.floors[rank].item()
            panel.plot(loss, **line(role, marker="", linestyle="-"))
            panel.axhline(floor, **line(role, marker="", linestyle="--", linewidth=1))
        height = -LABEL_GAP  # of the labels, from the lowest up: each above the one before
        for rank in reversed(RANKS):
            height = max(self.floors[rank].item(), height + LABEL_GAP)
            panel.text(1.04 * STEPS, height, f"rank {rank}", va="center", fontsize=9, color=COLOURS["ink"])
        axes[f"trained {RANKS[0]}"].set_ylabel("A·B, trained")
        axes[f"best {RANKS[0]}"].set_ylabel("the best (SVD)")
        panel.set_title("solid: trained; dashed: the best of that rank", fontsize=10)
        if self._loss_axes(panel):
            legend(panel, loc="upper right")
        return made

    def _photo(self, axes, values):
        """A matrix in the target's shades of grey."""
        return photo(axes, values, self.target.min().item(), self.target.max().item())

    def _loss_axes(self, axes):
        """Set up the axes of the loss; return the guess's mark, or None."""
        axes.grid(True)
        axes.set(xlabel="step", ylabel="loss, % of the start", xlim=(0, 1.02 * STEPS), ylim=(0, 105))
        return diamond(axes, STEPS, self.guess, f"your guess for rank {GUESSED_RANK}")
