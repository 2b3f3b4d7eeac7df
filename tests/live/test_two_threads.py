"""Explorers that are moved from two threads at once."""

import threading
import time

from lora_teach.live import explore
from tests.live.toy import Toy

import ipywidgets
import numpy as np


def painted(explorer):
    """The bytes that the page has."""
    (image,) = [child for child in explorer.children if isinstance(child, ipywidgets.Image)]
    return bytes(image.value)


def test_explorers_moved_from_two_threads_draw_one_after_the_other_and_end_right():
    class Watched(Toy):
        """Notes when two are at work at once, and gives them time for it."""

        working = most = 0

        def move(self, speed, **others):
            Watched.working += 1
            Watched.most = max(Watched.most, Watched.working)
            sentence = super().move(speed, **others)
            time.sleep(0.001)
            Watched.working -= 1
            return sentence

    explorers = [explore(Watched(), speed=(20, 99, 20)) for _ in range(2)]
    lasts = (55, 77)

    together = threading.Barrier(2)

    def shake(explorer, last):
        together.wait()
        for speed in range(21, 71):
            explorer.controls["speed"].value = speed
        explorer.controls["speed"].value = last

    threads = [threading.Thread(target=shake, args=pair) for pair in zip(explorers, lasts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Watched.most == 1
    for explorer, last in zip(explorers, lasts, strict=True):
        assert explorer.error is None and len(explorer.view.calls) == 52
        assert explorer.sentence == f"At speed {last} the height is 1.00."
        fresh = Toy()
        fresh.move(last)
        assert painted(explorer) == painted(explore(Toy(), speed=(20, 99, last)))
        assert np.array_equal(explorer.picture.pixels(), fresh.picture.pixels())
