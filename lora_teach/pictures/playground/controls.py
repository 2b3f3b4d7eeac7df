"""The playground's controls: what can be chosen for a run, in two columns."""

from collections.abc import Callable
from dataclasses import asdict

import ipywidgets
from ipywidgets import HBox, Layout, VBox

from lora_teach.live.controls import control
from lora_teach.pictures.playground.material import MATERIALS
from lora_teach.pictures.playground.numbers import Settings

RANKS = [1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96]
ALPHAS = [0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128]
RATES = [float(f"{digit}e{power}") for power in (-4, -3, -2, -1) for digit in (1, 2, 3, 5, 7)] + [1.0]
STEPS = [20, 50, 100, 200, 300, 500, 1000, 2000]
LABELS = {"rank": "rank r", "alpha": "α", "lr": "learning rate", "scaling": "scaling", "targets": "layers"}
SCALINGS = {"alpha/r": "α/r", "alpha/sqrt(r)": "α/√r", "alpha": "α, constant"}
METHODS = {"full": "full fine-tuning", "LoRA": "LoRA"}
OF_LORA = ("rank", "alpha", "scaling", "targets")
COLUMNS = ("method", "rank", "alpha", "scaling"), ("lr", "steps", "seed", "targets")


class Controls(VBox):
    """All controls of a run.

    Args:
        settings: Where they start.
        changed: Called after each move, without arguments.

    Attributes:
        controls: ``{name of the setting: widget}``.
    """

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self._changed, self._holding = changed, False
        layers = list(MATERIALS[settings.material].layers)
        self.controls = {
            "material": _buttons("material", {name: material.label for name, material in MATERIALS.items()}),
            "method": _buttons("method", METHODS),
            "rank": control("rank", RANKS, LABELS["rank"]),
            "alpha": control("alpha", ALPHAS, LABELS["alpha"]),
            "lr": control("lr", RATES, LABELS["lr"]),
            "steps": control("steps", STEPS),
            "seed": control("seed", list(range(10))),
            "scaling": _buttons("scaling", SCALINGS),
            "targets": _buttons("targets", dict(zip(layers, layers, strict=True))),
        }
        self.move(settings)
        for widget in self.controls.values():
            widget.style.description_width = "7.2em"
            widget.layout.width = "100%"
            widget.observe(self._moved, names="value")
        halves = [
            VBox([self.controls[name] for name in names], layout=Layout(flex="1 1 28em", max_width="36em"))
            for names in COLUMNS
        ]
        row = HBox(halves, layout=Layout(width="100%", flex_flow="row wrap"))  # under each other where it is narrow
        super().__init__([self.controls["material"], row], layout=Layout(width="100%"))

    @property
    def settings(self) -> Settings:
        """What is chosen now."""
        return Settings(**{name: widget.value for name, widget in self.controls.items()})

    def move(self, settings: Settings) -> None:
        """Move all controls to these settings, which can be trained; a slider gets a place for a value it lacks."""
        self._holding = True
        try:
            self._offer_layers_of(settings.material)
            for name, value in asdict(settings).items():
                widget = self.controls[name]
                if isinstance(widget, ipywidgets.SelectionSlider):
                    _make_place(widget, value)
                widget.value = value
            self._wake()
        finally:
            self._holding = False

    def _moved(self, change) -> None:
        if self._holding:
            return
        self._holding = True
        try:
            self._offer_layers_of(self.controls["material"].value)
            self._wake()
        finally:
            self._holding = False
        self._changed()

    def _offer_layers_of(self, material: str) -> None:
        """Digits and names have other layers; what both have ("all") stays chosen."""
        widget, layers = self.controls["targets"], list(MATERIALS[material].layers)
        if [value for _, value in widget.options] == layers:
            return
        kept = widget.value if widget.value in layers else "all"
        widget.options, widget.value = [(layer, layer) for layer in layers], kept

    def _wake(self) -> None:
        """Full fine-tuning has no rank, no α, no rule and no choice of layers: these controls sleep then."""
        for name in OF_LORA:
            self.controls[name].disabled = self.controls["method"].value == "full"


def _buttons(name: str, labels: dict[str, str]):
    """A row of buttons whose texts are not its values."""
    made = control(name, list(labels.values()), LABELS.get(name))
    made.options = [(label, value) for value, label in labels.items()]
    return made


def _make_place(slider: ipywidgets.SelectionSlider, value) -> None:
    values = [option[1] for option in slider.options]
    if value not in values:
        slider.options = [(f"{place:g}", place) for place in sorted([*values, value])]
