"""The playground's runs put into its picture: which numbers of a run are drawn where."""

from collections.abc import Sequence
from functools import lru_cache

from lora_teach.measure import numerical_rank, spectrum
from lora_teach.measure.judging import Jury
from lora_teach.pictures.playground import drawing as plots
from lora_teach.pictures.playground.material import MATERIALS, DigitMaterial, Material
from lora_teach.pictures.playground.numbers import Plan, Run, Settings
from lora_teach.pictures.playground.words import next_run
from lora_teach.plots.name_tiles import Written
from lora_teach.utils.threads import one_thread


class Drawing:
    """The picture of all runs and of what is planned.

    Attributes:
        picture: The `Picture`.
    """

    def __init__(self) -> None:
        self._drawn = plots.Playground()
        self.picture = self._drawn.picture

    def plan(self, settings: Settings, planned: Plan | None) -> None:
        """Show what would be trained; without a plan, that it can't be."""
        if planned is None:
            self._drawn.bar.show(f"Can't be trained. {next_run(settings)}")
        else:
            self._drawn.bar.show(next_run(settings), planned.trainable, planned.total)

    def begin(self, runs: Sequence[Run], running: Run | None, settings: Settings) -> None:
        """Draw everything anew, after a run came or went.

        Args:
            runs: Those that have ended.
            running: The one that has not, if there is one.
            settings: Where there is no run, the material of these is shown.
        """
        every = [*runs, *([running] if running else [])]
        newest = _curve(every[-1]) if every else None
        self._drawn.losses.show([_curve(run) for run in every[:-1]], newest)
        self._drawn.spectrum.clear()  # its axis begins anew: how it grew on the way was a matter of time
        if every:
            self.move(every[-1])
        else:
            self._samples(MATERIALS[settings.material], None)
        self.picture.background_changed()

    def preview(self, settings: Settings) -> None:
        """Show what the base does with the material of these settings."""
        if self._samples(MATERIALS[settings.material], None):
            self.picture.background_changed()

    def move(self, run: Run) -> None:
        """Take the newest run's part of the picture on."""
        changed = self._drawn.losses.move(_curve(run))
        layer, update = run.largest_update()
        with one_thread():
            values, rank = spectrum(update).tolist(), numerical_rank(update)
        changed |= self._drawn.spectrum.show(layer, values, rank, _role(run))
        changed |= self._samples(run.material, run)
        if changed:
            self.picture.background_changed()

    def _samples(self, material: Material, run: Run | None) -> bool:
        """Show the material's samples before, and after the run; tell whether the background changed."""
        shown, after = self._drawn.samples, run.samples() if run else []
        before = f"before: {material.tell(material.start)} {material.held_out}"
        if run is None:
            shown.titles(before, "after: no run yet")
        elif run.score is None:
            shown.titles(before, f"run {run.number}, step {len(run.history)}")
        else:
            shown.titles(before, f"after run {run.number}: {material.tell(run.score)} {material.held_out}")
        if isinstance(material, DigitMaterial):
            pixels, truth = material.shown
            return shown.digits(pixels.numpy(), truth.tolist(), material.before, after)
        jury = _jury(material.label)
        written = [[Written(name, jury.tastes(name), jury.is_real(name)) for name in one] for one in
                   (material.before, after)]  # fmt: skip
        return shown.names(*written, material.label)


def _curve(run: Run) -> plots.Curve:
    text = str(run.settings) + (f": {run.material.tell(run.score)}" if run.score is not None else "")
    return plots.Curve(run.number, text, _role(run), run.settings.steps, run.history.loss)


def _role(run: Run) -> str:
    return plots.role_of(run.number, run.settings.full)


@lru_cache(maxsize=16)
def _jury(language: str) -> Jury:
    return Jury(language)
