"""What notebook 06 says without a cell that shows it, or reads off a picture or table; and its solutions solve."""

from lora_teach import LoRAModel
from lora_teach.bases import load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.measure.judging import STRENGTHS, measured
from lora_teach.pictures.mix import Mix
from lora_teach.pictures.mix.numbers import mixture_losses
from lora_teach.pictures.morph.view import COLUMNS
from tests.notebooks.reading import ROOT

import pytest
import torch

FINNISH = ROOT / "data" / "adapters" / "finnish"


@pytest.fixture(scope="module")
def model():
    return load_language_adapter(load_language_adapter(load_name_gpt(), "Finnish"), "Zulu")


@pytest.fixture(scope="module")
def tests():
    return [names.load(language).test for language in ("Finnish", "Zulu")]


def test_all_eight_adapters_are_trained_over_the_one_base():
    base = load_name_gpt()
    model = load_language_adapter(base, "Finnish")
    for language in names.languages()[2:]:
        load_language_adapter(model, language)
    assert len(model.adapter_names) == 8 and model.base_model is base
    weights = [parameter.data_ptr() for parameter in base.parameters()]
    for language in model.adapter_names:
        model.set_adapter(language)
    assert [parameter.data_ptr() for parameter in base.parameters()] == weights  # nothing is copied or rebuilt


def test_the_path_bows_and_half_and_half_keeps_more_than_half_of_both():
    view = Mix()
    assert min(view.gains(0.5)) > 0.5
    ends = view.path[0], view.path[-1]
    for share, point in list(zip(view.shares, view.path, strict=True))[1:-1]:
        chord = (1 - share) * ends[0] + share * ends[1]
        assert (point < chord).all()


def test_the_picture_shows_the_mixtures_that_the_sentence_under_it_speaks_of():
    assert 0.5 in Mix().shares and 0.5 in COLUMNS


def test_half_of_an_adapter_does_most_of_its_work_alone_and_less_beside_another(model, tests):
    base, half, both, own = mixture_losses(
        model, [None, {"Finnish": 0.5}, {"Finnish": 0.5, "Zulu": 0.5}, "Finnish"], tests[:1]
    )
    kept = [(base[0] - loss) / (base[0] - own[0]) for (loss,) in (half, both)]
    assert kept[0] > 0.8 > 0.6 > kept[1]


def test_the_valley_of_notebook_00_is_wide():
    for language in ("Finnish", "Zulu"):
        line = measured(language).other
        at = line[STRENGTHS.index(0.5)]
        assert (line[0] - at) / (line[0] - min(line)) > 0.6


def test_beside_zulu_half_of_italian_reads_italian_no_better_than_the_base():
    model = load_language_adapter(load_language_adapter(load_name_gpt(), "Italian"), "Zulu")
    (base,), (both,) = mixture_losses(model, [None, {"Italian": 0.5, "Zulu": 0.5}], [names.load("Italian").test])
    assert both > base


def test_the_adapter_adds_6_percent_to_the_multiplications():
    model = load_language_adapter(load_name_gpt(), "Finnish")
    added = sum(layer.lora_A.numel() + layer.lora_B.numel() for layer in model.lora_layers.values())
    there = sum(model.base_model.get_submodule(path).weight.numel() for path in model.lora_layers)
    assert round(100 * added / there) == 6 and len(model.lora_layers) == 18


def test_on_names_half_an_adapter_keeps_nearly_nine_tenths(tests):
    for language, test in zip(("Finnish", "Zulu"), tests, strict=True):
        own = load_language_adapter(load_name_gpt(), language)
        (base,), (half,), (whole,) = mixture_losses(own, [None, {language: 0.5}, language], [test])
        assert 0.86 < (base - half) / (base - whole) < 0.9


def test_merged_the_hooks_have_nothing_left_to_do():
    model = load_language_adapter(load_name_gpt(), "Finnish")
    calls = []
    for layer in model.lora_layers.values():
        layer.register_forward_hook(lambda *_: calls.append(1))
    tokens, _ = names.encode(["ada"])
    model(tokens)
    assert len(calls) == 18
    with model.merged():
        model(tokens)
        assert len([1 for module in model.base_model.modules() if module._forward_hooks]) == 18  # asked all the same
    assert len(calls) == 18


def test_a_final_merge_leaves_a_plain_model_with_nothing_of_lora_in_it():
    model = load_language_adapter(load_name_gpt(), "Finnish")
    tokens, _ = names.encode(["ada"])
    expected = model(tokens)
    plain = model.remove(merge=True)
    assert str(plain) == str(load_name_gpt()) and not any(module._forward_hooks for module in plain.modules())
    assert torch.allclose(plain(tokens), expected, atol=1e-4)


def test_subtraction_loses_bits_where_the_sum_is_larger_than_the_weight():
    model = load_language_adapter(load_name_gpt(), "Finnish")
    lost = kept = 0
    for path, layer in model.lora_layers.items():
        weight, delta = model.base_model.get_submodule(path).weight.detach(), layer.delta_weight().detach()
        changed, larger = weight + delta - delta != weight, (weight + delta).abs() > 4 * weight.abs()
        lost += (changed & larger).sum() / larger.sum()
        kept += (changed & ~larger).sum() / (~larger).sum()
    assert lost > 2 * kept


def test_bfloat16_has_8_significant_bits():
    one = torch.tensor(1.0, dtype=torch.bfloat16)
    assert one + 2.0**-7 > one and one + 2.0**-8 == one


def test_pefts_default_alpha_is_twice_what_was_trained():
    peft = pytest.importorskip("peft")
    config = LoRAModel.from_pretrained(load_name_gpt(), FINNISH).configs["default"]
    assert peft.LoraConfig().lora_alpha == 8 == 2 * config.alpha and config.rank == 4


def test_pefts_linear_multiplies_the_sums_of_the_factors_times_a_root(model):
    peft = pytest.importorskip("peft")
    theirs = peft.PeftModel.from_pretrained(load_name_gpt(), FINNISH, adapter_name="Finnish")
    theirs.load_adapter(FINNISH.parent / "zulu", "Zulu")
    weights = {"Finnish": 0.5, "Zulu": 0.2}
    theirs.add_weighted_adapter(list(weights), list(weights.values()), "linear", combination_type="linear")
    path = "blocks.2.mlp.up_proj"
    made = theirs.base_model.model.get_submodule(path)
    layers = {name: model.adapters[name][path] for name in weights}
    roots = {name: (weights[name] * layers[name].scaling) ** 0.5 for name in weights}
    A = sum(roots[name] * layers[name].lora_A for name in weights)  # (in_features, rank)
    B = sum(roots[name] * layers[name].lora_B for name in weights)  # (rank, out_features)
    assert torch.allclose(made.get_delta_weight("linear").T, A @ B, atol=1e-5)
