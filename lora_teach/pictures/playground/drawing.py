"""The playground's picture: its panels filled with the numbers of the runs."""

from collections.abc import Sequence
from functools import cache

from lora_teach.measure import numerical_rank, spectrum
from lora_teach.measure.judging import Jury
from lora_teach.pictures.playground.material import MATERIALS, DigitMaterial, Material
from lora_teach.pictures.playground.numbers import Plan, Run, Settings
from lora_teach.pictures.playground.panels import Bar, Curve, Losses, Spectrum, role_of
from lora_teach.pictures.playground.samples import Samples
from lora_teach.pictures.playground.words import next_run
from lora_teach.plots.name_tiles import Written
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import figure, panels, styled
from lora_teach.utils.threads import one_thread


class Drawing:
    """The picture of all runs and of what is planned, a `Bar`, `Losses`, a `Spectrum` and `Samples`."""

    @styled
    def __init__(self) -> None:
        made = figure(10.0, 6.0)
        top, middle, low = made.subfigures(3, 1, height_ratios=[0.8, 3.45, 1.75])
        left, right = panels(middle, columns=2, width_ratios=[1.75, 1])
        self.bar, self.samples = Bar(panels(top, grid=False)), Samples(low)
        self.losses, self.spectrum = Losses(left), Spectrum(right)
        self._jury = cache(Jury)
        parts = (self.bar, self.losses, self.spectrum, self.samples)
        self.picture = Picture(made, [part.moving for part in parts])

    def plan(self, settings: Settings, planned: Plan | None) -> None:
        """Show what would be trained; without a plan, that it can't be."""
        if planned is None:
            self.bar.show(f"Can't be trained. {next_run(settings)}")
        else:
            self.bar.show(next_run(settings), planned.trainable, planned.total)

    def begin(self, runs: Sequence[Run], running: Run | None, settings: Settings) -> None:
        """Draw everything anew, after a run came or went; without any run the material of ``settings`` is shown."""
        every = [*runs, *([running] if running else [])]
        newest = _curve(every[-1]) if every else None
        self.losses.show([_curve(run) for run in every[:-1]], newest)
        self.spectrum.clear()  # its axis begins anew: how it grew on the way was a matter of time
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
        changed = self.losses.move(_curve(run))
        layer, update = run.largest_update()
        with one_thread():
            values, rank = spectrum(update).tolist(), numerical_rank(update)
        changed |= self.spectrum.show(layer, values, rank, _role(run))
        changed |= self._samples(run.material, run)
        if changed:
            self.picture.background_changed()

    def _samples(self, material: Material, run: Run | None) -> bool:
        """Show the material's samples before, and after the run; tell whether the background changed."""
        shown, after = self.samples, run.samples() if run else []
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
        jury = self._jury(material.label)
        written = [[Written(name, jury.tastes(name), jury.is_real(name)) for name in one] for one in
                   (material.before, after)]  # fmt: skip
        return shown.names(*written, material.label)


def _curve(run: Run) -> Curve:
    text = str(run.settings) + (f": {run.material.tell(run.score)}" if run.score is not None else "")
    return Curve(run.number, text, _role(run), run.settings.steps, run.history.loss)


def _role(run: Run) -> str:
    return role_of(run.number, run.settings.full)
