import math

import pytest
import torch

from lora_teach.bases import evaluate, gumbel_noise, load_language_adapter, load_name_gpt, name_loss, sample_names
from lora_teach.datasets import names
from lora_teach.measure.writing import Writer
from lora_teach.pictures.mix.numbers import (
    averaged_factors,
    averaged_probabilities,
    mixture_losses,
    share_of_gain,
    tastes,
)

HALVES = {"Finnish": 0.5, "Zulu": 0.5}


@pytest.fixture
def model():
    return load_language_adapter(load_language_adapter(load_name_gpt(), "Finnish"), "Zulu")


@pytest.fixture(scope="module")
def few():
    return [names.load(language).test[:20] for language in ("Finnish", "Zulu")]


def test_losses_of_mixtures_are_those_of_the_model_set_to_them(model, few):
    mixtures = [None, "Zulu", HALVES]
    losses = mixture_losses(model, mixtures, few)
    for mixture, found in zip(mixtures, losses, strict=True):
        model.set_adapter(mixture)
        assert found == pytest.approx([evaluate(model, one) for one in few])


def test_what_was_active_is_active_again_even_after_an_error(model, few):
    model.set_adapter({"Zulu": 0.3})
    mixture_losses(model, ["Finnish"], few)
    assert model.active_adapters == {"Zulu": 0.3}
    with pytest.raises(KeyError):
        mixture_losses(model, ["Finnish", "nobody"], few)
    assert model.active_adapters == {"Zulu": 0.3}
    averaged_probabilities(model, ["Finnish", "Zulu"], few[0])
    assert model.active_adapters == {"Zulu": 0.3}


def test_share_of_gain_is_0_at_the_base_and_1_at_the_adapter():
    assert (share_of_gain(3.0, 3.0, 2.0), share_of_gain(2.0, 3.0, 2.0), share_of_gain(2.25, 3.0, 2.0)) == (0, 1, 0.75)
    assert share_of_gain(3.5, 3.0, 2.0) == -0.5


def test_averaged_factors_hold_the_cross_terms_and_leave_the_model_alone(model):
    before = [parameter.clone() for parameter in model.parameters()]
    mean, path = averaged_factors(model, ["Finnish", "Zulu"]), "blocks.1.mlp.up_proj"
    (A1, B1), (A2, B2) = ((one.lora_A, one.lora_B) for one in (model.adapters[name][path] for name in HALVES))
    quarter = (A1 @ B1 + A1 @ B2 + A2 @ B1 + A2 @ B2) / 4
    layer = mean.lora_layers[path]
    assert torch.allclose(layer.lora_A @ layer.lora_B, quarter, atol=1e-4) and layer.rank == 4
    assert all(map(torch.equal, model.parameters(), before))
    assert mean.base_model is not model.base_model


def test_averaging_an_adapter_with_itself_is_that_adapter(model, few):
    model.set_adapter("Finnish")
    mean = averaged_factors(model, ["Finnish", "Finnish"])
    assert evaluate(mean, few[0]) == pytest.approx(evaluate(model, few[0]), abs=1e-6)


def test_averaged_probabilities_of_one_adapter_are_its_own(model, few):
    model.set_adapter("Zulu")
    alone = evaluate(model, few[0])
    model.set_adapter(None)
    assert averaged_probabilities(model, ["Zulu"], few[0]) == pytest.approx(alone, abs=1e-5)


def test_probabilities_are_averaged_and_not_their_logarithms(model):
    inputs, targets = names.encode(["aino"])
    logits = []
    for name in HALVES:
        model.set_adapter(name)
        logits.append(model(inputs))
    mean = sum(one.softmax(-1) for one in logits) / 2
    expected = -mean[0, torch.arange(5), targets[0]].log().mean().item()
    found = averaged_probabilities(model, list(HALVES), ["aino"])
    assert found == pytest.approx(expected, abs=1e-5)
    assert found <= min(name_loss(one, targets).item() for one in logits) + math.log(2)


def test_a_letter_pleases_the_judge_whom_it_surprises_least():
    judges = {"1": names.Judge(["anna"] * 9), "2": names.Judge(["ubu"] * 9)}
    assert tastes("anna", judges) == "1111" and tastes("ubu", judges) == "222"
    assert set(tastes("xqž", judges)) == {"-"}


def test_the_writer_mixes_as_the_model_does(model):
    noise, writer = 0.7 * gumbel_noise(8, 74), Writer(model)
    for mixture in (HALVES, {"Finnish": 0.2, "Zulu": 0.8}, {"Zulu": -0.5}, {}):
        model.set_adapter(mixture or None)
        assert writer.mix(mixture, noise) == sample_names(model, noise)
    assert writer.write("Zulu", 0.7, noise) == writer.mix({"Zulu": 0.7}, noise)
    assert writer.write(None, 1.0, noise) == sample_names(load_name_gpt(), noise)
