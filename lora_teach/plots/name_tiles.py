"""Names as rows of tiles, one a letter, coloured by the judge whom the letter pleases."""

from dataclasses import dataclass
from functools import lru_cache

from lora_teach.plots.style import COLOURS, legend

from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

# Whom a letter pleases -> tile, edge, letter, weight: dark with white, bright with bold, or blank.
LOOKS = {
    "e": (COLOURS["base"], COLOURS["base"], "white", "normal"),
    "o": (COLOURS["other"], COLOURS["other"], "black", "bold"),
    "-": ("white", COLOURS["ghost"], COLOURS["base"], "normal"),
}
ABOVE = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.3, "columnspacing": 1.2}  # of legends


@dataclass
class Written:
    """A name as it is drawn: its letters, a sign for each (a key of LOOKS), and whether somebody has the name."""

    name: str
    tastes: str
    real: bool = False


class Board:
    """Names in monospace, a tile for each letter in ``looks``, real names underlined; ``artists`` is what moves.

    The letters are outlines in one collection, since texts would take ten times as long to draw. A name longer than
    ``letters`` is cut, with "…" at its end; ``size`` is in points.
    """

    def __init__(self, axes, rows, columns=1, letters=16, size=13, looks=LOOKS):
        self.rows, self.letters, self.size, self._looks = rows, letters, size, looks
        axes.set(xlim=(0, columns * (letters + 1) - 1), ylim=(rows, 0))
        axes.axis("off")
        self._tiles = PolyCollection([], linewidths=0.8, zorder=1)
        self._lines = LineCollection([], colors=COLOURS["ink"], linewidths=2, zorder=1)
        self._glyphs = PathCollection([], offsets=[], offset_transform=axes.transData, linewidths=0, zorder=2)
        self._glyphs.set_transform(Affine2D().scale(axes.figure.dpi / 72))
        self.artists = [self._tiles, self._lines, self._glyphs]
        for artist in self.artists:
            axes.add_collection(artist, autolim=False)

    def show(self, written):
        """Put these names on the board, the first column from top to bottom, then the next."""
        tiles, looks, glyphs, places, lines = [], [], [], [], []
        for index, one in enumerate(written):
            left, top = index // self.rows * (self.letters + 1), index % self.rows
            cut = len(one.name) > self.letters
            name = one.name[: self.letters - 1] + "…" if cut else one.name
            for x, letter, taste in zip(range(left, left + len(name)), name, one.tastes, strict=False):
                look = self._looks["-" if letter == "…" else taste]
                tiles.append([(x + a, top + b) for a, b in ((0.05, 0.08), (0.95, 0.08), (0.95, 0.78), (0.05, 0.78))])
                glyphs.append(_glyph(letter, look[3], self.size))
                places.append((x + 0.5, top + 0.43))
                looks.append(look)
            if one.real:
                lines.append([(left + 0.05, top + 0.9), (left + len(name) - 0.05, top + 0.9)])
        faces, edges, inks, _ = zip(*looks, strict=True)
        self._tiles.set(verts=tiles, facecolors=faces, edgecolors=edges)
        self._glyphs.set(paths=glyphs, offsets=places, facecolors=inks)
        self._lines.set_segments(lines)


def draw_key(axes, handles):
    """Put what the tiles mean, `judges_key` or `language_key`, over the right end of these axes."""
    legend(axes, handles=handles, ncols=len(handles), handlelength=1.2, **ABOVE)


def judges_key(*judges, looks=LOOKS):
    """Return the legend's handles: a tile for each judge, in the order of ``looks``, and one for neither."""
    labels = (*(f"{judge} judge" for judge in judges), "neither")
    return [
        Patch(facecolor=face, edgecolor=edge, label=label)
        for (face, edge, *_), label in zip(looks.values(), labels, strict=True)
    ]


def language_key(language):
    """Return the legend's handles for English and another language, which is left open if None, with real names."""
    real = Line2D([], [], color=COLOURS["ink"], linewidth=2, label="a real name")
    return [*judges_key("English", language or "that language's"), real]


@lru_cache(maxsize=1000)
def _glyph(letter, weight, size):
    """A letter's outline in points, its middle at the origin."""
    font = FontProperties(family="DejaVu Sans Mono", weight=weight)
    middle = Affine2D().translate(-0.301 * size, -0.27 * size)  # half the width, half the height of an x
    return TextPath((0, 0), letter, size=size, prop=font).transformed(middle)
