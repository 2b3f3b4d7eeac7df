"""Moves by the thousand, and from two threads at once: nothing piles up, nothing gets mixed up."""

import gc
import os
import threading
import time
from pathlib import Path

from lora_teach.live import explore
from lora_teach.pictures.turn_it_down import TurnItDown
from tests.live.toy import Toy

import ipywidgets
import numpy as np
import pytest
from matplotlib.figure import Figure

STATM = Path("/proc/self/statm")
WARM_UP, MOVES = 300, 1000
MEGABYTE = 2**20


def move(explorer, moves):
    """As the page moves it: minimum, start and maximum of each control in turn."""
    places = [(name, place) for name, limits in explorer.limits().items() for place in limits]
    for step in range(moves):
        name, place = places[step % len(places)]
        explorer.controls[name].value = place
    gc.collect()


def alive(kind):
    """How many objects of a kind there are."""
    gc.collect()
    return sum(issubclass(type(thing), kind) for thing in gc.get_objects())


def resident():
    """Bytes of memory that this process holds."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def painted(explorer):
    """The bytes that the page has."""
    (image,) = [child for child in explorer.children if isinstance(child, ipywidgets.Image)]
    return bytes(image.value)


def test_a_thousand_moves_leave_one_figure_and_no_more_widgets():
    figures, widgets = alive(Figure), len(ipywidgets.widgets.widget._instances)
    explorer = explore(Toy(), speed=(1, 12, 3), height=(0.0, 3.0, 1.0), colour=["blue", "orange"])
    its_own = len(ipywidgets.widgets.widget._instances)
    assert its_own > widgets and alive(Figure) == figures + 1
    parts = len(explorer.picture.figure.findobj())
    move(explorer, MOVES)
    assert alive(Figure) == figures + 1
    assert len(ipywidgets.widgets.widget._instances) == its_own
    assert len(explorer.picture.figure.findobj()) == parts


@pytest.mark.skipif(not STATM.exists(), reason="the memory that a process holds is read from /proc")
def test_a_thousand_moves_leave_memory_where_it_was():
    explorer = explore(TurnItDown())
    assert MOVES * len(painted(explorer)) > 50 * MEGABYTE  # so that frames kept by somebody would be seen
    move(explorer, WARM_UP)
    before = resident()
    move(explorer, MOVES)
    assert resident() - before < 20 * MEGABYTE


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
