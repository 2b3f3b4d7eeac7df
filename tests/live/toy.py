"""A view as small as a view can be, for the tests of the machinery."""

import sys

from lora_teach.live import View
from lora_teach.plots import Picture, figure, legend, line, matrix, panels, styled

import numpy as np
import pytest

X = np.linspace(0, 10, 50)
# Of a test that moves or presses something while a cell runs.
answered_while_running = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="ipykernel answers widgets beside a running cell from Python 3.11 on"
)


@styled
def draw():
    made = figure(3.0, 1.6)
    left, right = panels(made, columns=2)
    image = matrix(left, np.zeros((4, 4)), limit=3.0)
    (wave,) = right.plot(X, X, **line("lora", marker="", label="wave"))
    title = right.set_title("speed 10")
    right.set(xlabel="x (s)", ylabel="y (m)", ylim=(-3, 3))
    legend(right, loc="upper right")
    return Picture(made, [image, wave, title]), wave, image, title


class Toy(View):
    """A sine whose speed, height and colour are set; speed 13 is refused, speed 14 breaks the drawing itself."""

    sliders = {"speed": (1, 20, 3), "height": (0.0, 3.0, 1.0, 0.25), "colour": ["blue", "orange"]}

    def __init__(self):
        self.picture, self.wave, self.image, self.title = draw()
        self.calls = []

    def move(self, speed, height=1.0, colour="blue"):
        self.calls.append(speed)
        if speed == 13:
            raise ValueError("speed=13 brings bad luck: use <12> or less.")
        self.wave.set_data(X if speed != 14 else X[:3], height * np.sin(speed * X))
        self.wave.set_color(colour)
        self.image.set_data(np.full((4, 4), height))
        self.title.set_text(f"speed {speed}")
        return f"At speed {speed} the height is {height:.2f}."


class OneSlider(Toy):
    """The toy with a slider for its speed alone."""

    sliders = {"speed": Toy.sliders["speed"]}
