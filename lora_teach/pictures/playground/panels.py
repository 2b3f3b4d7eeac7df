"""Panels of the playground's picture: what would be trained, each run's loss, ΔW, and samples before and after."""

from collections.abc import Sequence
from typing import NamedTuple

from lora_teach.plots.loss_curve import smoothed
from lora_teach.plots.name_tiles import Board, draw_key, language_key
from lora_teach.plots.style import COLOURS, CYCLE, PHOTO, legend, line, log2_axis, panels, styled

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.transforms import blended_transform_factory

LORA_ROLES = tuple(role for role in CYCLE if role != "full")  # runs of LoRA take them in turn
WIDEST = 128  # singular values that a layer here has at most
TALLEST = 1.5  # curves are cut off at so many times the highest loss with which a run began
MOST = 1e4  # and below at that loss divided by this
APART = 0.05  # of the axis, between two runs' numbers
SHOWN, SIDE, GAP = 8, 8, 3  # digits, their pixels, and pixels between two
LETTERS = 13  # room for a name; a longer one is cut
WRONG, RIGHT = "✗", "✓"  # beside the colour and the frame
TICKS = [digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5)]


def role_of(number, full):
    """Return the role whose colour and line style a run has, in the picture and in the table."""
    return "full" if full else LORA_ROLES[(number - 1) % len(LORA_ROLES)]


class Bar:
    """The numbers that would train among all numbers, to scale, under the settings in words."""

    def __init__(self, axes):
        axes.set(xlim=(0, 1.24), ylim=(0, 1), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        self._frozen = Rectangle((0, 0.1), 1, 0.8, facecolor="#E3E3E3", edgecolor=COLOURS["base"])
        self._trains = Rectangle((0, 0.1), 0, 0.8, edgecolor="white", hatch="///", linewidth=0)
        for part in (self._frozen, self._trains):
            axes.add_patch(part)
        self._title = axes.set_title("next")
        self._inside = axes.text(0.012, 0.48, "", va="center")
        self._beside = axes.text(1.012, 0.48, "", va="center")
        self.moving = [self._frozen, self._trains, self._title, self._inside, self._beside]

    def show(self, title, trainable=0, total=0):
        """Show settings, ``title``, that train so many numbers; a ``total`` of 0, what can't be trained, has no bar."""
        share, full = trainable / total if total else 0.0, trainable == total
        self._title.set(text=title, color=COLOURS["ink" if total else "full"])
        self._frozen.set_visible(bool(total))
        self._trains.set(x=1 - share, width=share, facecolor=COLOURS["full" if full else "lora"])
        self._inside.set_text("" if full else f"{total - trainable:,} frozen")
        self._beside.set_text(f"{trainable:,} train" + ("" if full else f": {share:.1%}") if total else "")


class Curve(NamedTuple):
    """A run as it is drawn; ``text`` stands in the legend, ``planned`` are its steps."""

    number: int
    text: str
    role: str
    planned: int
    losses: Sequence[float]

    @property
    def mean(self):
        """The losses smoothed over a twentieth of the run: ``(steps,)``."""
        return smoothed(self.losses, max(1, self.planned // 20))


class Losses:
    """Every run's loss by step: the earlier ones thin, the newest thick over its raw values."""

    def __init__(self, axes):
        self._axes, self._drawn, self._ends, self._earlier = axes, [], [], []
        axes.set_yscale("log")
        axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.minorticks_off()
        axes.set(xlabel="step", ylabel="loss, nats", xlim=(0, 200), ylim=(0.01, 20))  # the widest labels: the layout
        (self._raw,) = axes.plot([], [], color=COLOURS["ghost"], linewidth=0.9, zorder=1.5)
        (self._mean,) = axes.plot([], [], linewidth=3, zorder=4)
        self._title = axes.set_title("Loss of each run")
        self.moving = [self._raw, self._mean, self._title]

    @styled
    def show(self, earlier, newest):
        """Draw all runs anew; `move` takes the newest one on, None where there is none. The background changes."""
        for artist in self._drawn:
            artist.remove()
        self._earlier = [curve for curve in earlier if len(curve.losses)]
        handles = self._drawn = [
            self._axes.plot(
                range(1, len(curve.losses) + 1), curve.mean,
                **line(curve.role, marker="", linewidth=1.3, label=f"{curve.number}  {curve.text}"),
            )[0]
            for curve in self._earlier
        ]  # fmt: skip
        if newest is not None:
            self._mean.set(color=COLOURS[newest.role], label=f"{newest.number}  {newest.text}")
            handles = [*handles, self._mean]
        if handles:
            key = legend(self._axes, handles=handles, loc="lower left", fontsize=8.5, handlelength=3.2, frameon=True)
            key.get_frame().set(edgecolor="none", alpha=0.8)
            self._drawn = [*self._drawn, key]
        runs = [*self._earlier, *([newest] if newest else [])]
        self._axes.set_xlim(0, 1.03 * max([curve.planned for curve in runs], default=200))
        self._start = max([curve.losses[0] for curve in self._earlier], default=0.0)
        self._highest = max([max(curve.losses) for curve in self._earlier], default=0.0)
        self._lowest = min([min(curve.mean) for curve in self._earlier], default=np.inf)
        self._fit()
        self.move(newest)

    def move(self, newest):
        """Take the newest run's line on, and tell whether the background changed."""
        losses, mean = (newest.losses, newest.mean) if newest else ([], [])
        steps = range(1, len(losses) + 1)
        self._raw.set_data(steps, losses)
        self._mean.set_data(steps, mean)
        if not len(losses):
            return False
        inside = losses[0] <= self._start and max(losses) <= self._highest and min(mean) >= self._lowest
        if not inside:
            self._start = max(self._start, losses[0])
            self._highest = max(self._highest, *losses)
            self._lowest = min(self._lowest, 0.8 * min(mean))  # in strides, not at every step
            self._fit()
        return not inside

    def _fit(self):
        """Let the axis reach over every loss, unless one is far above all beginnings; then say that it is cut off."""
        top = min(self._highest, TALLEST * self._start)
        if top:
            room = 1.3 + 0.25 * len(self._earlier)  # under the lines, for the legend
            self._axes.set_ylim(max(self._lowest, top / MOST) / room, 1.1 * top)
        cut = f", cut off: the highest is {self._highest:.3g}" if self._highest > top else ""
        self._title.set_text(f"Loss of each run{cut}")
        for text in self._ends:
            text.remove()
        self._ends = [self._number(curve, place) for curve, place in self._apart()]

    def _apart(self):
        """Give each earlier run a place beside the end of its line, as a share of the axis, the places apart."""
        to_share = self._axes.transData + self._axes.transAxes.inverted()
        ends = [(to_share.transform((1, max(curve.mean[-1], 1e-9)))[1], curve) for curve in self._earlier]
        above = -np.inf
        for share, curve in sorted(ends, key=lambda end: end[0]):
            above = max(share, above + APART)
            yield curve, min(above, 1.0)

    def _number(self, curve, place):
        """Put the run's number at the end of its line."""
        return self._axes.text(
            len(curve.losses) + 0.008 * self._axes.get_xlim()[1], place, str(curve.number),
            transform=blended_transform_factory(self._axes.transData, self._axes.transAxes), va="center", fontsize=8.5,
            color=COLOURS[curve.role],
        )  # fmt: skip


class Spectrum:
    """The singular values of one layer's ΔW, largest first, with its rank."""

    def __init__(self, axes):
        self._axes = axes
        log2_axis(axes, [2**power for power in range(8)])
        axes.set(xlim=(0.9, 1.15 * WIDEST), ylim=(0, 12.5))
        axes.set(xlabel="number of the singular value", ylabel="singular value of ΔW")
        (self._values,) = axes.plot([], [], markersize=4.5, clip_on=False)
        (self._edge,) = axes.plot([], [], color=COLOURS["ink"], linewidth=1, linestyle=(0, (3, 3)))
        self._title = axes.set_title("ΔW")
        self._told = axes.text(0.97, 0.95, "", transform=axes.transAxes, ha="right", va="top")
        self.moving = [self._values, self._edge, self._title, self._told]
        self._top = 0.0

    def clear(self):
        """Show no run; the next one gives the axis its height. The background changes."""
        self._top = 0.0
        for drawn in (self._values, self._edge):
            drawn.set_data([], [])
        self._title.set_text("ΔW of the newest run")
        self._told.set_text("")

    def show(self, layer, values, rank, role):
        """Show a layer's singular values, ``rank`` of them above rounding, and tell whether the background changed."""
        self._values.set_data(range(1, len(values) + 1), values)
        self._values.set(**line(role, linestyle="-", linewidth=0.8))
        self._edge.set_data(*(([rank + 0.5] * 2, [0, values[0]]) if 0 < rank < len(values) else ([], [])))
        self._title.set_text(f"ΔW of {layer}")
        self._told.set_text(f"rank {rank} of {len(values)}")
        if self._top / 3 < values[0] < 0.95 * self._top or not values[0]:
            return False
        self._top = 1.5 * values[0]  # in strides, not at every step
        self._axes.set_ylim(0, self._top)
        return True


class Samples:
    """Two halves of a figure, before and after; each shows names or digits, whichever came last."""

    @styled
    def __init__(self, figure):
        self._halves = [Half(axes) for axes in panels(figure, columns=2, grid=False)]
        self._language = ""
        self._key("Icelandic")  # gives it its place in the layout
        self.moving = [half.moving for half in self._halves]

    def titles(self, before, after):
        """Say what the halves are."""
        for half, text in zip(self._halves, (before, after), strict=True):
            half.title.set_text(text)

    def names(self, before, after, language):
        """Show names, none without any, and tell whether the background changed."""
        for half, written in zip(self._halves, (before, after), strict=True):
            half.names(written)
        return self._key(language)

    def digits(self, pixels, truth, before, after):
        """Show digits (8, 64), ink from 0 to 1, with what is read in each; tell whether the background changed."""
        for half, read in zip(self._halves, (before, after), strict=True):
            half.digits(pixels, truth, read)
        return self._key("")

    def _key(self, language):
        """Put what the names' tiles mean under the first half."""
        if language == self._language:
            return False
        self._language, axes = language, self._halves[0].axes
        if language:
            draw_key(axes, language_key(language))
            axes.get_legend().set_loc("upper left")
            axes.get_legend().set_bbox_to_anchor((0, 0.02), transform=axes.transAxes)
        elif axes.get_legend():
            axes.get_legend().remove()
        return True


class Half:
    """One half: a board of names, and over it a row of digits, one of which is seen."""

    def __init__(self, axes):
        self.axes, self.title = axes, axes.set_title("before")
        self._board = Board(axes, rows=SHOWN // 2, columns=2, letters=LETTERS, size=10.5)
        over = axes.inset_axes([0, 0, 1, 1])
        over.axis("off")
        wide = SHOWN * (SIDE + GAP) - GAP
        self._image = over.imshow(np.zeros((SIDE, wide)), cmap=f"{PHOTO}_r", vmin=0, vmax=1, interpolation="nearest")
        over.set(xlim=(-1.5, wide + 0.5), ylim=(SIDE + 5, -1.5), anchor="NW")
        lefts = [index * (SIDE + GAP) - 0.5 for index in range(SHOWN)]
        self._frames = [
            Rectangle((left - 0.6, -1.1), SIDE + 1.2, SIDE + 1.2, fill=False, linewidth=2, edgecolor=COLOURS["full"])
            for left in lefts
        ]
        for frame in self._frames:
            over.add_patch(frame)
        self._read = [over.text(left + SIDE / 2, SIDE + 1.2, "", ha="center", va="top", fontsize=10) for left in lefts]
        self._names, self._digits = self._board.artists, [self._image, *self._frames, *self._read]
        self.moving = [self.title, *self._names, *self._digits]
        self._see([])

    def names(self, written):
        """Show these names."""
        self._see(self._names if written else [])
        if written:
            self._board.show(written)

    def digits(self, pixels, truth, read):
        """Show these digits with what is read in them."""
        self._see(self._digits if len(read) else [])
        if not len(read):
            return
        row = np.zeros((SIDE, SHOWN, SIDE + GAP))
        row[..., :SIDE] = np.asarray(pixels, dtype=float).reshape(SHOWN, SIDE, SIDE).transpose(1, 0, 2)
        self._image.set_data(row.reshape(SIDE, -1)[:, :-GAP])
        for frame, text, is_, says in zip(self._frames, self._read, truth, read, strict=True):
            wrong = int(is_) != int(says)
            frame.set_visible(wrong)
            text.set(text=f"→ {says} {WRONG if wrong else RIGHT}", weight="bold" if wrong else "normal")
            text.set_color(COLOURS["full" if wrong else "ink"])

    def _see(self, seen):
        for artist in (*self._names, *self._digits):
            artist.set_visible(artist in seen)
