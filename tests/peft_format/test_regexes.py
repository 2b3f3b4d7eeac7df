"""A regular expression that would take for ever is refused before it is used, and the usual ones cost nothing."""

import subprocess

import pytest

from lora_teach import LoRAModel
from lora_teach.peft_format import regexes
from lora_teach.peft_format.regexes import refuse_slow
from tests.peft_format.folders import adapted, base, change_config
from tests.toy import picture, same_picture

NAMES = [name for name, _ in base().named_modules()]
SLOW = r"(((\w|\w\w|\.)+)+)+-"  # half a minute on a name of fifteen letters, and each letter multiplies it
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


@pytest.mark.parametrize("expression", USUAL)
def test_the_usual_ones_start_no_process(expression, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("a process was started"))
    refuse_slow([expression], NAMES, "here")


@pytest.mark.parametrize("names", [NAMES, ["blocks.0." + "x" * 200]], ids=["usual", "long"])
def test_a_long_winded_one_is_tried_and_taken(names):
    refuse_slow([LONG_WINDED], names, "here")


@pytest.mark.parametrize("names", [NAMES, [*NAMES, "." * 1000]], ids=["usual", "long"])
@pytest.mark.parametrize("expression", [SLOW, r"(x?){40}((\w|\w\w|\.)+)+((\w|\w\w|\.)+)+-"])
def test_a_slow_one_is_refused(expression, names, monkeypatch):
    monkeypatch.setattr(regexes, "SECONDS", 0.3)
    with pytest.raises(ValueError, match="here: the regular expressions.*more than 0.3 seconds.*Use a list of names"):
        refuse_slow([r".*q", expression], names, "here")


def test_one_that_is_cubic_on_a_hostile_name_is_refused(monkeypatch):
    monkeypatch.setattr(regexes, "SECONDS", 0.3)
    refuse_slow([".*.*[-_]"], NAMES, "here")
    with pytest.raises(ValueError, match="more than 0.3 seconds"):
        refuse_slow([".*.*[-_]"], ["." * 1000], "here")


@pytest.mark.parametrize("option", ["target_modules", "exclude_modules", "rank_pattern", "alpha_pattern"])
def test_an_adapter_that_has_one_is_refused_and_nothing_changes(option, tmp_path, monkeypatch):
    monkeypatch.setattr(regexes, "SECONDS", 0.3)
    adapted("plain").save_adapter(tmp_path)
    change_config(tmp_path, **{option: {SLOW: 4} if "pattern" in option else SLOW})
    plain = base()
    before = picture(plain)
    with pytest.raises(ValueError, match="adapter_config.json: the regular expressions"):
        LoRAModel.from_pretrained(plain, tmp_path)
    assert same_picture(before, picture(plain))
