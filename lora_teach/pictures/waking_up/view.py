"""Waking up: the same run from four starts. Which factor has to start at zero, and why not both?"""

from functools import lru_cache

from lora_teach.datasets.photo import centred_pagoda
from lora_teach.live.explore import View
from lora_teach.measure.fitting import examples, fit_in_place, fresh_layer
from lora_teach.measure.spectrum import spectrum
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, matrix, panels, styled
from lora_teach.utils.validation import check_choice, check_guess

import numpy as np
import torch
from torch import nn

STARTS = ("B = 0", "A = 0", "both 0", "both random")
RANK, STEPS = 8, 300
SHOWN = (0, 1, 5, 20, 60, STEPS)  # steps of the small multiples
ENOUGH = 1e-12  # a gradient below this is told as exactly zero, which a logarithmic axis cannot show
LOW, HIGH = 0.02, 20.0  # ends of the gradients' axis, which is logarithmic
TOP = 180  # % of the loss without an update: the end of the loss's axis


def start_layer(target, start, rank=RANK):
    """Return a new layer for ``target``, ``(in_features, out_features)``, with the library's "B = 0" or a normal B."""
    check_choice("start", start, STARTS)
    layer = fresh_layer(target, rank)
    if start in ("A = 0", "both random"):
        nn.init.normal_(layer.lora_B, generator=torch.Generator().manual_seed(1))
    if start in ("A = 0", "both 0"):
        nn.init.zeros_(layer.lora_A)
    return layer


def gradient_norms(A, B, scaling, x, y):
    """Return the norms of ∂loss/∂A and ∂loss/∂B, where the loss is the mean of ``(scaling · x A B - y)²``.

    Shapes:
        A: ``(in_features, rank)``. B: ``(rank, out_features)``.
        x: ``(batch, in_features)``. y: ``(batch, out_features)``.
    """
    hidden = x @ A  # (batch, rank)
    error = (scaling * hidden @ B - y) * (2 * scaling / y.numel())  # (batch, out_features)
    return (x.T @ (error @ B.T)).norm().item(), (hidden.T @ error).norm().item()


class WakingUp(View):
    """A layer learns the photo from one of four starts; the step slider goes through the run.

    Args:
        guess: The loss that the learner predicts for step 0 of "both random", in % of the loss without an update.

    Raises:
        TypeError: ``guess`` is no number.
        ValueError: ``guess`` is not from 0 to 180.
    """

    sliders = {"start": list(STARTS), "step": (0, STEPS, 0)}

    def __init__(self, guess=None):
        self.guess = check_guess(guess, 0, TOP, "a number of %")
        self.target = centred_pagoda()
        self.batches = examples(self.target)
        self.run = lru_cache(maxsize=len(STARTS))(self._run)
        self._draw()

    def _run(self, start):
        """Return the fit, its loss by step in %, both gradients' norms by step, and A·B's singular values by step."""
        fit = fit_in_place(start_layer(self.target, start), self.batches, STEPS)
        norms = [
            gradient_norms(fit.A[step], fit.B[step], fit.scaling, *self.batches[step % len(self.batches)])
            for step in range(STEPS + 1)
        ]
        return fit, 100 * fit.loss(self.target), norms, _singular_values(fit)

    @styled
    def _draw(self):
        """Five panels: B above, A at the left and A·B between them; the gradients; the singular values; the loss."""
        made = figure(12, 4.1)
        axes = made.subplot_mosaic(
            [[".", "B", "gradient", "sigma", "loss"], ["A", "AB", "gradient", "sigma", "loss"]],
            width_ratios=[0.7, 3.2, 2, 2.6, 3],
            height_ratios=[0.7, 3.2],
        )
        usual, (rows, columns) = self.run("B = 0")[0], self.target.shape
        heats = {  # the shape, and what the colour is full at
            "A": ((rows, RANK), usual.A[-1] - usual.A[0]),
            "B": ((RANK, columns), usual.B[-1]),
            "AB": ((rows, columns), self.target),
        }
        self.factors = {name: _heat(axes[name], np.zeros(shape), full) for name, (shape, full) in heats.items()}
        axes["A"].set_xlabel(f"A - A₀\n({rows} × {RANK})")
        axes["B"].set_title(f"B ({RANK} × {columns})")
        self.title = axes["AB"].text(
            0.5, -0.04, f"A·B after step {STEPS}", transform=axes["AB"].transAxes, ha="center", va="top"
        )
        for name in ("gradient", "sigma", "loss"):
            axes[name].grid(True)
        self.gradients, self.words = _bars(axes["gradient"])
        axes["gradient"].set_title("size of the gradient")
        panel, wanted = axes["sigma"], spectrum(self.target)[:RANK].numpy()
        hollow = {"markersize": 9, "markerfacecolor": "none", "color": COLOURS["best"]}
        panel.plot(range(1, RANK + 1), wanted, "s", label="photo", **hollow)
        (self.sigma,) = panel.plot([], [], **line("lora", linestyle="", label="A·B now"))
        panel.set_title("singular values σᵢ")
        panel.set(xlabel="i", xlim=(0.3, RANK + 0.7), ylim=(-0.03 * wanted[0], 1.15 * wanted[0]))
        legend(panel, loc="upper right")
        panel = axes["loss"]
        (self.curve,) = panel.plot([], [], **line("lora", marker=""))
        (self.dot,) = panel.plot([], [], **line("lora", linestyle=""))
        panel.axhline(100, **line("base", marker="", linewidth=1.2, label="no update at all"))
        panel.set_title("loss, % of no update")
        panel.set(xlabel="step", xlim=(-0.02 * STEPS, STEPS), ylim=(0, TOP))
        diamond(panel, 0, self.guess)
        legend(panel, loc="upper right")
        moving = [self.factors, self.gradients, self.words, self.sigma, self.curve, self.dot, self.title]
        self.picture = Picture(made, moving)

    def move(self, start, step):
        """Show one step of the run from this start."""
        fit, loss, norms, sigma = self.run(start)
        for name, values in (("A", fit.A[step] - fit.A[0]), ("B", fit.B[step]), ("AB", fit.product(step))):
            self.factors[name].set_data(values.numpy())
        _raise(self.gradients, self.words, norms[step])
        self.sigma.set_data(range(1, RANK + 1), sigma[step])
        self.curve.set_data(range(len(loss)), loss)
        self.dot.set_data([step], [loss[step]])
        self.title.set_text(f"A·B after step {step}")
        of_A, of_B = map(_told, norms[step])
        return (
            f"{start}, after step {step}: the loss is {loss[step]:.0f} % of the loss without an update. The gradient "
            f"of A is {of_A}, that of B {of_B}."
        )

    def static_figure(self):
        """The four starts as rows."""
        spoilt = self.run("both random")[1][0]
        return show(
            self._draw_starts(),
            "A·B from four starts, orange where brighter than the photo's mean. With one factor at zero there is no "
            "update at first, and only the zero factor has a gradient; that wakes the other. Both at zero never learn. "
            f"Both random start at {spoilt:.0f} % of the loss without an update.",
        )

    @styled
    def _draw_starts(self):
        """A row for each start: A·B at some steps, the two gradients at step 0, and the loss."""
        made = figure(11, 6.6)
        widths = [1] * len(SHOWN) + [1.5, 1.9]
        grid = panels(made, rows=len(STARTS), columns=len(widths), grid=False, width_ratios=widths)
        for row, start in zip(grid, STARTS, strict=True):
            fit, loss, norms, _ = self.run(start)
            *heats, bars, curve = row
            for axes, step in zip(heats, SHOWN, strict=True):
                _heat(axes, fit.product(step), self.target)
            row[0].set_ylabel(start, rotation=0, ha="right", va="center", fontsize=11, weight="bold", labelpad=8)
            _raise(*_bars(bars), norms[0])
            curve.axhline(100, **line("base", marker="", linewidth=1.2))
            curve.plot(loss, **line("lora", marker=""))
            curve.set(xlim=(-4, len(loss)), ylim=(0, TOP), yticks=[0, 50, 100, 150])
        *heats, bars, curve = grid[0]
        for axes, step in zip(heats, SHOWN, strict=True):
            axes.set_title("step 0" if step == 0 else f"{step}", loc="center", fontsize=10)
        bars.set_title("size of gradient, step 0", fontsize=10)
        curve.set_title("loss, % of no update", fontsize=10)
        grid[-1][-1].set_xlabel("step")
        return made


def _singular_values(fit):
    """Return the singular values of every step's update, ``(steps + 1, rank)``, from r × r matrices only."""
    # A·B has the singular values of R_A · R_Bᵀ, where A = Q_A R_A and Bᵀ = Q_B R_B.
    of_A, of_B = torch.linalg.qr(fit.A).R, torch.linalg.qr(fit.B.mT).R  # (steps + 1, rank, rank) each
    return fit.scaling * torch.linalg.svdvals(of_A @ of_B.mT)


def _bars(axes):
    """Two bars on a logarithmic axis, of A and of B, and a word over each."""
    colours = [COLOURS["A"], COLOURS["B"]]
    bars = list(axes.bar(["of A", "of B"], [LOW, LOW], bottom=LOW, color=colours, width=0.6))
    bars[1].set_hatch("//")
    words = [axes.text(place, LOW, "exactly 0", ha="center", va="bottom", fontsize=9) for place in (0, 1)]
    axes.set(yscale="log", ylim=(LOW, HIGH))
    axes.grid(False)
    return bars, words


def _raise(bars, words, norms):
    """Bring the two bars and their words to these norms."""
    for bar, word, norm in zip(bars, words, norms, strict=True):
        bar.set_height(max(norm - LOW, 0))
        word.set(text=_told(norm), y=max(norm, LOW))


def _heat(axes, values, full):
    """A heat map that fills its axes; its colour is full at the 99th percentile of ``full``'s magnitudes."""
    image = matrix(axes, values, full.abs().quantile(0.99).item())
    axes.set_aspect("auto")
    return image


def _told(norm):
    return "exactly 0" if norm < ENOUGH else f"{norm:.2g}"
