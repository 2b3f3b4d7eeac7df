"""Live pictures for notebooks: views bound to sliders, and training that is drawn while it runs.

The only part of the package that imports ipywidgets.
"""

from lora_teach.live.explore import Explorer, View, explore
from lora_teach.live.image_widget import LivePicture
from lora_teach.live.train_live import train_live

__all__ = ["Explorer", "LivePicture", "View", "explore", "train_live"]
