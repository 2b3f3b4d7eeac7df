"""The playground's controls: what can be chosen for a run, in two columns."""

from dataclasses import asdict

from lora_teach.live.controls import control, set_value
from lora_teach.pictures.playground.material import MATERIALS
from lora_teach.pictures.playground.numbers import Settings

from ipywidgets import HBox, Layout, VBox

ALL = {
    "material": {name: material.label for name, material in MATERIALS.items()},
    "method": {"full": "full fine-tuning", "LoRA": "LoRA"},
    "rank": [1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96],
    "alpha": [0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128],
    "lr": [float(f"{digit}e{power}") for power in (-4, -3, -2, -1) for digit in (1, 2, 3, 5, 7)] + [1.0],
    "steps": [20, 50, 100, 200, 300, 500, 1000, 2000],
    "seed": list(range(10)),
    "scaling": {"alpha/r": "α/r", "alpha/sqrt(r)": "α/√r", "alpha": "α, constant"},
    "targets": {"all": "all"},
}
LABELS = {"rank": "rank r", "alpha": "α", "lr": "learning rate", "targets": "layers"}
OF_LORA = ("rank", "alpha", "scaling", "targets")
COLUMNS = ("method", "rank", "alpha", "scaling"), ("lr", "steps", "seed", "targets")


class Controls(VBox):
    """All controls of a run, ``controls`` by the name of the setting; ``changed()`` is called after each move."""

    def __init__(self, settings, changed):
        self._changed, self._holding = changed, False
        self.controls = {name: control(name, spec, LABELS.get(name)) for name, spec in ALL.items()}
        self.move(settings)
        for widget in self.controls.values():
            widget.style.description_width = "7.2em"
            widget.layout.width = "100%"
            widget.observe(self._moved, names="value")
        half = Layout(flex="1 1 28em", max_width="36em")
        halves = [VBox([self.controls[name] for name in names], layout=half) for names in COLUMNS]
        row = HBox(halves, layout=Layout(width="100%", flex_flow="row wrap"))  # under each other where it is narrow
        super().__init__([self.controls["material"], row], layout=Layout(width="100%"))

    @property
    def settings(self):
        """What is chosen now."""
        return Settings(**{name: widget.value for name, widget in self.controls.items()})

    def move(self, settings):
        """Move all controls to these settings, which have been checked."""
        self._holding = True
        try:
            self.controls["material"].value = settings.material
            self._fit()  # before its layers can be chosen
            for name, value in asdict(settings).items():
                set_value(self.controls[name], value)
            self._fit()
        finally:
            self._holding = False

    def _moved(self, change):
        if self._holding:
            return
        self._holding = True
        try:
            self._fit()
        finally:
            self._holding = False
        self._changed()

    def _fit(self):
        """Offer the material's layers, where "all" stays chosen; full fine-tuning disables LoRA's controls."""
        widget, layers = self.controls["targets"], list(MATERIALS[self.controls["material"].value].layers)
        if [value for _, value in widget.options] != layers:
            kept = widget.value if widget.value in layers else "all"
            widget.options, widget.value = [(layer, layer) for layer in layers], kept
        for name in OF_LORA:
            self.controls[name].disabled = self.controls["method"].value == "full"
