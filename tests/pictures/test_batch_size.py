"""The picture of batch sizes draws what the file holds."""

from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.pictures.batch_size.view import ROLES, SHOWN, draw_batch_sizes, gap

import pytest


def test_each_panel_has_a_line_a_contender_and_the_carried_rates_as_hollow_marks():
    result, figure = load_result("batch_size"), draw_batch_sizes()
    for axes, (title, (task, budget)) in zip(figure.axes, SHOWN.items(), strict=True):
        found = result["results"][task][budget]
        assert axes.get_title(loc="left") == title
        lines = {line.get_label(): list(map(float, line.get_ydata())) for line in axes.lines}
        hollow = [line for line in axes.lines if line.get_fillstyle() == "none"]
        other = 0
        for name in ROLES:
            assert lines[name] == pytest.approx([mean(entry["test"]) for entry in found[name].values()])
            other += sum(entry["carried over"] != entry["test"] for entry in found[name].values())
        assert len(hollow) == other


def test_the_gap_is_to_full_fine_tuning_at_its_own_rate():
    result = load_result("batch_size")
    found = result["results"]["turned by 90°"]["equal examples"]
    own, carried = found["LoRA r=4"]["256"]["test"], found["LoRA r=4"]["256"]["carried over"]
    full = mean(found["full"]["256"]["test"])
    assert gap(result, "turned by 90°", "equal examples", "LoRA r=4", 256) == pytest.approx(mean(own) - full)
    assert gap(result, "turned by 90°", "equal examples", "LoRA r=4", 256, True) == pytest.approx(mean(carried) - full)
