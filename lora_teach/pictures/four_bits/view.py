"""FourBits: how far a weight's numbers move when each becomes the nearest of a few codes."""

from functools import lru_cache

from lora_teach.bases import evaluate, load_name_gpt
from lora_teach.bases.quantized import normal_float
from lora_teach.datasets import names
from lora_teach.live.explore import View
from lora_teach.pictures.four_bits.numbers import even_codes, losses, rounded, stored
from lora_teach.plots import COLOURS, Picture, diamond, figure, legend, line, panels, show, styled
from lora_teach.utils.validation import check_guess

import numpy as np
import torch

LAYER = "blocks.1.mlp.up_proj"
READ = 300  # English test names that the loss is of
BLOCKS = (16, 64, 256, 1024)
SHOWN = (2, 3, 4, 8)  # bits of the static picture
EDGES = np.linspace(-1, 1, 81)  # of the errors' histogram, in standard deviations of the weights
TOP = 6.0  # nats: the largest loss that can be guessed


class FourBits(View):
    """Histogram of the rounding errors of one of NameGPT's layers, by bits and block size.

    Args:
        guess: What English names cost, in nats a letter, with every weight in 2 bits, as the learner expects it.

    Raises:
        TypeError: ``guess`` is no number.
        ValueError: ``guess`` is not from 2 to 6.
    """

    sliders = {"bits": (2, 8, 4), "block_size": (list(BLOCKS), 64)}
    labels = {"block_size": "block size"}

    def __init__(self, guess=None):
        self.guess = check_guess(guess, 2, TOP, "a loss in nats a letter")
        base, english = load_name_gpt(), names.load("English").test[:READ]
        self.weight = base.get_submodule(LAYER).weight.detach()  # (384, 96)
        self.before = evaluate(base, english)
        self.losses = lru_cache(maxsize=64)(lambda bits, block_size: losses(base, english, bits, block_size))
        self._draw()

    @styled
    def _draw(self):
        made = figure(9.6, 3.9)
        left, right = panels(made, columns=2, width_ratios=[1.5, 1])
        self.nf = left.stairs(np.zeros(len(EDGES) - 1), EDGES, fill=True, color=COLOURS["lora"], alpha=0.75)
        self.even = left.stairs(np.zeros(len(EDGES) - 1), EDGES, color=COLOURS["full"], linewidth=1.6)
        left.set(xlim=(-1, 1), ylim=(0, 0.5), xlabel="error, in standard deviations of the weights")
        left.set_yscale("function", functions=(np.sqrt, np.square))
        left.set_ylabel("share of the numbers")
        left.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        left.set_title(f"Rounding errors of {LAYER}")
        legend(left, handles=[self.nf, self.even], labels=["NormalFloat", "evenly spaced codes"], loc="upper right")
        self.codes = {
            name: right.plot([], [], "|", color=COLOURS[role], markersize=22, markeredgewidth=1.6)[0]
            for name, role in (("nf", "lora"), ("even", "full"))
        }
        self.grey = right.stairs(np.zeros(61), np.linspace(-1, 1, 62), fill=True, color=COLOURS["ghost"])
        right.set(
            xlim=(-1.05, 1.05),
            ylim=(0, 1),
            xticks=[-1, -0.5, 0, 0.5, 1],
            yticks=[],
            xlabel="share of the block's largest number",
        )
        right.set_title("The codes; in grey the weights")
        right.annotate("NormalFloat", (-1, 0.97), va="top", size=9, color=COLOURS["lora"])
        right.annotate("even", (-1, 0.76), va="top", size=9, color=COLOURS["full"])
        self.picture = Picture(made, [self.nf, self.even, self.codes, self.grey])

    def errors(self, bits, block_size):
        """Return the errors of NormalFloat and of even codes, and the bits stored for each number."""
        back, kept = stored(self.weight, bits, block_size)
        return back - self.weight, rounded(self.weight, even_codes(bits), block_size) - self.weight, kept

    def shares(self, error):
        """Return which share of the numbers has which error, one share for each step of `EDGES`."""
        inside = (error / self.weight.std()).clamp(-0.999, 0.999).flatten().numpy()
        return np.histogram(inside, EDGES)[0] / inside.size

    def move(self, bits, block_size):
        """Quantise the whole model so, and show one layer's errors."""
        ours, even, kept = self.errors(bits, block_size)
        for artist, error in ((self.nf, ours), (self.even, even)):
            artist.set_data(self.shares(error))
        for name, codes, height in (("nf", normal_float(bits), 0.84), ("even", even_codes(bits), 0.65)):
            self.codes[name].set_data(codes, [height] * len(codes))
        within = self.weight.flatten().split(block_size)
        counts = np.histogram(torch.cat([block / block.abs().max() for block in within]), 61, range=(-1, 1))[0]
        self.grey.set_data(0.55 * counts / counts.max())
        size, other = (error.norm() / self.weight.norm() for error in (ours, even))
        cost = self.losses(bits, block_size)
        return (
            f"{bits} bits, blocks of {block_size}: {kept:.2f} bits a number are stored. The error is {size:.1%} of the "
            f"weight; with even codes {other:.1%}. English costs {self.before:.2f} → {cost['NormalFloat']:.2f} nats a "
            f"letter; with even codes {cost['even']:.2f}, with random noise as large as the error {cost['noise']:.2f}."
            + self.your_guess(about=" for 2 bits", shown=bits == 2)
        )

    def static_figure(self):
        """Several numbers of bits side by side, and what they cost."""
        costs = {bits: self.losses(bits, 64) for bits in SHOWN}
        told = ", ".join(f"{bits} bits {cost['NormalFloat']:.2f}" for bits, cost in costs.items())
        noise = ", ".join(f"{cost['noise']:.2f}" for cost in costs.values())
        sentence = (
            f"Blocks of 64. English costs the base {self.before:.2f} nats a letter; with its weights in {told}; with "
            f"random noise as large as these errors {noise}.{self.your_guess(about=' for 2 bits')}"
        )
        return show(self.draw_bits(costs), sentence)

    @styled
    def draw_bits(self, costs):
        """Return a Figure: a histogram for each number of bits, and the loss by bits."""
        made = figure(11.6, 3.1)
        *grid, last = panels(made, columns=len(costs) + 1, width_ratios=[1] * len(costs) + [1.5])
        for axes, bits in zip(grid, costs, strict=True):
            ours, even, _ = self.errors(bits, 64)
            axes.stairs(self.shares(ours), EDGES, fill=True, color=COLOURS["lora"], alpha=0.75)
            axes.stairs(self.shares(even), EDGES, color=COLOURS["full"], linewidth=1.4)
            axes.set(title=f"{bits} bits", xlim=(-1, 1), ylim=(0, 0.5), xlabel="error / std of W")
            axes.set_yscale("function", functions=(np.sqrt, np.square))
            axes.set_yticks([0.01, 0.1, 0.3, 0.5] if axes is grid[0] else [], minor=False)
            axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        grid[0].set_ylabel("share of the numbers")
        looks = {"NormalFloat": line("lora"), "even": line("full"), "noise": line("base", linestyle="", marker="x")}
        for way, look in looks.items():
            last.plot(list(costs), [min(cost[way], TOP) for cost in costs.values()], **look, label=way)
        last.axhline(self.before, color=COLOURS["base"], linestyle=":", linewidth=1.2)
        last.set(title="What English costs", xlabel="bits", ylabel="nats a letter", xticks=list(costs))
        last.set_ylim(2.1, max(2.32, (self.guess or 2) + 0.05))
        diamond(last, 2, self.guess)
        legend(last, loc="upper right")
        return made
