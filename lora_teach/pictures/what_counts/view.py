"""What the loss counts: the lengths of all examples, and one of them with its masked tokens pale."""

from lora_teach.bases.registry import load_base
from lora_teach.datasets.shipped import shipped_file
from lora_teach.live.explore import View
from lora_teach.pictures.what_counts.numbers import marked
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, figure, legend, panels, styled

import numpy as np

WIDTH, ROWS = 44, 9  # characters in a line, and lines, of the page that shows examples


class WhatCounts(View):
    """A slider through the examples.

    Args:
        base: A `TextBase` or a `NamesBase`; None loads NameGPT.
        examples: From ``base.read``, with their completions; None reads ``data/dragons.jsonl``.
    """

    def __init__(self, base=None, examples=None):
        base = base or load_base("names")
        if examples is None:
            examples = base.read(shipped_file("dragons.jsonl", "python data/make_dragons.py"))
        self.examples = [marked(base, example) for example in examples]
        self.sliders = {"example": (1, len(examples), 1)}
        self.share = sum(one.counted for one in self.examples) / sum(len(one.pieces) for one in self.examples)
        self._draw()

    @styled
    def _draw(self):
        fig = figure(9.6, 3.2)
        left, right = panels(fig, columns=2, width_ratios=[1, 1.25])
        self._draw_lengths(left)
        place = len(self.examples[0].pieces)
        (self.here,) = left.plot(
            [place] * 2, [0, 1], color=COLOURS["ink"], lw=1.5, transform=left.get_xaxis_transform()
        )
        self.texts = _texts(right)
        self.picture = Picture(fig, [self.here, self.texts])

    def _draw_lengths(self, axes):
        lengths = [len(one.pieces) for one in self.examples]
        counted = [one.counted for one in self.examples]
        width = max(1, (max(lengths) - min(counted)) // 40)
        bins = np.arange(min(counted) - 0.5, max(lengths) + width + 0.5, width)
        axes.hist(lengths, bins, color=COLOURS["ghost"], edgecolor="white", label="all tokens")
        axes.hist(counted, bins, histtype="step", color=COLOURS["lora"], linewidth=2, label="tokens that count")
        axes.set(xlabel="tokens in an example", ylabel="examples")
        axes.set_title(f"{len(self.examples)} examples")
        legend(axes)

    def move(self, example):
        """Show the example of this number, and those after it."""
        one = self.examples[example - 1]
        self.here.set_xdata([len(one.pieces)] * 2)
        for drawn, text in zip(self.texts, page(self.examples[example - 1 :]), strict=True):
            drawn.set_text(text)
        return (
            f"Example {example}, at the top: {len(one.pieces)} tokens, of which {one.counted} count (blue, bold); "
            f"the others are masked. Of all tokens in the file {self.share:.0%} count."
        )


def page(examples, rows=ROWS):
    """Return two texts that lie over each other, each character in one of them: what is masked, and what counts.

    As many examples as there is room for, the first one always.
    """
    masked, counted, used = [], [], 0
    for one in examples:
        texts = overlay(one, rows)
        lines = 1 + texts[0].count("\n")
        gap = 1 if masked and (lines > 1 or "\n" in masked[-1]) else 0  # a blank line between long ones
        if used + gap + lines > rows:
            break
        masked.append("\n" * gap + texts[0])
        counted.append("\n" * gap + texts[1])
        used += gap + lines
    return "\n".join(masked), "\n".join(counted)


def overlay(one, rows):
    """Return one example as two such texts, in lines of WIDTH, at most so many; of a longer one the end."""
    masked, counted = "", ""
    for piece, counts in zip(one.pieces, one.counts, strict=True):
        piece = "".join(letter if letter.isprintable() else "↵" for letter in piece)
        masked += " " * len(piece) if counts else piece
        counted += piece if counts else " " * len(piece)
    room = WIDTH * rows
    if len(masked) > room:
        masked, counted = "…" + masked[1 - room :], " " + counted[1 - room :]
    return ["\n".join(text[at : at + WIDTH] for at in range(0, len(text), WIDTH)) for text in (masked, counted)]


def _texts(axes):
    """Return two texts at one place in monospace, the masked one pale, the counted one blue and bold."""
    axes.axis("off")
    axes.set_title("What the loss counts (blue, bold)")
    look = {"family": "DejaVu Sans Mono", "va": "top", "size": 12, "parse_math": False, "transform": axes.transAxes}
    pale = axes.text(0, 0.97, "", color=COLOURS["base"], **look)
    strong = axes.text(0, 0.97, "", color=COLOURS["lora"], weight="bold", **look)
    for text in (pale, strong):
        text.set_in_layout(False)
    return [pale, strong]
