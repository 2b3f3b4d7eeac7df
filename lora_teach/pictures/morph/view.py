"""Morph: turn an adapter's strength and watch English names become those of another language, letter by letter.

The names are written while you drag. The dice are thrown once and kept (`lora_teach.bases.gumbel_noise`), so a name
changes only where the model has changed its mind.
"""

from functools import cache

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt
from lora_teach.live.explore import View, explore
from lora_teach.measure.judging import ENGLISH, OTHER, STRENGTHS, TEMPERATURE, Jury, measured
from lora_teach.measure.writing import Writer
from lora_teach.plots import show
from lora_teach.plots.name_tiles import ABOVE, Board, Written, draw_key, language_key
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np

LANGUAGES = ["Finnish", "Zulu", "Italian", "Indonesian", "Icelandic"]
COLUMNS = [0.0, 0.5, 1.0, 1.5, 2.5]  # of the saved picture
SHOWN = 8  # names on the board
SEED = 74
LOWEST_TOP = 6.0  # nats a letter: the axis is at least this high


class Morph(View):
    """Eight names at any strength of an adapter, and how surprised two judges are.

    Args:
        guess: Where the learner thinks that the language's judge is least surprised: a strength from 0 to 3.
        languages: Whose adapters are laid over the base; the shipped ones of these names.
        curves: Draw the judges' lines under the names.

    Raises:
        TypeError: A guess that is not a number.
        ValueError: A guess outside 0 to 3.
    """

    def __init__(self, guess=None, languages=tuple(LANGUAGES), curves=True):
        self.guess, self.languages = _checked(guess), list(languages)
        self.start = "Zulu" if "Zulu" in self.languages else self.languages[0]
        self.sliders = {"language": (self.languages, self.start), "strength": (0.0, 3.0, 1.0, 0.05)}
        model = load_name_gpt()
        for language in self.languages:
            model = load_language_adapter(model, language)
        self._writer = Writer(model)
        self.noise = TEMPERATURE * gumbel_noise(SHOWN, SEED)  # (names, letters, alphabet)
        self.jury, self.lines, self._language = cache(Jury), cache(measured), None
        self.written = cache(self.written)  # a slider comes back to where it was
        self._draw(curves)

    @styled
    def _draw(self, curves):
        made = figure(8, 4.6 if curves else 2.2)
        if curves:
            self._top, below = panels(made, rows=2, height_ratios=[1, 1.5])
            self.curves = Curves(below, self.guess)
        else:
            self._top, self.curves = panels(made), None
        self.board = Board(self._top, SHOWN // 2, columns=2)
        self._title = self._top.set_title("Icelandic adapter × 0.00")  # the widest, for the layout
        draw_key(self._top, language_key("Icelandic"))
        self.picture = Picture(made, [self.board.artists, self._title, self.curves.moving if curves else []])

    def move(self, language, strength):
        """Write the eight names with this language's adapter at this strength."""
        if language != self._language:
            self._turn_to(language)
        written = self.written(language, strength)
        self._title.set_text(f"{language} adapter × {strength:.2f}")
        self.board.show(written)
        if self.curves is None:
            return self._names(language, strength, written)
        self.curves.move(strength)
        return self._surprise(language, strength)

    def written(self, language, strength=1.0):
        """Return the eight names, each with its letters' judges; language None means without an adapter."""
        jury = self.jury(language or "English")  # without an adapter the English judge sits alone
        names = self._writer.write(language, strength, self.noise)
        return [Written(name, jury.tastes(name), jury.is_real(name)) for name in names]

    def columns(self, language):
        """Return ``{title: the eight names}`` for the strengths side by side."""
        titles = {strength: f"×{strength:g}" + (" (off)" if strength == 0 else "") for strength in COLUMNS}
        return {title: self.written(language, strength) for strength, title in titles.items()}

    def static_figure(self):
        """Return five strengths of one language side by side over the lines."""
        language, lines = self.start, self.lines(self.start)
        best, end = STRENGTHS.index(lines.best), STRENGTHS.index(COLUMNS[-1])
        curves = STRENGTHS, lines.english, lines.other
        return show(
            draw_columns(self.columns(language), language, curves, COLUMNS, self.guess),
            f"The same eight throws of the dice at five strengths. The {language} judge is happiest at "
            f"×{lines.best:g}: {lines.other[0]:.2f} → {lines.other[best]:.2f} nats a letter; the English judge is then "
            f"at {lines.english[best]:.2f}, up from {lines.english[0]:.2f}. Of {lines.names} names {lines.real[0]:.0%} "
            f"are real ones at ×0, {lines.real[10]:.0%} at ×1, {lines.real[end]:.0%} at ×{STRENGTHS[end]:g}.",
        )

    def _turn_to(self, language):
        self._language = language
        draw_key(self._top, language_key(language))
        if self.curves is not None:
            lines = self.lines(language)
            self.curves.set_lines(STRENGTHS, lines.english, lines.other, language)
        self.picture.background_changed()

    def _names(self, language, strength, written):
        signs = "".join(one.tastes for one in written)
        real = sum(one.real for one in written)
        return (
            f"{language} adapter × {strength:.2f}: of {len(signs)} letters the {language} judge prefers "
            f"{signs.count(OTHER)}, the English judge {signs.count(ENGLISH)}. Real names: {real} of {SHOWN}."
        )

    def _surprise(self, language, strength):
        english, other = self.curves.at(strength)
        best = f"×{self.lines(language).best:g}" + ("" if self.guess is None else f" (your guess: ×{self.guess:g})")
        return (
            f"{language} adapter × {strength:.2f}: a letter surprises the {language} judge by {other:.2f} nats and the "
            f"English judge by {english:.2f}. The {language} judge is happiest at {best}."
        )


def names_demo():
    """One model of English names, five adapters: choose a language and drag. The first cell of the course."""
    view = Morph(curves=False)
    columns = {"no adapter": view.written(None)} | {language: view.written(language) for language in view.languages}
    still = show(
        draw_columns(columns, None),
        "One model, the same eight throws of the dice: without an adapter, then with one for each language at ×1.",
    )
    return explore(view, language=LANGUAGES, strength=(0.0, 3.0, 0.0, 0.05), static_figure=still)


class Curves:
    """The two judges' surprise by strength, with a dot on each line, and the guess, a strength, on the second."""

    def __init__(self, axes, guess=None):
        self.axes, self.guess = axes, _checked(guess)
        axes.set(xlabel="strength of the adapter", ylabel="surprise, nats a letter", xlim=(0, 3))
        axes.set_xticks(np.arange(0, 3.1, 0.5), [f"×{tick:g}" for tick in np.arange(0, 3.1, 0.5)])
        self._lines = [
            axes.plot([], [], **line("base", marker="", linewidth=2.2))[0],
            axes.plot([], [], **line("other", marker="", linestyle="-", linewidth=2.2))[0],
        ]
        self._diamond = diamond(axes, guess, guess)
        self._here = axes.axvline(0, color=COLOURS["ghost"], linewidth=1.2, zorder=1)
        self._dots = [
            axes.plot([], [], marker, markersize=9, color=COLOURS[role], markeredgecolor="white", clip_on=False)[0]
            for role, marker in (("base", "s"), ("other", "o"))
        ]
        for dot in self._dots:
            dot.set_in_layout(False)  # not yet anywhere, and not clipped: the layout would leave room for it
        self.moving = [self._here, *self._dots]
        self.set_lines([0, 3], [10, 10], [10, 10], "other")  # gives legend and tick labels their place in the layout

    def set_lines(self, strengths, english, other, language):
        """Draw both judges' lines anew, in nats a letter, one value a strength. This is background."""
        self._values = np.asarray(strengths), np.asarray(english), np.asarray(other)
        for drawn, values, judge in zip(self._lines, self._values[1:], ("English", language), strict=True):
            drawn.set_data(self._values[0], values)
            drawn.set_label(f"{judge} judge")
        if self._diamond is not None:
            self._diamond.set_data([self.guess], [self.at(self.guess)[1]])
        self.axes.set_ylim(0, max(LOWEST_TOP, 1.05 * self._values[1].max(), 1.05 * self._values[2].max()))
        legend(self.axes, ncols=3, **ABOVE)

    def at(self, strength):
        """Return both lines' heights at this strength, the English judge's first."""
        return tuple(float(np.interp(strength, self._values[0], values)) for values in self._values[1:])

    def move(self, *strengths):
        """Put the dots at this strength, or at each of several."""
        self._here.set_xdata(strengths[:1] * 2)
        for index, dot in enumerate(self._dots):
            dot.set_data(strengths, [self.at(strength)[index] for strength in strengths])


def _checked(guess):
    return check_guess(guess, 0, 3, "a strength")


@styled
def draw_columns(columns, language, curves=None, strengths=(), guess=None):
    """Small multiples: a board for each of ``{title: names}``, side by side, above the curves if they are given.

    ``language`` is the other judge's, None if each column has another; ``curves`` as for `Curves.set_lines`, with a dot
    on each line at the columns' ``strengths``.
    """
    guess = _checked(guess)
    rows = max(map(len, columns.values()))
    made = figure(10, 5.6 if curves else 2.9)
    made.get_layout_engine().set(w_pad=0.12)  # inches: the names stand where the sentence under them begins
    grid = made.add_gridspec(2 if curves else 1, len(columns), height_ratios=[1.1, 1] if curves else None)
    for index, (title, written) in enumerate(columns.items()):
        axes = made.add_subplot(grid[0, index])
        axes.set_title(title)
        Board(axes, rows, letters=12, size=10.5).show(written)
    made.legend(handles=language_key(language), loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    if curves:
        below = made.add_subplot(grid[1, :])
        below.grid(True)
        drawn = Curves(below, guess)
        drawn.set_lines(*curves, language)
        drawn.move(*strengths)
    return made
