"""The bars of memory: what they show is what is predicted, they stack, and the sentence says it."""

import re

from lora_teach.live import explore
from lora_teach.measure.architectures import build, targets
from lora_teach.measure.predicted_memory import predict_memory
from lora_teach.measure.results import load_result
from lora_teach.pictures.memory import MemoryBars
from lora_teach.pictures.memory.view import MODELS, PARTS, RANK, START, draw_ranks

import numpy as np
import pytest

SMOL, LARGE = "SmolLM2-135M", "Llama-3.1-8B"
HELD = [(4e9, 4e9, 8e9, 2e9), (4.1e9, 0.1e9, 0.2e9, 1.9e9), (4.1e9, 0.1e9, 0.2e9, 0.5e9)]


@pytest.fixture(scope="module")
def explorer():
    return explore(MemoryBars(guess=0.3))


def spoken(sentence):
    """The amounts in the sentence, in GB."""
    units = {"MB": 1e-3, "GB": 1.0}
    return [float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (MB|GB)", sentence)]


def totals(view):
    """The heights of the three bars, in GB."""
    return [sum(part[bar].get_height() for part in view.bars) for bar in range(3)]


def test_the_sentence_tells_what_was_predicted(explorer):
    sentence = explorer.move(model=LARGE, batch_size=2, seq_len=1024)
    model, only = build(LARGE), targets(LARGE, "all linear")
    kind = MODELS[LARGE]
    full = predict_memory(model, 2, 1024, dtype=kind)
    lora = predict_memory(model, 2, 1024, dtype=kind, rank=RANK, target_modules=only)
    again = predict_memory(model, 2, 1024, dtype=kind, rank=RANK, target_modules=only, checkpointing=True)
    expected = [held.total / 1e9 for held in (full, lora, again)]
    assert spoken(sentence) == pytest.approx(expected, rel=0.006)
    assert totals(explorer.view) == pytest.approx(expected)
    assert f"({lora.total / full.total:.0%})" in sentence and f"({again.total / full.total:.0%})" in sentence
    assert f"{lora.activations / lora.total:.0%} are activations" in sentence
    assert "2,048 tokens" in sentence and "Measured" not in sentence


def test_a_measured_step_stands_beside_the_prediction(explorer):
    sentence = explorer.move(model=SMOL, batch_size=START[0], seq_len=START[1])
    rows = load_result("memory")["results"]["memory"][SMOL][f"{START[0]} × {START[1]}"]
    measured = [sum(rows[name]["measured"]) / 1e9 for name in ("full", "all linear r8", "all linear r8, checkpointed")]
    assert spoken(sentence)[3:] == pytest.approx(measured, rel=0.006)
    assert explorer.view.measured.get_ydata() == pytest.approx(measured)
    assert totals(explorer.view) == pytest.approx(measured, rel=0.02)
    explorer.move(seq_len=2048)
    assert len(explorer.view.measured.get_ydata()) == 0


def test_the_dots_lie_on_the_lines(explorer):
    for model in MODELS:
        for batch_size, seq_len in ((1, 32), (8, 512), (32, 2048)):
            explorer.move(model=model, batch_size=batch_size, seq_len=seq_len)
            view = explorer.view
            bars = totals(view)
            for line, dot, bar in zip(view.lines, view.dots, bars[1:], strict=True):
                (x,), (y,) = dot.get_data()
                assert x == batch_size * seq_len and y == pytest.approx(bar / bars[0])
                assert np.interp(x, *line.get_data()) == pytest.approx(y, abs=0.005)


def test_where_activations_dominate_lora_hardly_helps_and_checkpointing_does(explorer):
    for model in MODELS:
        explorer.move(model=model, batch_size=1, seq_len=32)
        few = totals(explorer.view)
        explorer.move(batch_size=32, seq_len=2048)
        many = totals(explorer.view)
        assert few[1] / few[0] < 0.3 and many[1] / many[0] > 0.8, model
        assert few[2] / few[1] > 0.9 and many[2] / many[1] < 0.3, model


def test_the_static_figure_says_what_its_bars_show(explorer):
    model, only = build(LARGE), targets(LARGE, "all linear")

    def total(batch_size, seq_len, **options):
        return predict_memory(model, batch_size, seq_len, dtype=MODELS[LARGE], **options).total

    few, many = total(1, 128), total(32, 2048)
    lora = {"rank": RANK, "target_modules": only}
    expected = [
        total(1, 128, **lora) / few,
        total(1, 128, rank=256, target_modules=only) / few,
        total(32, 2048, **lora) / many,
        total(32, 2048, checkpointing=True, **lora) / many,
        total(32, 2048, checkpointing=True) / many,
    ]
    assert re.findall(r"\d+%", explorer.static_figure.sentence) == [f"{share:.0%}" for share in expected]


@pytest.mark.parametrize(("guess", "error"), [("0.3", TypeError), (float("nan"), ValueError), (30, ValueError)])
def test_a_guess_is_a_share(guess, error):
    with pytest.raises(error, match="Give a share from 0 to 1, or None"):
        MemoryBars(guess)


def test_the_guess_is_a_diamond_and_none_draws_nothing(explorer):
    def diamonds(view):
        return [tuple(line.get_xydata()[0]) for line in view.axes[1].get_lines() if line.get_marker() == "D"]

    assert diamonds(explorer.view) == [(512, 0.3)] and diamonds(MemoryBars()) == []


def test_bars_stack_to_the_totals(explorer):
    view = explorer.view
    view.stack(HELD, [18e9, 6e9, 5e9])
    for bar, parts in enumerate(HELD):
        rectangles = [part[bar] for part in view.bars]
        assert [one.get_height() for one in rectangles] == pytest.approx(np.array(parts) / 1e9)
        for below, above in zip(rectangles, rectangles[1:], strict=False):
            assert above.get_y() == pytest.approx(below.get_y() + below.get_height())
        assert view.words[bar].get_text().startswith(f"{sum(parts) / 1e9:.{1 if bar == 0 else 2}f} GB")
    assert view.words[1].get_text().endswith("35%")
    assert list(view.measured.get_ydata()) == [18, 6, 5]


def test_each_part_has_a_hatch_of_its_own(explorer):
    assert len({part[0].get_hatch() for part in explorer.view.bars}) == len(PARTS) == len(explorer.view.bars)


def test_the_axis_follows_the_largest_bar(explorer):
    view = explorer.view
    view.stack(HELD)
    assert view.axes[0].get_ylim() == (0, 30)
    view.stack(np.array(HELD) / 100)
    assert view.axes[0].get_ylim() == (0, pytest.approx(0.3))
    assert len(view.measured.get_ydata()) == 0


def test_small_multiples_share_a_scale_and_count_from_the_first_bar():
    held = {
        "all kept": {"1 × 8 tokens": {"full": (1e9, 1e9, 2e9, 0), "r 8": (1e9, 0, 0, 0)}},
        "with checkpointing": {"1 × 8 tokens": {"full": (1e9, 1e9, 1e9, 0), "r 8": (1e9, 0, 0, 0)}},
    }
    figure = draw_ranks(held)
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [["100%", "25%"], ["75%", "25%"]]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_title(loc="left") == "1 × 8 tokens (100 % is 4 GB)"
    assert [axes.get_ylabel() for axes in figure.axes] == list(held)
