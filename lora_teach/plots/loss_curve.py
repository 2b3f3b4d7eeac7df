"""The loss curve of a training run that is still going: raw values thin, their mean thick, other runs beside it."""

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, figure, legend, line, panels, styled

import numpy as np

REFERENCES = ("full", "other", "third", "fourth")  # the roles that reference runs take in turn


def smoothed(losses, window):
    """The mean of the ``window`` losses around each step, of fewer at both ends: ``(steps,)``."""
    total = np.concatenate([[0.0], np.cumsum(np.asarray(losses, dtype=float))])  # (steps + 1,)
    step = np.arange(len(losses))
    start = np.maximum(step - window // 2, 0)
    end = np.minimum(step + (window + 1) // 2, len(losses))
    return (total[end] - total[start]) / (end - start)


class LossCurve:
    """A figure of one run's loss by step, which `update` moves along, over ``steps`` that are planned.

    ``references`` are ``{label: losses}`` of finished runs; the thick line is a mean over ``window`` steps.
    """

    def __init__(self, steps, title, references=None):
        self.window = max(1, steps // 20)
        self._low, self._high = np.inf, -np.inf
        self.picture = self._draw(steps, title, references or {})

    @styled
    def _draw(self, steps, title, references):
        made = figure(8.0, 3.2)
        self._axes = panels(made)
        self._axes.set(xlabel="step", ylabel="loss", title=title, xlim=(0, steps))
        for index, (label, losses) in enumerate(references.items()):
            curve = smoothed(losses, self.window)
            role = REFERENCES[index % len(REFERENCES)]
            self._axes.plot(range(1, len(curve) + 1), curve, **line(role, marker="", label=label))
            self._stretch(curve)
        smooth = self.window > 1  # a short run has only its steps
        raw, mean = ("each step", f"mean of {self.window} steps around") if smooth else (None, "each step")
        (self._raw,) = self._axes.plot([], [], color=COLOURS["ghost"], linewidth=0.9, label=raw)
        (self._mean,) = self._axes.plot([], [], **line("lora", marker="", linewidth=2.4, label=mean))
        legend(self._axes, loc="upper right")
        self._fit()
        return Picture(made, [self._raw, self._mean])

    def update(self, losses):
        """Moves the curve on to these losses, one a step from step 1; the axis grows where they leave it."""
        steps = range(1, len(losses) + 1)
        self._raw.set_data(steps, losses)
        self._mean.set_data(steps, smoothed(losses, self.window))
        if self._stretch(losses):
            self._fit()
            self.picture.background_changed(relayout=True)

    def _fit(self):
        if self._high > -np.inf:
            margin = 0.06 * (self._high - self._low) or 0.5
            self._axes.set_ylim(self._low - margin, self._high + margin)

    def _stretch(self, losses):
        """Takes the finite ones of these losses into the axis; whether that changed it."""
        finite = np.asarray(losses, dtype=float)
        finite = finite[np.isfinite(finite)]
        if not len(finite) or (finite.min() >= self._low and finite.max() <= self._high):
            return False
        grown = 0.1 * max(self._high - self._low, 0.0) if np.isfinite(self._high) else 0.0  # in strides: not every step
        self._low = min(self._low, finite.min() - grown) if finite.min() < self._low else self._low
        self._high = max(self._high, finite.max() + grown) if finite.max() > self._high else self._high
        return True
