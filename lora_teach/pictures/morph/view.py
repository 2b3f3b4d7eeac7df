"""Morph: turn an adapter's strength and watch English names become those of another language, letter by letter.

The names are written while you drag. The dice are thrown once and kept (`lora_teach.bases.gumbel_noise`), so a name
changes only where the model has changed its mind.
"""

from collections.abc import Sequence
from numbers import Real

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.judging import ENGLISH, OTHER, STRENGTHS, TEMPERATURE, Jury, Measured, measured
from lora_teach.measure.writing import Writer
from lora_teach.pictures.morph import drawing as plots
from lora_teach.plots import Still, show

LANGUAGES = ["Finnish", "Zulu", "Italian", "Indonesian", "Icelandic"]
COLUMNS = [0.0, 0.5, 1.0, 1.5, 2.5]  # of the saved picture
SHOWN = 8  # names on the board
SEED = 74


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

    def __init__(self, guess: float | None = None, languages: Sequence[str] = tuple(LANGUAGES), curves: bool = True):
        if guess is not None and (isinstance(guess, bool) or not isinstance(guess, Real)):
            raise TypeError(f"guess={guess!r} is not a number. Give a strength from 0 to 3, such as 0.5, or None.")
        if guess is not None and not 0 <= guess <= 3:
            raise ValueError(f"guess={guess} lies outside the slider. Give a strength from 0 to 3, such as 0.5.")
        self.guess, self.languages = guess, list(languages)
        model = load_language_adapter(load_name_gpt(), self.languages[0])
        for language in self.languages[1:]:
            load_language_adapter(model, language)
        self._writer = Writer(model)
        self.noise = TEMPERATURE * gumbel_noise(SHOWN, SEED)  # (names, letters, alphabet)
        self._juries, self._lines, self._language = {}, {}, None
        self.drawn = plots.Morph(SHOWN // 2, curves, guess)
        self.picture = self.drawn.picture

    def __call__(self, language: str, strength: float) -> str:
        """Write the eight names with this language's adapter at this strength."""
        if language != self._language:
            self._turn_to(language)
        written = self.written(language, strength)
        self.drawn.show(f"{language} adapter × {strength:.2f}", written, strength)
        if self.drawn.curves is None:
            return self._names(language, strength, written)
        return self._surprise(language, strength)

    def written(self, language: str | None, strength: float = 1.0) -> list[plots.Written]:
        """Return the eight names, each with its letters' judges; language None means without an adapter."""
        jury = self.jury(language or "English")  # without an adapter the English judge sits alone
        names = self._writer.write(language, strength, self.noise)
        return [plots.Written(name, jury.tastes(name), jury.is_real(name)) for name in names]

    def jury(self, language: str) -> Jury:
        """Return the English judge and this language's."""
        if language not in self._juries:
            self._juries[language] = Jury(language)
        return self._juries[language]

    def lines(self, language: str) -> Measured:
        """Return both judges' surprise at each strength, measured beforehand on many more names than eight."""
        if language not in self._lines:
            self._lines[language] = measured(language)
        return self._lines[language]

    def columns(self, language: str) -> dict[str, list[plots.Written]]:
        """Return ``{title: the eight names}`` for the strengths side by side."""
        titles = {strength: f"×{strength:g}" + (" (off)" if strength == 0 else "") for strength in COLUMNS}
        return {title: self.written(language, strength) for strength, title in titles.items()}

    def twin(self, language: str) -> Still:
        """Five strengths of one language side by side over the lines: what a saved notebook shows."""
        lines = self.lines(language)
        best, end = STRENGTHS.index(lines.best), STRENGTHS.index(COLUMNS[-1])
        return show(
            plots.draw_columns(
                self.columns(language), language, (STRENGTHS, lines.english, lines.other), COLUMNS, self.guess
            ),
            f"The same eight throws of the dice at five strengths. The {language} judge is happiest at "
            f"×{lines.best:g}: {lines.other[0]:.2f} → {lines.other[best]:.2f} nats a letter; the English judge is then "
            f"at {lines.english[best]:.2f}, up from {lines.english[0]:.2f}. Of {lines.names} names {lines.real[0]:.0%} "
            f"are real ones at ×0, {lines.real[10]:.0%} at ×1, {lines.real[end]:.0%} at ×{STRENGTHS[end]:g}.",
        )

    @classmethod
    def example(cls, guess: float | None = None) -> Explorer:
        """The explorer of notebook 00."""
        view = cls(guess)
        return explore(view, language=(LANGUAGES, "Zulu"), strength=(0.0, 3.0, 1.0, 0.05), twin=view.twin("Zulu"))

    def _turn_to(self, language):
        self._language = language
        self.drawn.key(language)
        if self.drawn.curves is not None:
            lines = self.lines(language)
            self.drawn.curves.set_lines(STRENGTHS, lines.english, lines.other, language)
        self.picture.background_changed()

    def _names(self, language, strength, written):
        signs = "".join(one.tastes for one in written)
        real = sum(one.real for one in written)
        return (
            f"{language} adapter × {strength:.2f}: of {len(signs)} letters the {language} judge prefers "
            f"{signs.count(OTHER)}, the English judge {signs.count(ENGLISH)}. Real names: {real} of {SHOWN}."
        )

    def _surprise(self, language, strength):
        english, other = self.drawn.curves.at(strength)
        best = f"×{self.lines(language).best:g}" + ("" if self.guess is None else f" (your guess: ×{self.guess:g})")
        return (
            f"{language} adapter × {strength:.2f}: a letter surprises the {language} judge by {other:.2f} nats and the "
            f"English judge by {english:.2f}. The {language} judge is happiest at {best}."
        )


def names_demo() -> Explorer:
    """One model of English names, five adapters: choose a language and drag. The first cell of the course."""
    view = Morph(curves=False)
    columns = {"no adapter": view.written(None)} | {language: view.written(language) for language in view.languages}
    twin = show(
        plots.draw_columns(columns, None),
        "One model, the same eight throws of the dice: without an adapter, then with one for each language at ×1.",
    )
    return explore(view, language=LANGUAGES, strength=(0.0, 3.0, 0.0, 0.05), twin=twin)
