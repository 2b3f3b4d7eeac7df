"""The views of notebook 11 say what the measures say, counted another way."""

import re

import numpy as np
import pytest
import torch

from lora_teach.bases import evaluate, load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure import intruder_dimensions, shrink_intruders
from lora_teach.measure.learned import matrices
from lora_teach.measure.results import load_result
from lora_teach.measure.truncate_update import block_matrices
from lora_teach.pictures.intruders.view import FACTORS, LETTERS_KNOWN, Intruders


@pytest.fixture(scope="module")
def zulu():
    return load_result("learned")["results"]["Zulu"]


@pytest.fixture(scope="module")
def intruders():
    return Intruders(guess=3.2)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d\d", text)]


@pytest.mark.parametrize(("factor", "epsilon"), [(0.0, 0.5), (0.75, 0.7)])
def test_intruders_read_the_losses_of_the_shrunk_weights(intruders, factor, epsilon):
    said = intruders(factor=factor, epsilon=epsilon)
    base, model = load_name_gpt(), load_name_gpt()
    before, after = matrices(base), matrices(load_language_adapter(load_name_gpt(), "Zulu"))
    with torch.no_grad():
        for name, weight in block_matrices(model).items():
            name = name.removesuffix(".weight")
            weight.copy_(shrink_intruders(before[name], after[name], factor, epsilon, 10))
    lists = names.load("Zulu").test, names.load("English").test[:LETTERS_KNOWN]
    new, old = (evaluate(model, some) for some in lists)
    count = sum(len(intruder_dimensions(before[name], W1, epsilon, 10)) for name, W1 in after.items())
    assert f"{count} intruders among the 180" in said
    assert numbers(said.partition("the loss is")[2])[:2] == pytest.approx([new, old], abs=0.006)
    assert ("Your guess for English: 3.20." in said) == (factor == 0.75)
    assert [intruders.drawn.bars[meter].get_width() for meter in ("learned", "forgotten")] == pytest.approx(
        [evaluate(base, lists[0]) - new, old - evaluate(base, lists[1])], abs=1e-4
    )


def test_at_one_and_at_the_ends_of_the_dial_intruders_are_the_trained_model_and_the_base(intruders):
    model = load_language_adapter(load_name_gpt(), "Zulu")
    trained = [evaluate(model, some) for some in intruders.lists]
    assert intruders.losses(1.0, 0.5) == pytest.approx(trained, abs=1e-4)
    assert intruders.dial[-1] == pytest.approx(trained, abs=1e-4)
    assert intruders.dial[0] == pytest.approx(intruders.base, abs=1e-6)


def test_the_still_of_intruders_says_what_a_quarter_off_does_to_each_contender(intruders, zulu):
    said = intruders.twin().sentence
    for name, entry in zulu["contenders"].items():
        paths = np.array([run["intruders shrunk"] for run in entry["runs"]])  # (seeds, factors, 2)
        new, old = (paths[:, FACTORS.index(0.75)] - paths[:, -1]).mean(0)
        came = re.search(rf"{name} ([+-]\d\.\d\d) and ([+-]\d\.\d\d)", said)
        assert [float(came[1]), float(came[2])] == pytest.approx([new, old], abs=0.006)
    assert load_result("learned")["settings"]["factors"] == list(FACTORS)
