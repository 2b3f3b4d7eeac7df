from lora_teach import LoRAModel
from lora_teach.bases import NameGPT
from lora_teach.pictures.freezing.view import draw_changes, rows

import pytest

CHANGES = {name: 0.02 if "lora" in name else 0.0 for name, _ in LoRAModel(NameGPT(), rank=1).named_parameters()}


def test_every_parameter_stands_in_its_row():
    counts = {label: len(values) for label, values in rows(CHANGES).items()}
    assert counts == {"lora_B": 18, "lora_A": 18, "norms": 14, "MLP": 12, "attention": 24, "embeddings, head": 2}


def dots(axes):
    return [x for line in axes.lines for x in line.get_xdata()]


def test_exact_zeros_stand_apart():
    first, second = draw_changes({"all zero": CHANGES, "norms move": CHANGES | {"base_model.norm.bias": 0.3}}).axes[::2]
    assert len(dots(first)) == 52 and len(dots(second)) == 51
    zero, rest = draw_changes({"all zero": CHANGES}).axes
    assert len(dots(zero)) == 52 and dots(rest) == [0.02] * 36


@pytest.mark.parametrize("smallest", [1e-9, 1e-3, 30.0])
def test_no_dot_is_cut_off(smallest):
    zero, rest = draw_changes({"run": CHANGES | {"base_model.norm.bias": smallest}}).axes
    low, high = rest.get_xlim()
    assert all(low < x < high for x in dots(rest)) and all(-0.15 < x < 1.15 for x in dots(zero))
