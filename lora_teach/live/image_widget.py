"""The live picture: a `Picture` whose every state is painted into one ``ipywidgets.Image``."""

import threading

from lora_teach.plots import Picture

import ipywidgets

# matplotlib's caches are not safe between threads, and a kernel may handle widgets in several: one lock for all.
LOCK = threading.RLock()


class LivePicture:
    """Paints a `Picture` into an image widget.

    Args:
        picture: What is painted; whoever moves its artists calls `paint` afterwards.

    The widget is ``.image``. It must not get a tooltip, which breaks its view, and the box around it needs
    ``align_items="flex-start"``, or the image is stretched.
    """

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.image = ipywidgets.Image(format="jpeg", layout=ipywidgets.Layout(max_width="100%"))

    def paint(self) -> None:
        """Sends the picture as it stands: the moving artists over the cached background."""
        with LOCK:
            self.image.value = self.picture.frame()
