"""What a model does before and after, side by side: eight names, or eight digits and what it reads in them."""

from lora_teach.plots.name_tiles import Board, draw_key, language_key
from lora_teach.plots.style import COLOURS, PHOTO, panels, styled

import numpy as np
from matplotlib.patches import Rectangle

SHOWN, SIDE, GAP = 8, 8, 3  # digits, their pixels, and pixels between two
LETTERS = 13  # room for a name; a longer one is cut
WRONG, RIGHT = "✗", "✓"  # beside the colour and the frame


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
