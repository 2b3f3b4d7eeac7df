"""Counts: how many numbers an adapter trains, for one layer and for a whole model, by rank."""

from dataclasses import dataclass

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled

import numpy as np
from matplotlib.patches import Rectangle


@dataclass
class Counts:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    strips: tuple  # Rectangles: A and B beside the weight, to scale
    dots: tuple  # Line2D: on the layer's line, on the model's
    words: tuple  # Texts: over the drawing, beside the dots

    def update(self, rank, in_features, out_features, of_layer, of_model) -> None:
        """Show one rank: the counts of the layer and of the model belong to it."""
        A, B = self.strips
        A.set_bounds(-0.06 * in_features - rank, 0, rank, in_features)
        B.set_bounds(0, -0.06 * in_features - rank, out_features, rank)
        self.words[0].set_text(f"A: {in_features} × {rank}\nB: {rank} × {out_features}")
        for dot, word, count in zip(self.dots, self.words[1:], (of_layer, of_model), strict=True):
            dot.set_data([rank], [count])
            word.set_position((rank, count))
            word.set_text(f"{count:,}  ")


@styled
def draw(in_features, out_features, ranks, of_layer, of_model, weights, model_total, break_even, guess=None) -> Counts:
    """Three panels: the weight with A and B to scale, the layer's count by rank, the model's count by rank.

    Args:
        in_features: Height of A.
        out_features: Width of B.
        ranks: The ranks of the two lines.
        of_layer: Numbers that the layer's adapter trains at each of them.
        of_model: Numbers that an adapter of every layer trains at each.
        weights: Numbers in the layer's weight.
        model_total: Numbers in the model.
        break_even: Rank at which the adapter is as large as the weight.
        guess: The learner's prediction of that rank; None draws nothing.
    """
    made = figure(12, 4.0)
    plan, layer, model = panels(made, columns=3, width_ratios=[1.15, 1.4, 1.4])
    plan.grid(False)
    plan.add_patch(Rectangle((0, 0), out_features, in_features, facecolor="#E3E3E3", edgecolor=COLOURS["base"]))
    plan.text(
        out_features / 2, in_features / 2, f"frozen weight\n{in_features} × {out_features}", ha="center", va="center"
    )
    strips = (
        Rectangle((0, 0), 1, 1, facecolor=COLOURS["other"], edgecolor=COLOURS["ink"], linewidth=0.8),
        Rectangle((0, 0), 1, 1, facecolor=COLOURS["lora"], edgecolor=COLOURS["ink"], linewidth=0.8, hatch="//"),
    )
    for strip in strips:
        plan.add_patch(strip)
    edge = -0.06 * in_features - max(ranks)
    plan.set(xlim=(edge - 4, out_features + 4), ylim=(in_features + 4, edge - 4), xticks=[], yticks=[], aspect="equal")
    for spine in plan.spines.values():
        spine.set_visible(False)
    told = plan.text(edge, edge, "", ha="left", va="top", fontsize=10)
    dots, words = [], [told]
    for axes, counts, whole, name in (
        (layer, of_layer, weights, "the layer's weight"),
        (model, of_model, model_total, "the whole model"),
    ):
        axes.plot(ranks, counts, **line("lora", marker="", label="A and B"))
        axes.axhline(whole, **line("full", marker="", label=f"{name}: {whole:,}"))
        (dot,) = axes.plot([], [], **line("lora", linestyle="", markersize=8))
        dots.append(dot)
        words.append(axes.text(0, 0, "", ha="right", va="bottom", fontsize=10, color=COLOURS["ink"]))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlim(0.42, max(ranks) * 1.25)
        axes.set_ylim(min(counts) * 0.5, whole * 4)
        ticks = [rank for rank in (1, 2, 4, 8, 16, 32, 64) if rank <= max(ranks)]
        axes.set_xticks(ticks, [str(rank) for rank in ticks])
        axes.minorticks_off()
        axes.set(xlabel="rank r", ylabel="numbers that train")
    layer.plot([break_even] * 2, [min(of_layer) * 0.5, weights], **line("best", marker="", linewidth=1.2))
    layer.annotate(
        f"r = {break_even:g}", (break_even, min(of_layer) * 0.5), (-4, 6), textcoords="offset points", ha="right"
    )
    layer.set_title(f"one layer, {in_features} → {out_features}")
    model.set_title("every linear layer of NameGPT")
    diamond(layer, guess, weights)
    legend(layer, loc="upper left")
    legend(model, loc="upper left")
    picture = Picture(made, [strips, dots, words])
    return Counts(picture, strips, tuple(dots), tuple(words))


@styled
def draw_ranks(in_features, out_features, counts, weights):
    """The weight with A and B to scale at several ranks, side by side.

    Args:
        in_features: Height of A.
        out_features: Width of B.
        counts: ``{rank: numbers that train}``.
        weights: Numbers in the weight.

    Returns:
        A Figure.
    """
    made = figure(11, 2.9)
    top = max(counts)
    for axes, (rank, count) in zip(
        np.ravel(panels(made, columns=len(counts), grid=False)), counts.items(), strict=True
    ):
        gap = 0.06 * in_features
        axes.add_patch(Rectangle((0, 0), out_features, in_features, facecolor="#E3E3E3", edgecolor=COLOURS["base"]))
        axes.add_patch(Rectangle((-gap - rank, 0), rank, in_features, facecolor=COLOURS["other"]))
        axes.add_patch(Rectangle((0, -gap - rank), out_features, rank, facecolor=COLOURS["lora"], hatch="//"))
        axes.text(out_features / 2, in_features / 2, f"{count / weights:.0%}", ha="center", va="center", fontsize=13)
        axes.set_title(f"r = {rank}: {count:,}", loc="center", fontsize=10)
        edge = -gap - top
        axes.set(
            xlim=(edge - 2, out_features + 2), ylim=(in_features + 2, edge - 2), xticks=[], yticks=[], aspect="equal"
        )
        for spine in axes.spines.values():
            spine.set_visible(False)
    return made
