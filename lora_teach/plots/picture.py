"""A figure that moves: the artists that change are redrawn over a cached background.

Drawing axes, ticks and labels is what costs time (about 50 ms for an 8×3.5 inch figure); a line or a heat map alone
costs about 1 ms. So a ``Picture`` draws everything that stays once, keeps the pixels, and on every move puts them back
and draws only the moving artists on top, and of these only the panels in which one has changed. Nothing here knows of
widgets.
"""

import base64
import io
from collections.abc import Iterable

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import Axis, Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image


def settle(figure):
    """Solves the figure's layout once and freezes it: solving it again on every draw costs more than the draw."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")


def kept_png(pixels):
    """A file's PNG of uint8 ``(height, width, 3)``: 256 colours, a third of the size; equal pixels give equal bytes."""
    # The colours that cover all there are, few pixels' ones too: those of a colour bar, say. Then k-means moves each to
    # the mean of its pixels: else a large grey area turns beige, and a photo's sky pink.
    fitted = Image.fromarray(pixels).quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    return _encoded(fitted, "PNG", optimize=True)


def frame_jpeg(pixels):
    """The screen's JPEG of RGB, uint8, ``(height, width, 3)``, in 2 ms where a PNG takes 8; no eye tells them apart."""
    return _encoded(Image.fromarray(pixels), "JPEG", quality=95, subsampling="4:4:4")


def _encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


class Picture:
    """One figure with the artists in it that move.

    Args:
        figure: A ``Figure`` from `lora_teach.plots.figure`; its layout is solved here and stays.
        moving: The artists that a view changes (lines, images, bars, texts, titles), nested lists allowed. Everything
            else is background. Limits, ticks and labels belong to the background: after changing one of them, call
            `background_changed`.

    Raises:
        TypeError: a moving thing is not an artist, or is an axis or a tick (they can't be drawn apart from their axes).
    """

    def __init__(self, figure, moving=()):
        self.figure = figure
        if not isinstance(figure.canvas, FigureCanvasAgg):
            FigureCanvasAgg(figure)
        self.moving = list(_artists(moving))
        for artist in self.moving:
            artist.set_animated(True)  # left out of the background by matplotlib itself
        settle(figure)
        self._background = None  # everything but the moving artists
        self._resting, self._rest = frozenset(), None  # panels in which nothing changed; the background with these

    def background_changed(self, relayout=False):
        """The next picture is drawn whole: to be called after limits, ticks, labels or a fixed artist changed.

        Args:
            relayout: Whether to solve the layout again, since labels need more room than they did; axes may shift.
        """
        self._background = None
        if relayout:
            self.figure.set_layout_engine("constrained")
            settle(self.figure)

    def pixels(self):
        """The picture as it stands, background from the cache where there is one: uint8, ``(height, width, 3)``."""
        canvas = self.figure.canvas
        panels = self._panels()
        if self._background is None:
            canvas.draw()  # everything but the moving artists
            self._background = canvas.copy_from_bbox(self.figure.bbox)
            self._resting, self._rest = frozenset(), self._background
        resting = {panel for panel, artists in panels.items() if not any(artist.stale for artist in artists)}
        if resting != self._resting:
            self._resting = frozenset(resting)
            canvas.restore_region(self._background)
            self._draw(panels, self._resting)
            self._rest = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._rest)
        self._draw(panels, frozenset(panels) - self._resting)
        return _rgb(canvas)

    def _panels(self):
        """The moving artists by the axes that they are in, the lowest axes first; in each the lowest artist first."""
        panels = {}
        for artist in sorted(self.moving, key=lambda artist: artist.get_zorder()):
            panels.setdefault(artist.axes, []).append(artist)
        return dict(sorted(panels.items(), key=lambda panel: panel[0].get_zorder() if panel[0] is not None else np.inf))

    def _draw(self, panels, chosen):
        renderer = self.figure.canvas.get_renderer()
        for panel, artists in panels.items():
            if panel in chosen:
                for artist in artists:
                    artist.draw(renderer)

    def whole(self):
        """The picture drawn whole, as if nothing had been cached: uint8, ``(height, width, 3)``."""
        self.background_changed()
        return self.pixels()

    def frame(self):
        """The picture as it stands, for the screen: a JPEG."""
        return frame_jpeg(self.pixels())


def _artists(moving):
    """Flattens lists, dicts of artists and containers (the bars of ``ax.bar``) to single artists."""
    if isinstance(moving, (Axis, Tick)):
        raise TypeError(
            f"{type(moving).__name__} can't be a moving artist: ticks are drawn with their axes. "
            "Leave it in the background and call picture.background_changed() after changing it."
        )
    if isinstance(moving, Artist):
        yield moving
    elif isinstance(moving, dict):
        yield from _artists(moving.values())
    elif isinstance(moving, Iterable) and not isinstance(moving, str):
        for item in moving:
            yield from _artists(item)
    else:
        raise TypeError(f"moving takes matplotlib artists, and {moving!r} is a {type(moving).__name__}.")


class Still:
    """A PNG with its sentence under it: what a static cell ends in, and what a saved notebook keeps.

    A notebook shows only the richest form of an output, so the sentence is drawn into the picture's foot; it is also
    the output's plain text, which screen readers, diffs and tests read.
    """

    def __init__(self, png, sentence):
        self.png = png
        self.sentence = sentence

    def __repr__(self):
        return self.sentence

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/png": base64.b64encode(self.png).decode("ascii"), "text/plain": self.sentence}


def show(picture, sentence):
    """The picture with its sentence, as the last expression of a cell.

    Args:
        picture: A figure, whose layout is solved here, or a `Picture`.
        sentence: What is to be seen, in plain words; one line or more, without mark-up.

    Raises:
        TypeError: ``picture`` is something else, or ``sentence`` is not a text.
        ValueError: the sentence is empty.
    """
    if isinstance(picture, Figure):
        picture = Picture(picture)
    if not isinstance(picture, Picture):
        raise TypeError(f"show takes a Figure or a Picture, not a {type(picture).__name__}.")
    if not isinstance(sentence, str):
        raise TypeError(f"The sentence under a picture is a text, not a {type(sentence).__name__}.")
    if not sentence.strip():
        raise ValueError("The sentence under a picture is empty: say in plain words what is to be seen.")
    pixels = picture.whole()
    return Still(kept_png(np.concatenate([pixels, caption(sentence, pixels.shape[1])])), sentence)


def caption(sentence, width, size=10.5, dpi=100):
    """The sentence as pixels, wrapped to ``width``: uint8, ``(height, width, 3)``, black on white."""
    margin, line_height = 12, round(size * dpi / 72 * 1.4)
    foot = Figure(figsize=(width / dpi, 1), dpi=dpi, facecolor="white")
    renderer = FigureCanvasAgg(foot).get_renderer()
    text = foot.text(
        0, 0, "", size=size, family="DejaVu Sans", color="black", va="top", linespacing=1.3, parse_math=False
    )
    lines = []
    for paragraph in sentence.splitlines():
        line = ""
        for word in paragraph.split():
            text.set_text(f"{line} {word}".strip())
            if line and text.get_window_extent(renderer).width > width - 2 * margin:
                lines.append(line)
                line = word
            else:
                line = text.get_text()
        lines.append(line)
    height = line_height * len(lines) + margin
    foot.set_size_inches(width / dpi, height / dpi)
    text.set_text("\n".join(lines))
    text.set_position((margin / width, 1 - 2 / height))
    foot.canvas.draw()
    return _rgb(foot.canvas)[:height, :width]


def _rgb(canvas):
    """The canvas's colours without its alpha channel, which says nothing on opaque white: ``(height, width, 3)``."""
    drawn = np.asarray(canvas.buffer_rgba())  # (height, width, 4)
    pixels = np.empty((*drawn.shape[:2], 3), np.uint8)
    for channel in range(3):  # six times as fast as drawn[..., :3].copy()
        pixels[..., channel] = drawn[..., channel]
    return pixels
