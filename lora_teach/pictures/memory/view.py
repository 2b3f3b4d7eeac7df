"""Memory: what a training step holds, and why LoRA saves much of it in small batches and little in large ones."""

from lora_teach.live.explore import View
from lora_teach.measure.architectures import build, targets
from lora_teach.measure.predicted_memory import predict_memory, readable
from lora_teach.measure.results import load_result
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, log2_axis, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np
import torch

MODELS = {"SmolLM2-135M": torch.float32, "Llama-3.2-1B": torch.bfloat16, "Llama-3.1-8B": torch.bfloat16}
START = (4, 128)
TOKENS = [2**power for power in range(5, 17)]  # the x of the lines
RANK = 8
WAYS = {  # the bars, and what data/memory.json calls them
    "full fine-tuning": ({}, "full"),
    "LoRA": ({"rank": RANK}, "all linear r8"),
    "LoRA with\ncheckpointing": ({"rank": RANK, "checkpointing": True}, "all linear r8, checkpointed"),
}
SHOWN_MODEL, SHOWN_RANKS, SHOWN_BATCHES = "Llama-3.1-8B", (1, 8, 64, 256), ((1, 128), (8, 512), (32, 2048))
PARTS = {  # the four parts of a bar, from below, and how each is told without its colour
    "weights, adapters among them": {"facecolor": "#E3E3E3", "hatch": ""},
    "gradients": {"facecolor": COLOURS["other"], "hatch": "///"},
    "optimiser": {"facecolor": COLOURS["third"], "hatch": ".."},
    "activations": {"facecolor": COLOURS["fourth"], "hatch": "xx"},
}
EDGE = {"edgecolor": COLOURS["ink"], "linewidth": 0.6}
STEPS = (1, 1.5, 2, 3, 5, 7, 10)  # the axis ends at one of these, times a power of ten


class MemoryBars(View):
    """What full fine-tuning, LoRA and LoRA with checkpointing hold, by batch size and sequence length.

    Predicted from shapes (`predict_memory`), with AdamW and rank 8 on every linear layer; white dots are measured
    steps, from ``data/memory.json``. SmolLM2 is in float32, as it was measured, the larger models in bfloat16.

    Args:
        guess: The share of full fine-tuning's memory that the learner expects LoRA to hold in the batch at the start,
            0 to 1.

    Raises:
        TypeError, ValueError: A guess that is no share.
    """

    sliders = {
        "model": list(MODELS),
        "batch_size": ([1, 2, 4, 8, 16, 32], START[0]),
        "seq_len": ([32, 64, 128, 256, 512, 1024, 2048], START[1]),
    }
    labels = {"batch_size": "sequences in a batch", "seq_len": "tokens in each"}

    def __init__(self, guess=None):
        guess = check_guess(guess, 0, 1, "a share")
        self.models = {name: build(name) for name in MODELS}
        self.results = load_result("memory")["results"]["memory"]
        self._shares = {}  # model -> LoRA's share at each of TOKENS, without and with checkpointing
        self._draw(guess)

    @styled
    def _draw(self, guess):
        """Two panels: a bar for each way of training, and the share that LoRA needs by the tokens in a batch."""
        made = figure(11, 4.5)
        left, right = self.axes = panels(made, columns=2, width_ratios=[1.25, 1])
        places = np.arange(len(WAYS))
        self.bars = [  # for each part the Rectangles of all bars
            list(left.bar(places, np.ones(len(WAYS)), 0.7, label=part, **look, **EDGE)) for part, look in PARTS.items()
        ]
        self.words = [left.text(place, 0, "", ha="center", va="bottom", fontsize=10) for place in places]
        look = {"color": COLOURS["ink"], "markerfacecolor": "white", "markeredgewidth": 1.6}
        (self.measured,) = left.plot([], [], "o", markersize=7, **look, label="measured")
        left.set_xticks(places, list(WAYS), fontsize=10)
        left.set(ylabel="held in a step, GB (10⁹ bytes)", xlim=(-0.5, len(WAYS) - 0.4), ylim=(0, 700))
        left.grid(False, axis="x")  # the limit so far leaves room for wide numbers at the ticks
        self.title = left.set_title(" ")
        _legend_below(made, left)
        full, *others = (way.replace("\n", " ") for way in WAYS)
        right.axhline(1, **line("full", marker="", label=full))
        self.lines, self.dots = [], []  # Line2Ds: shares by tokens, and where this batch is on them
        for role, name in zip(("lora", "other"), others, strict=True):
            self.lines += right.plot([], [], **line(role, marker="", label=name))
            self.dots += right.plot([], [], **line(role, linestyle="", markersize=9))
        ticks = TOKENS[::3]
        log2_axis(right, ticks, [f"{tick:,}" for tick in ticks])
        right.minorticks_off()
        right.set(xlim=(TOKENS[0] / 1.3, TOKENS[-1] * 1.3), ylim=(0, 1.08), xlabel="tokens in a batch")
        right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        right.set_title("share of full fine-tuning's memory")
        diamond(right, START[0] * START[1], guess)
        legend(right, loc="upper left", bbox_to_anchor=(0.0, 0.9))
        self.picture = Picture(made, [self.bars, self.words, self.measured, self.lines, self.dots, self.title])

    def move(self, model, batch_size, seq_len):
        """Show one batch of one model."""
        held = np.array([_parts(self.models[model], model, batch_size, seq_len, way) for way, _ in WAYS.values()])
        rows = self.results.get(model, {}).get(f"{batch_size} × {seq_len}")
        found = [sum(rows[name]["measured"]) for _, name in WAYS.values()] if rows else []
        totals = full, lora, again = held.sum(1).tolist()  # bytes
        self.stack(held, found)
        for drawn, dot, shares, total in zip(self.lines, self.dots, self.shares(model), totals[1:], strict=True):
            drawn.set_data(TOKENS, shares)
            dot.set_data([batch_size * seq_len], [total / full])
        kind = str(MODELS[model]).removeprefix("torch.")
        self.title.set_text(f"{model} in {kind}, {batch_size} × {seq_len} tokens")
        said = (
            f"{batch_size} × {seq_len} = {batch_size * seq_len:,} tokens: full fine-tuning of {model} holds "
            f"{readable(full)}, LoRA {readable(lora)} ({lora / full:.0%}), with checkpointing {readable(again)} "
            f"({again / full:.0%}). Of what LoRA holds, {held[1, 3] / lora:.0%} are activations."
        )
        return said + (f" Measured: {', '.join(map(readable, found))}." if found else "")

    def stack(self, held, measured=()):
        """Stack the bars.

        Args:
            held: For each bar its four parts in bytes, ``(3, 4)``, in the order of `PARTS`.
            measured: For each bar the measured total in bytes; empty where nothing was measured.
        """
        held = np.asarray(held, float) / 1e9
        totals, bottoms = held.sum(1), held.cumsum(1) - held
        for part, rectangles in enumerate(self.bars):
            for bar, rectangle in enumerate(rectangles):
                rectangle.set(y=bottoms[bar, part], height=held[bar, part])
        top = _ceiling(1.12 * totals.max())
        if top != self.axes[0].get_ylim()[1]:
            self.axes[0].set_ylim(0, top)
            self.picture.background_changed()
        for bar, (word, total) in enumerate(zip(self.words, totals, strict=True)):
            digits = 2 if total < 10 else 1 if total < 100 else 0
            text = f"{total:.{digits}f} GB" + ("" if bar == 0 else f"\n{total / totals[0]:.0%}")
            word.set(position=(bar, total + 0.012 * top), text=text)
        self.measured.set_data(np.arange(len(measured)) + 0.44, np.asarray(measured, float) / 1e9)

    def shares(self, model):
        """LoRA's share of full fine-tuning's memory at each of `TOKENS`, without and with checkpointing."""
        if model not in self._shares:
            base, seq = self.models[model], TOKENS[0]
            held = [[sum(_parts(base, model, n // seq, seq, way)) for n in TOKENS] for way, _ in WAYS.values()]
            full, *others = np.array(held)  # (tokens,) each
            self._shares[model] = [other / full for other in others]
        return self._shares[model]

    def static_figure(self):
        """Return ranks, batches and checkpointing side by side, of an 8-billion-parameter model."""
        bars = {"full": {}} | {f"r {rank}": {"rank": rank} for rank in SHOWN_RANKS}
        held = {
            row: {
                f"{batch_size} × {seq_len} tokens": {
                    bar: _parts(self.models[SHOWN_MODEL], SHOWN_MODEL, batch_size, seq_len, options | extra)
                    for bar, options in bars.items()
                }
                for batch_size, seq_len in SHOWN_BATCHES
            }
            for row, extra in {"all kept": {}, "with checkpointing": {"checkpointing": True}}.items()
        }
        few, *_, many = held["all kept"].values()
        *_, again = held["with checkpointing"].values()
        lora, most = f"r {RANK}", f"r {SHOWN_RANKS[-1]}"

        def share(part, column):
            return f"{sum(part) / sum(column['full']):.0%}"

        return show(
            draw_ranks(held),
            f"What a step of {SHOWN_MODEL} in bfloat16 holds, predicted, as a share of full fine-tuning with all kept. "
            f"With few tokens LoRA of rank {RANK} needs {share(few[lora], few)}: gradients and optimiser state are "
            f"nearly gone (rank {SHOWN_RANKS[-1]} needs {share(few[most], few)}). With many tokens it needs "
            f"{share(many[lora], many)}, as it keeps nearly the same activations. Checkpointing computes them again "
            f"and brings that to {share(again[lora], many)}, and full fine-tuning to {share(again['full'], many)}.",
        )


@styled
def draw_ranks(held):
    """Small multiples: columns by batch, rows without and with checkpointing, a bar for each rank.

    ``held`` is ``{row: {column: {bar: its four parts in bytes}}}``; the first bar of all is 100 % of its column.
    """
    rows, columns = list(held), list(next(iter(held.values())))
    made = figure(11, 5.2)
    grid = panels(made, rows=len(rows), columns=len(columns), sharey=True, sharex=True, squeeze=False)
    for across, column in enumerate(columns):
        whole = sum(next(iter(held[rows[0]][column].values())))
        for down, row in enumerate(rows):
            axes, bars = grid[down, across], held[row][column]
            shares = np.array(list(bars.values()), float) / whole  # (bars, parts)
            bottoms = shares.cumsum(1) - shares
            for part, (name, look) in enumerate(PARTS.items()):
                axes.bar(range(len(bars)), shares[:, part], 0.74, bottoms[:, part], label=name, **look, **EDGE)
            for bar, total in enumerate(shares.sum(1)):
                axes.text(bar, total + 0.015, f"{total:.0%}", ha="center", va="bottom", fontsize=9)
            axes.set_xticks(range(len(bars)), list(bars))
            axes.set_ylim(0, 1.14)
            axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
            axes.grid(False, axis="x")
        grid[0, across].set_title(f"{column} (100 % is {whole / 1e9:,.0f} GB)", fontsize=10)
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(row)
    _legend_below(made, grid[0, 0])
    return made


def _legend_below(made, axes):
    handles, labels = axes.get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)


def _ceiling(value):
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step for step in STEPS if step * power >= value * 0.999999) * power)


def _parts(model, name, batch_size, seq_len, options):
    """What a step holds in bytes: weights and adapters, gradients, optimiser state, activations."""
    if "rank" in options:
        options = options | {"target_modules": targets(name, "all linear")}
    held = predict_memory(model, batch_size, seq_len, dtype=MODELS[name], **options)
    return held.weights + held.adapters, held.gradients, held.optimiser, held.activations
