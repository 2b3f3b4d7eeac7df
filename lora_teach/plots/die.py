"""A loss read aloud: e^loss is the number of sides of a fair die that is as hard to guess as the next letter."""

from lora_teach.plots.style import COLOURS, styled

import numpy as np

SIDES = (6, 8, 10, 15, 20, 30, 40, 60, 80, 100)  # what the right-hand axis is marked with
FEW_SIDES = (5, 6, 7, 8, 9, 10, 11, 12)  # where the losses lie close together


@styled
def die_axis(axes, sides=SIDES, top=False):
    """Return a second scale at the right of ``axes``, whose y axis is a loss in nats; at the ``top``, for an x axis."""
    second = (axes.secondary_xaxis if top else axes.secondary_yaxis)(
        "top" if top else "right", functions=(np.exp, _nats)
    )
    axis = second.xaxis if top else second.yaxis
    axis.set_label_text("sides of a fair die", color=COLOURS["ink"])
    axis.set_ticks(sides)
    second.tick_params(labelsize=9, color=COLOURS["base"], labelcolor=COLOURS["ink"], length=3)
    return second


def aloud(loss, lead=""):
    """Return a loss in nats a letter with the die it amounts to: ``"2.30 (10 sides)"``."""
    return f"{loss:.2f} ({lead}{np.exp(loss):.0f} sides)"


def _nats(sides):
    """The loss of guessing with a fair die; matplotlib asks for dice with no sides too."""
    return np.log(np.maximum(sides, 1e-9))
