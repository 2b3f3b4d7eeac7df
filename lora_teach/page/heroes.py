"""The ten pictures that can be dragged on the page: which view, in which notebook, and at which places of its sliders.

A hero is drawn by its view, through the same `explore` as in the notebook, so a frame on the page is the live picture.
"""

import inspect
import itertools
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO

from lora_teach.live import explore

from PIL import Image

AXES = 2  # at most: the frames are the product of the places


@dataclass(frozen=True)
class Hero:
    """One view on one page.

    Attributes:
        notebook: The stem of the notebook that it stands in.
        picture: The folder of `lora_teach.pictures` that has the view.
        view: The view's class.
        axes: ``{slider: places}``, one or two; None for every choice of buttons or menu. Other sliders stay put.
    """

    notebook: str
    picture: str
    view: str
    axes: dict

    def explorer(self):
        """Make the view, its sliders where the notebook has them at first."""
        view = getattr(import_module(f"lora_teach.pictures.{self.picture}.view"), self.view)
        made = explore(view(), static_figure=None)
        if not 1 <= len(self.axes) <= AXES or not set(self.axes) <= set(made.controls):
            raise ValueError(
                f"{self.view} has the sliders {', '.join(made.controls)}; the page names {', '.join(self.axes)}, "
                f"and can have 1 to {AXES}. Change it in lora_teach/page/heroes.py."
            )
        return made

    def stops(self, explorer):
        """Return ``{slider: places}``, where the slider starts always among them."""
        stops = {}
        for name, places in self.axes.items():
            every = places is None
            places = list(explorer.limits()[name] if every else places)
            start = explorer.values[name]
            stops[name] = places if start in places else sorted([*places, start])
        return stops

    def alt(self):
        """Return what the picture shows: the first sentence of the view's docstring."""
        view = getattr(import_module(f"lora_teach.pictures.{self.picture}.view"), self.view)
        return inspect.getdoc(view).split("\n\n")[0].replace("\n", " ").replace("`", "")


STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0]
HEROES = [
    Hero("00_start_here", "morph", "Morph", {"language": None, "strength": STRENGTHS}),
    Hero("01_low_rank", "photo", "Photo", {"rank": [*range(1, 17), 20, 24, 32, 40, 48, 64, 80, 96]}),
    Hero("02_the_lora_layer", "waking_up", "WakingUp", {"start": None, "step": [0, 1, 2, 5, 10, 20, 40, 80, 150, 300]}),
    Hero("03_the_lora_model", "targets", "Targets", {"targets": None, "rank": [1, 2, 4, 6, 8, 12, 16, 24, 32, 48]}),
    Hero("04_training", "race", "Race", {"language": None, "stop_at": [20, 40, 80, 120, 160, 200, 300, 400]}),
    Hero("05_rank_and_alpha", "angle", "Angle", {"rank": [1, 2, 4, 8, 16], "angle": list(range(0, 181, 30))}),
    Hero("06_merge_switch_share", "mix", "Mix", {"share": [step / 20 for step in range(21)]}),
    Hero("07_a_real_language_model", "answer_sheet", "AnswerSheets", {"step": [0, 5, 10, 20, 40, 60], "run": None}),
    Hero("08_when_it_goes_wrong", "broken_runs", "BrokenRuns", {"mistake": None}),
    Hero("09_your_own_task", "new_data", "NewData", {"way": None, "done": [0, 10, 20, 30, 40, 60, 80, 100]}),
]


@dataclass(frozen=True)
class Frames:
    """A hero's frames as they lie on the page.

    Attributes:
        hero: Whose they are.
        folder: Where they lie, relative to the page; the frame at places 3 and 1 is ``3-1.webp``.
        controls: For each axis ``(name, label, kind, texts, start)``: kind ``range`` or ``select``, a text a place.
        sentences: ``{"3-1": sentence}``.
        start: The key where the sliders start.
        size: ``(width, height)`` in pixels.
    """

    hero: Hero
    folder: str
    controls: list
    sentences: dict
    start: str
    size: tuple

    @property
    def alt(self):
        """What the picture shows, in a sentence."""
        return self.hero.alt()


def draw_frames(hero, out):
    """Draw every frame of a hero into ``out/frames/<notebook>/`` and return its `Frames`."""
    explorer = hero.explorer()
    stops = hero.stops(explorer)
    start = {name: places.index(explorer.values[name]) for name, places in stops.items()}
    widgets = {name: explorer.controls[name] for name in stops}
    controls = [
        (name, widget.description, kind(stops[name]), [text(widget, place) for place in stops[name]], start[name])
        for name, widget in widgets.items()
    ]
    folder = f"frames/{hero.notebook}"
    (out / folder).mkdir(parents=True)
    sentences = {}
    for places in itertools.product(*(range(len(places)) for places in stops.values())):
        explorer.view.forget()  # a reader comes from anywhere
        sentence = explorer.move(**{name: stops[name][at] for name, at in zip(stops, places, strict=True)})
        pixels = explorer.picture.pixels()
        name = key(places)
        sentences[name] = sentence
        (out / folder / f"{name}.webp").write_bytes(webp(pixels))
    height, width, _ = pixels.shape
    return Frames(hero, folder, controls, sentences, key(start.values()), (width, height))


def key(places):
    """Name a frame by its place on each axis."""
    return "-".join(map(str, places))


def webp(pixels):
    """Return uint8 ``(height, width, 3)`` as a WebP file that keeps every pixel, smaller than a PNG of the same."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=60, method=4)
    return file.getvalue()


def kind(places):
    """Tell whether these places are a slider on the page or a menu: numbers slide, texts are chosen."""
    return "select" if isinstance(places[0], (str, bool)) else "range"


def text(widget, value):
    """Return what a reader sees for this place: the text on the widget's button, or the number as it shows it."""
    for option in getattr(widget, "options", ()):
        if isinstance(option, tuple) and option[1] == value:
            return option[0]
    return format(value, getattr(widget, "readout_format", "")) if isinstance(value, float) else str(value)
