"""Names are matched as re matches them, under a time limit."""

import re

from lora_teach import LoRAConfig
from lora_teach.utils import patterns

import pytest

NAMES = ["q", "blocks.0.q_proj", "a{e<=1}", "b", "aa", "aaa", "a{e", "Q", "", "a{1<=e<=2}"]
EXPRESSIONS = [
    "q", r".*\.(q|v)_proj", "a{e<=1}", r"a\{e", "a{2}", "a{2,}", "a{,3}", "a{1<=e<=2}", "(?i)q",
    r"blocks\.\d.*", "a*$", "[{]e|b",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_matching_is_that_of_re(expression, name):
    assert patterns.fullmatch(expression, name) == (re.fullmatch(expression, name) is not None)
    if not expression.startswith("(?i)"):
        ending = re.match(rf"(.*\.)?({expression})$", name) is not None
        assert patterns.fullmatch(patterns.ending(expression), name) == ending


def test_one_that_takes_for_ever_is_a_value_error(monkeypatch):
    monkeypatch.setattr(patterns, "SECONDS", 0.1)
    with pytest.raises(ValueError, match="takes more than 0.1 seconds on 'aaaa.*Use a list of names"):
        patterns.fullmatch(r"(\w|\w\w)+[-!]", "a" * 200)


def test_one_that_is_too_long_is_a_value_error():
    with pytest.raises(ValueError, match="60,001 characters is too long.*list of names"):
        LoRAConfig(target_modules="q" + "|q" * 30_000)
