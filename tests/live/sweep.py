"""Moves an explorer through everything its sliders can do at their ends; for the tests of every view.

for values, sentence in sweep(explore(Keyhole())):
    assert f"{floor(values['rank']):.2f}" in sentence      # a number computed another way
"""

import itertools
from collections.abc import Iterator

import numpy as np

MOST = 40  # moves; a view with more combinations than that is swept one slider at a time


def sweep(explorer) -> Iterator[tuple[dict, str]]:
    """Yield ``(values, sentence)`` for minimum, start and maximum of each slider, each choice of buttons and menus.

    All combinations where there are few of them, else one slider at a time. After each move the view must have left a
    sentence, and a picture that equals the one drawn whole: a view that changes limits, ticks or labels without
    ``picture.background_changed()`` fails here.
    """
    names = list(explorer.limits())
    stops = [list(dict.fromkeys(places)) for places in explorer.limits().values()]
    start = explorer.values
    if np.prod([len(places) for places in stops]) <= MOST:
        moves = [dict(zip(names, places, strict=True)) for places in itertools.product(*stops)]
    else:
        moves = [start | {name: place} for name, places in zip(names, stops, strict=True) for place in places]
    for values in moves:
        sentence = explorer.move(**values)
        assert sentence.strip() and "nan" not in sentence.split(), f"at {values} the sentence is {sentence!r}"
        assert_whole(explorer, values)
        yield values, sentence
    explorer.move(**start)


def assert_whole(explorer, where="") -> None:
    """The picture that was painted last, over what was cached, equals the same picture drawn whole."""
    quick = np.array(explorer.picture.figure.canvas.buffer_rgba())[..., :3]
    whole = explorer.picture.whole()
    rows, columns = np.nonzero((quick != whole).any(axis=2))
    assert not len(rows), (
        f"at {where} the quick picture differs from the whole one in rows {rows.min()} to {rows.max()}, columns "
        f"{columns.min()} to {columns.max()}: an artist there changed that is neither moving (and told so by one "
        "of its own set_… methods) nor announced by picture.background_changed()."
    )
