"""Both lives of alpha: what is drawn is what was measured."""

from lora_teach.pictures.alpha_at_use import draw_alpha_at_use


def drawn(axes, marker):
    """The heights drawn with this marker."""
    (found,) = [line for line in axes.lines if line.get_marker() == marker]
    return list(map(float, found.get_ydata()))


def test_both_lives_of_alpha_are_drawn_and_the_rate_of_b_over_them():
    lines = {"used": [0.1, 0.9, 0.3], "trained": [0.5, 0.9, 0.95], "rate of B": [0.5, 0.9, 0.95]}
    (axes,) = draw_alpha_at_use(lines, [0.5, 1, 2], base=0.09).axes
    for name, marker in (("used", "v"), ("trained", "o"), ("rate of B", "s")):
        assert drawn(axes, marker) == lines[name]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["×1/2", "×1", "×2"]
