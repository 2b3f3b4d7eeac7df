"""The shipped language adapters: small, good, and switched like any other."""

import json

from lora_teach import LoRAModel
from lora_teach.bases import evaluate, gumbel_noise, load_language_adapter, load_name_gpt, sample_names
from lora_teach.datasets import names, shipped

import pytest
import torch

ADAPTED = names.languages()[1:]


@pytest.fixture
def base():
    return load_name_gpt()


@pytest.mark.parametrize("language", ADAPTED)
def test_an_adapter_speaks_its_language_and_is_small(base, language):
    test = names.load(language).test
    before = evaluate(base, test)
    model = load_language_adapter(base, language)
    assert isinstance(model, LoRAModel)
    assert model.active_adapters == {language: 1.0}
    after = evaluate(model, test)
    assert after < 2.6
    assert after < before - 0.3
    recorded = json.loads((shipped.DATA / "adapters" / "results.json").read_text(encoding="utf-8"))
    assert after == pytest.approx(recorded["languages"][language]["test_loss"], abs=1e-3)
    model.remove()
    assert evaluate(base, test) == before
    folder = shipped.DATA / "adapters" / language.lower()
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 100_000


@pytest.mark.parametrize("language", ADAPTED)
def test_its_judge_prefers_what_the_adapter_writes(base, language):
    own, english = (names.Judge(names.load(which).train) for which in (language, "English"))
    noise = gumbel_noise(60)
    before = sample_names(base, noise)
    model = load_language_adapter(base, language)
    after = sample_names(model, noise)
    model.remove()
    assert sum(map(own.surprise, after)) < sum(map(own.surprise, before))
    assert sum(map(english.surprise, after)) > sum(map(english.surprise, before))
    assert sum(map(own.surprise, after)) < sum(map(english.surprise, after))
    letters = set("".join(names.load(language).train))
    foreign = sum(letter not in letters for name in after for letter in name)
    assert foreign <= 0.03 * sum(map(len, after))


def test_the_strength_morphs_the_names_and_nothing_is_english_again(base):
    noise = gumbel_noise(8)
    english = sample_names(base, noise)
    model = load_language_adapter(base, "Zulu")
    judge = names.Judge(names.load("Zulu").train)
    surprise = {}
    for strength in (0.0, 1.0, 3.0):
        model.set_adapter({"Zulu": strength})
        written = sample_names(model, gumbel_noise(60))
        surprise[strength] = sum(map(judge.surprise, written)) / 60
    assert surprise[1.0] < surprise[0.0] - 1
    assert surprise[1.0] < surprise[3.0] - 1
    with model.disabled():
        assert sample_names(model, noise) == english
    model.remove()
    assert sample_names(base, noise) == english


def test_a_second_adapter_is_added_inactive(base):
    model = load_language_adapter(base, "Finnish")
    assert load_language_adapter(model, "Zulu", adapter_name="zulu") is model
    assert model.adapter_names == ["Finnish", "zulu"]
    assert model.active_adapters == {"Finnish": 1.0}
    model.set_adapter({"Finnish": 0.5, "zulu": 0.5})
    assert torch.isfinite(model(names.encode(["eva"])[0])).all()
    model.remove()


@pytest.mark.parametrize("language", ["English", "Klingon"])
def test_a_language_without_an_adapter_is_refused(base, language):
    with pytest.raises(ValueError, match=f"'{language}' has no shipped adapter. Use one of Finnish"):
        load_language_adapter(base, language)


def test_a_missing_adapter_names_the_command_that_makes_it(base, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "DATA", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="python data/make_adapters.py"):
        load_language_adapter(base, "Zulu")
