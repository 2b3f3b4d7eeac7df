"""Arrays in, figures out: no widgets, no training. ``style`` has the looks, ``picture`` the figure that can move."""

from lora_teach.plots.picture import Picture, Still, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, matrix, panels, styled

__all__ = [
    "COLOURS", "MARKERS", "Picture", "Still", "diamond", "figure", "legend", "line", "matrix",
    "panels", "show", "styled",
]  # fmt: skip
