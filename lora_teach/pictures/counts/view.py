"""Counts: what a rank costs, in one layer and in a whole model."""

from lora_teach.bases import NameGPT
from lora_teach.live.explore import View
from lora_teach.measure.counting import break_even_rank, layer_parameters, lora_parameters
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, log2_axis, panels, styled
from lora_teach.utils.validation import check_guess

from matplotlib.patches import Rectangle

LAYER = "blocks.0.attention.q_proj"
RANKS = tuple(range(1, 65))
SHOWN = (1, 4, 16, 48, 64)  # ranks of the small multiples
GAP = 0.06  # between a weight and its A and B, as a share of in_features


class Counts(View):
    """The numbers that A and B hold at each rank, for one layer of NameGPT and for all of them.

    Args:
        guess: The rank at which the learner thinks that A and B are as large as the layer's weight.
        model: A NameGPT, of which only the sizes are read; None makes one.

    Raises:
        TypeError, ValueError: A guess that is no number, or lies outside 1 to 64.
    """

    sliders = {"rank": (1, 64, 4)}

    def __init__(self, guess=None, model=None):
        guess = check_guess(guess, 1, 64, "a rank")
        model = NameGPT() if model is None else model
        layer = model.get_submodule(LAYER)
        self.sizes = layer.in_features, layer.out_features
        self.even = break_even_rank(*self.sizes)
        self.weights = layer.weight.numel()
        self.total = sum(parameter.numel() for parameter in model.parameters())
        self.of_layer = {rank: layer_parameters(*self.sizes, rank) for rank in RANKS}
        one = lora_parameters(model, rank=1)
        self.of_model = {rank: rank * one for rank in RANKS}
        self._draw(guess)

    @styled
    def _draw(self, guess):
        """Three panels: the weight with A and B to scale, the layer's count by rank, the model's count by rank."""
        made = figure(12, 4.0)
        plan, layer, model = panels(made, columns=3, width_ratios=[1.15, 1.4, 1.4])
        self.strips, edge = _plan(plan, *self.sizes, max(RANKS), margin=4)
        words = "frozen weight\n{} × {}".format(*self.sizes)
        plan.text(self.sizes[1] / 2, self.sizes[0] / 2, words, ha="center", va="center")
        told = plan.text(edge, edge, "", ha="left", va="top", fontsize=10)
        self.dots, self.words = [], [told]  # Line2D on the layer's line and the model's; Texts on the plan, at the dots
        for axes, counts, whole, name in (
            (layer, list(self.of_layer.values()), self.weights, "the layer's weight"),
            (model, list(self.of_model.values()), self.total, "the whole model"),
        ):
            axes.plot(RANKS, counts, **line("lora", marker="", label="A and B"))
            axes.axhline(whole, **line("full", marker="", label=f"{name}: {whole:,}"))
            self.dots += axes.plot([], [], **line("lora", linestyle="", markersize=8))
            self.words.append(axes.text(0, 0, "", ha="right", va="bottom", fontsize=10, color=COLOURS["ink"]))
            log2_axis(axes, (1, 2, 4, 8, 16, 32, 64))
            axes.set(yscale="log", xlim=(0.42, max(RANKS) * 1.25), ylim=(min(counts) * 0.5, whole * 4))
            axes.minorticks_off()
            axes.set(xlabel="rank r", ylabel="numbers that train")
        foot = self.even, min(self.of_layer.values()) * 0.5
        layer.plot([self.even] * 2, [foot[1], self.weights], **line("best", marker="", linewidth=1.2))
        layer.annotate(f"r = {self.even:g}", foot, (-4, 6), textcoords="offset points", ha="right")
        layer.set_title("one layer, {} → {}".format(*self.sizes))
        model.set_title("every linear layer of NameGPT")
        diamond(layer, guess, self.weights)
        legend(layer, loc="upper left")
        legend(model, loc="upper left")
        self.picture = Picture(made, [self.strips, self.dots, self.words])

    def move(self, rank):
        """Show one rank."""
        _place(self.strips, *self.sizes, rank)
        self.words[0].set_text("A: {0} × {2}\nB: {2} × {1}".format(*self.sizes, rank))
        layer, model = self.of_layer[rank], self.of_model[rank]
        for dot, word, count in zip(self.dots, self.words[1:], (layer, model), strict=True):
            dot.set_data([rank], [count])
            word.set(position=(rank, count), text=f"{count:,}  ")
        return (
            f"Rank {rank}: {layer:,} numbers beside a weight of {self.weights:,} ({layer / self.weights:.0%}), and "
            f"{model:,} in all of NameGPT, {model / self.total:.1%} of its {self.total:,}."
        )

    def static_figure(self):
        """Return the same layer at several ranks."""
        return show(
            self._draw_ranks(),
            f"A (orange) and B (blue) to scale beside a weight of {self.weights:,} numbers, with their count and their "
            f"share of it. At r = {self.even:g} the two hold as many numbers as the weight: above that rank, training "
            "the weight itself is the smaller job.",
        )

    @styled
    def _draw_ranks(self):
        """The weight with A and B to scale at several ranks, side by side."""
        made = figure(11, 2.9)
        for axes, rank in zip(panels(made, columns=len(SHOWN), grid=False), SHOWN, strict=True):
            strips, _ = _plan(axes, *self.sizes, max(SHOWN), margin=2, linewidth=None, edgecolor=None)
            _place(strips, *self.sizes, rank)
            share = f"{self.of_layer[rank] / self.weights:.0%}"
            axes.text(self.sizes[1] / 2, self.sizes[0] / 2, share, ha="center", va="center", fontsize=13)
            axes.set_title(f"r = {rank}: {self.of_layer[rank]:,}", loc="center", fontsize=10)
        return made


def _plan(axes, in_features, out_features, most, margin, **look):
    """Draw a weight to scale with room for A and B of rank ``most``; returns A and B and where the room ends."""
    look = {"edgecolor": COLOURS["ink"], "linewidth": 0.8} | look
    axes.add_patch(Rectangle((0, 0), out_features, in_features, facecolor="#E3E3E3", edgecolor=COLOURS["base"]))
    A = axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=COLOURS["A"], **look))
    B = axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=COLOURS["B"], hatch="//", **look))
    edge = -GAP * in_features - most
    limits = {"xlim": (edge - margin, out_features + margin), "ylim": (in_features + margin, edge - margin)}
    axes.set(**limits, xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return (A, B), edge


def _place(strips, in_features, out_features, rank):
    """Give A and B this rank."""
    A, B = strips
    start = -GAP * in_features - rank
    A.set_bounds(start, 0, rank, in_features)
    B.set_bounds(0, start, out_features, rank)
