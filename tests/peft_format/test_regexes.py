"""A regular expression that would take for ever is refused before it is used."""

from lora_teach import LoRAModel
from lora_teach.peft_format.regexes import refuse_slow
from lora_teach.utils import patterns
from tests.peft_format.folders import adapted, base, change_config
from tests.toy import picture, same_picture

import pytest

NAMES = [name for name, _ in base().named_modules()]
SLOW = r"(((((((\w|\w\w|\.)+)+)+)+)+)+)+[-!]"  # seconds on a name of fifteen letters, and each letter multiplies it
USUAL = [
    "q_proj",
    r".*\.(q|v)_proj",
    r"blocks\.\d\.[qv]_proj",
    r"model\.layers\.\d+\.self_attn\.(q|k|v|o)_proj",
    r"^blocks\.0\.q_proj",
    "|".join([r"blocks\.0\.q_proj"] * 500),
    r"a\)*\*\+\?\{",
]
LONG_WINDED = r"(?:.*?(?:vision|language).*?(?:attn|mlp).*?(?:q_proj|k_proj).*?)|(?:\bblocks\.[\d]{1,}\.(?:q_proj))"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.2)


@pytest.mark.parametrize("names", [NAMES, ["blocks.0." + "x" * 200]], ids=["usual", "long"])
@pytest.mark.parametrize("expression", [*USUAL, LONG_WINDED])
def test_the_usual_and_the_long_winded_ones_are_taken(expression, names):
    refuse_slow([expression], names, "here")


@pytest.mark.parametrize("names", [NAMES, [*NAMES, "." * 1000]], ids=["usual", "long"])
@pytest.mark.parametrize("expression", [SLOW, r"(x?){40}" + SLOW])
def test_a_slow_one_is_refused(expression, names, impatient):
    with pytest.raises(ValueError, match="here: the regular expressions.*more than 0.2 seconds.*Use a list of names"):
        refuse_slow([r".*q", expression], names, "here")


def test_one_that_is_slow_on_a_hostile_name_only_is_refused(impatient):
    refuse_slow(["(.|..)*[-_!]"], ["head"], "here")
    with pytest.raises(ValueError, match="more than 0.2 seconds"):
        refuse_slow(["(.|..)*[-_!]"], ["." * 1000], "here")


def test_many_that_are_each_quick_enough_share_one_limit(impatient):
    refuse_slow([r"((((\w|\w\w|\.)+)+)+)+[-!]"], ["blocks.0.q"], "here")
    with pytest.raises(ValueError, match="more than 0.2 seconds"):
        refuse_slow([r"((((\w|\w\w|\.)+)+)+)+[-!]"], ["blocks.0.q"] * 10_000, "here")


@pytest.mark.parametrize("option", ["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"])
def test_an_adapter_that_has_one_is_refused_and_nothing_changes(option, tmp_path, impatient):
    adapted("plain").save_adapter(tmp_path)
    change_config(tmp_path, **{option: {SLOW: 4} if "pattern" in option else SLOW})
    plain = base()
    before = picture(plain)
    with pytest.raises(ValueError, match="adapter_config.json: the regular expressions"):
        LoRAModel.from_pretrained(plain, tmp_path)
    assert same_picture(before, picture(plain))
