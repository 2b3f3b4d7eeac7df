"""Waking up: the two factors of a layer, their product and their gradients, from the first step on."""

from dataclasses import dataclass

import numpy as np

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, SIGNED, diamond, figure, legend, line, panels, styled

ENOUGH = 1e-12  # a gradient below this is told as exactly zero, which a logarithmic axis cannot show
LOW, HIGH = 0.02, 20.0  # ends of the gradients' axis, which is logarithmic


@dataclass
class WakingUp:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    factors: dict  # "A", "B", "AB" -> AxesImage
    gradients: list  # two bars, of A and of B
    words: list  # their values
    sigma: object  # Line2D: singular values of A·B now
    curve: object  # Line2D: the loss of the whole run
    dot: object  # Line2D: at the step that is shown
    title: object  # Text

    def update(self, change_A, B, product, gradients, sigma, loss, step) -> None:
        """Show one step.

        Args:
            change_A: A - A₀, ``(in_features, rank)``.
            B: ``(rank, out_features)``.
            product: A·B, ``(in_features, out_features)``.
            gradients: Norms of the two gradients, of A and of B.
            sigma: Singular values of A·B, ``(rank,)``.
            loss: In % of the loss without an update, ``(steps + 1,)``.
            step: The step that is shown.
        """
        for name, values in (("A", change_A), ("B", B), ("AB", product)):
            self.factors[name].set_data(values)
        for bar, word, norm in zip(self.gradients, self.words, gradients, strict=True):
            _raise(bar, word, norm)
        self.sigma.set_data(range(1, len(sigma) + 1), sigma)
        self.curve.set_data(range(len(loss)), loss)
        self.dot.set_data([step], [loss[step]])
        self.title.set_text(f"A·B after step {step}")


@styled
def draw(target, rank, steps, limits, wanted, guess=None) -> WakingUp:
    """Five panels: B above, A at the left and A·B between them; the gradients; the singular values; the loss.

    Args:
        target: ΔW*, ``(in_features, out_features)``; only its colours' limits and shape are used.
        rank: Columns of A.
        steps: Length of a run.
        limits: ``{"A": …, "B": …, "AB": …}``, the magnitude at which each heat map's colour is full.
        wanted: The target's largest singular values, ``(rank,)``: the hollow marks.
        guess: The learner's prediction of the loss at step 0 when both start at random; None draws nothing.
    """
    made = figure(12, 4.1)
    rows, columns = target.shape
    axes = made.subplot_mosaic(
        [[".", "B", "gradient", "sigma", "loss"], ["A", "AB", "gradient", "sigma", "loss"]],
        width_ratios=[0.7, 3.2, 2, 2.6, 3],
        height_ratios=[0.7, 3.2],
    )
    shapes = {"A": (rows, rank), "B": (rank, columns), "AB": (rows, columns)}
    factors = {name: _heat(axes[name], np.zeros(shape), limits[name]) for name, shape in shapes.items()}
    axes["A"].set_xlabel(f"A - A₀\n({rows} × {rank})")
    axes["B"].set_title(f"B ({rank} × {columns})")
    title = axes["AB"].text(
        0.5, -0.04, f"A·B after step {steps}", transform=axes["AB"].transAxes, ha="center", va="top"
    )
    for name in ("gradient", "sigma", "loss"):
        axes[name].grid(True)
    panel = axes["gradient"]
    gradients, words = _bars(panel)
    panel.set_title("size of the gradient")
    panel = axes["sigma"]
    panel.plot(
        range(1, rank + 1), wanted, "s", markersize=9, markerfacecolor="none", color=COLOURS["best"], label="ΔW*"
    )
    (sigma,) = panel.plot([], [], **line("lora", linestyle="", label="A·B now"))
    panel.set_title("singular values σᵢ")
    panel.set(xlabel="i", xlim=(0.3, rank + 0.7), ylim=(-0.03 * wanted[0], 1.15 * wanted[0]))
    legend(panel, loc="upper right")
    panel = axes["loss"]
    (curve,) = panel.plot([], [], **line("lora", marker=""))
    (dot,) = panel.plot([], [], **line("lora", linestyle=""))
    panel.axhline(100, **line("base", marker="", linewidth=1.2, label="no update at all"))
    panel.set_title("loss, % of no update")
    panel.set(xlabel="step", xlim=(-0.02 * steps, steps), ylim=(0, 180))
    diamond(panel, 0, guess)
    legend(panel, loc="upper right")
    picture = Picture(made, [factors, gradients, words, sigma, curve, dot, title])
    return WakingUp(picture, factors, gradients, words, sigma, curve, dot, title)


@styled
def draw_starts(products, losses, gradients, limit):
    """The four starts as rows: A·B at some steps, the two gradients at step 0, and the loss.

    Args:
        products: ``{start: {step: A·B}}``.
        losses: ``{start: loss in % of no update, (steps + 1,)}``.
        gradients: ``{start: (norm of A's, norm of B's)}`` at step 0.
        limit: The magnitude at which the heat maps' colour is full.

    Returns:
        A Figure.
    """
    steps = list(next(iter(products.values())))
    made = figure(11, 6.6)
    grid = panels(
        made, rows=len(products), columns=len(steps) + 2, grid=False, width_ratios=[1] * len(steps) + [1.5, 1.9]
    )
    for row, (start, images) in zip(grid, products.items(), strict=True):
        for axes, (step, product) in zip(row, images.items(), strict=False):
            _heat(axes, product, limit)
            if start == next(iter(products)):
                axes.set_title("step 0" if step == 0 else f"{step}", loc="center", fontsize=10)
        row[0].set_ylabel(start, rotation=0, ha="right", va="center", fontsize=11, weight="bold", labelpad=8)
        bars, curve = row[-2:]
        for bar, word, norm in zip(*_bars(bars), gradients[start], strict=True):
            _raise(bar, word, norm)
        curve.axhline(100, **line("base", marker="", linewidth=1.2))
        curve.plot(losses[start], **line("lora", marker=""))
        curve.set(xlim=(-4, len(losses[start])), ylim=(0, 180), yticks=[0, 50, 100, 150])
        if start == next(iter(products)):
            bars.set_title("size of gradient, step 0", fontsize=10)
            curve.set_title("loss, % of no update", fontsize=10)
    grid[-1][-1].set_xlabel("step")
    return made


def _bars(axes):
    """Two bars on a logarithmic axis, of A and of B, and a word over each."""
    bars = list(
        axes.bar(["of A", "of B"], [LOW, LOW], bottom=LOW, color=[COLOURS["other"], COLOURS["lora"]], width=0.6)
    )
    bars[1].set_hatch("//")
    words = [axes.text(place, LOW, "exactly 0", ha="center", va="bottom", fontsize=9) for place in (0, 1)]
    axes.set(yscale="log", ylim=(LOW, HIGH))
    axes.grid(False)
    return bars, words


def _raise(bar, word, norm):
    bar.set_height(max(norm - LOW, 0))
    word.set_text("exactly 0" if norm < ENOUGH else f"{norm:.2g}")
    word.set_y(max(norm, LOW))


def _heat(axes, values, limit):
    image = axes.imshow(values, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=COLOURS["ghost"])
    return image
