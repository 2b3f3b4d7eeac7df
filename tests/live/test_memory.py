"""The bars of memory: what they show is what is predicted, and the sentence says it."""

import re

from lora_teach.measure.architectures import build, targets
from lora_teach.measure.predicted_memory import predict_memory
from lora_teach.measure.results import load_result
from lora_teach.pictures.memory.view import MODELS, RANK, START, MemoryBars

import numpy as np
import pytest

SMOL, LARGE = "SmolLM2-135M", "Llama-3.1-8B"


@pytest.fixture(scope="module")
def explorer():
    return MemoryBars.example(guess=0.3)


def spoken(sentence):
    """The amounts in the sentence, in GB."""
    units = {"MB": 1e-3, "GB": 1.0}
    return [float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (MB|GB)", sentence)]


def totals(drawn):
    """The heights of the three bars, in GB."""
    return [sum(part[bar].get_height() for part in drawn.bars) for bar in range(3)]


def test_the_sentence_tells_what_was_predicted(explorer):
    sentence = explorer.move(model=LARGE, batch_size=2, seq_len=1024)
    model, only = build(LARGE), targets(LARGE, "all linear")
    kind = MODELS[LARGE]
    full = predict_memory(model, 2, 1024, dtype=kind)
    lora = predict_memory(model, 2, 1024, dtype=kind, rank=RANK, target_modules=only)
    again = predict_memory(model, 2, 1024, dtype=kind, rank=RANK, target_modules=only, checkpointing=True)
    expected = [held.total / 1e9 for held in (full, lora, again)]
    assert spoken(sentence) == pytest.approx(expected, rel=0.006)
    assert totals(explorer.view.drawn) == pytest.approx(expected)
    assert f"({lora.total / full.total:.0%})" in sentence and f"({again.total / full.total:.0%})" in sentence
    assert f"{lora.activations / lora.total:.0%} are activations" in sentence
    assert "2,048 tokens" in sentence and "Measured" not in sentence


def test_a_measured_step_stands_beside_the_prediction(explorer):
    sentence = explorer.move(model=SMOL, batch_size=START[0], seq_len=START[1])
    rows = load_result("memory")["results"]["memory"][SMOL][f"{START[0]} × {START[1]}"]
    measured = [sum(rows[name]["measured"]) / 1e9 for name in ("full", "all linear r8", "all linear r8, checkpointed")]
    assert spoken(sentence)[3:] == pytest.approx(measured, rel=0.006)
    assert explorer.view.drawn.measured.get_ydata() == pytest.approx(measured)
    assert totals(explorer.view.drawn) == pytest.approx(measured, rel=0.02)
    explorer.move(seq_len=2048)
    assert len(explorer.view.drawn.measured.get_ydata()) == 0


def test_the_dots_lie_on_the_lines(explorer):
    for model in MODELS:
        for batch_size, seq_len in ((1, 32), (8, 512), (32, 2048)):
            explorer.move(model=model, batch_size=batch_size, seq_len=seq_len)
            drawn = explorer.view.drawn
            bars = totals(drawn)
            for line, dot, bar in zip(drawn.lines, drawn.dots, bars[1:], strict=True):
                (x,), (y,) = dot.get_data()
                assert x == batch_size * seq_len and y == pytest.approx(bar / bars[0])
                assert np.interp(x, *line.get_data()) == pytest.approx(y, abs=0.005)


def test_where_activations_dominate_lora_hardly_helps_and_checkpointing_does(explorer):
    for model in MODELS:
        explorer.move(model=model, batch_size=1, seq_len=32)
        few = totals(explorer.view.drawn)
        explorer.move(batch_size=32, seq_len=2048)
        many = totals(explorer.view.drawn)
        assert few[1] / few[0] < 0.3 and many[1] / many[0] > 0.8, model
        assert few[2] / few[1] > 0.9 and many[2] / many[1] < 0.3, model


def test_the_twin_says_what_its_bars_show(explorer):
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
    assert re.findall(r"\d+%", explorer.twin.sentence) == [f"{share:.0%}" for share in expected]


def test_a_guess_is_a_share():
    with pytest.raises(ValueError, match="guess=30 is no share"):
        MemoryBars(guess=30)
