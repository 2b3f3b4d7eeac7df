"""Every printed number beside the derived one; the derived ones are counted here once more, by hand."""

from lora_teach.measure.architectures import build
from lora_teach.measure.published_counts import HEADING, MARKS, ROWS, printed_rows, verdict

import pytest

# DeBERTa of the last transformers that knows Python 3.10 says so as it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
D = {"RoBERTa-base": (12, 768), "RoBERTa-large": (24, 1024), "DeBERTa-v2-XXL": (48, 1536), "GPT-2 medium": (24, 1024),
     "GPT-2 large": (36, 1280), "GPT-3 175B": (96, 12_288), "Llama-2-7B": (32, 4096)}  # fmt: skip
ATTENTION_31 = 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024))  # q and o; k and v of 8 heads of 128
MLP_31, HEAD_31 = 32 * 3 * (4096 + 14_336), 4096 + 128_256
OTHERS = {
    ("Llama-3.2-3B", "q v", 32): 32 * 28 * (3072 + 3072 + 3072 + 1024),
    ("Llama-3.1-8B", "all linear", 256): 256 * (ATTENTION_31 + MLP_31 + HEAD_31),
    ("Llama-3.1-8B", "attention", 256): 256 * (ATTENTION_31 + HEAD_31),
    ("Llama-3.1-8B", "MLP", 128): 128 * (MLP_31 + HEAD_31),
}
DO_NOT = [("RoBERTa-base", "0.8M"), ("DeBERTa-v2-XXL", "4.7M"), ("GPT-2 medium", "0.35M"), ("GPT-2 large", "0.77M"),
          ("GPT-3 175B", "37.7M")]  # fmt: skip


def by_hand(row):
    """2 · matrices · d · r for square matrices (Hu et al. 2021, section 4.2), and the rest written out above."""
    if row.model in D:
        layers, d = D[row.model]
        return 2 * layers * {"q v": 2, "attention": 4}[row.which] * d * row.rank
    return OTHERS[row.model, row.which, row.rank]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model} {row.which} r{row.rank} {row.printed}")
def test_what_is_derived_is_what_follows_by_hand(row):
    base = sum(parameter.numel() for parameter in build(row.model).parameters()) if row.of == "model" else 0
    assert row.derived == by_hand(row) + base


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model} {row.which} r{row.rank} {row.printed}")
def test_the_verdict_is_the_one_that_the_rule_gives(row):
    if (row.model, row.printed) in DO_NOT and (row.model, row.which, row.rank) != ("GPT-3 175B", "q v", 8):
        expected = "agrees" if (row.model, row.rank) == ("GPT-3 175B", 4) else "does not"
    else:
        expected = "nearly" if row.printed == "603.8M" else "agrees"
    assert row.verdict == expected and str(row).startswith(MARKS[expected])
    assert bool(row.reason) == (expected != "agrees" or row.head)


def test_there_are_as_many_of_each_as_the_notebook_says():
    verdicts = [row.verdict for row in printed_rows()]
    assert {one: verdicts.count(one) for one in MARKS} == {"agrees": 16, "nearly": 1, "does not": 5}


@pytest.mark.parametrize(
    ("printed", "derived", "expected"),
    [
        ("0.3M", 294_912, ("agrees", "rounded")),
        ("18.8M", 18_874_368, ("agrees", "truncated")),
        ("18.9M", 18_874_368, ("agrees", "rounded")),
        ("18.7M", 18_874_368, ("does not", "")),
        ("603.8M", 603_979_776, ("nearly", "")),
        ("603.3M", 603_979_776, ("does not", "")),
        ("4,194,304", 4_194_304, ("agrees", "exactly")),
        ("4,194,305", 4_194_304, ("nearly", "")),
        ("0.70B", 704_970_752, ("agrees", "rounded")),
        ("0.70B", 671_088_640, ("does not", "")),
        ("0.5M", 550_000, ("agrees", "truncated")),
        ("0.6M", 550_000, ("agrees", "rounded")),
    ],
)
def test_the_rule_knows_rounding_truncation_and_a_thousandth(printed, derived, expected):
    assert verdict(printed, derived) == expected


def test_lora_without_regret_agrees_only_with_the_head():
    for row in ROWS:
        if row.head:
            assert verdict(row.printed, row.derived - row.rank * HEAD_31)[0] == "does not"
            assert f"{row.derived - row.rank * HEAD_31:,}" in row.reason


def test_the_reasons_hold():
    reasons = {(row.model, row.printed): row.reason for row in ROWS if row.verdict != "agrees"}
    assert "4,718,592" in reasons["DeBERTa-v2-XXL", "4.7M"] and verdict("4.7M", 4_718_592)[0] == "agrees"
    assert "37,748,736" in reasons["GPT-3 175B", "37.7M"] and verdict("37.7M", 37_748_736)[0] == "agrees"
    assert "301.9M" in reasons["GPT-3 175B", "603.8M"] and "603.8M" in reasons["GPT-3 175B", "603.8M"]
    assert "887,811" in reasons["RoBERTa-base", "0.8M"] and verdict("0.8M", 887_811) == ("agrees", "truncated")
    for model, printed, total in (("GPT-2 medium", "0.35M", 354_823), ("GPT-2 large", "0.77M", 774_030)):
        assert f"{total:,}" in reasons[model, printed] and verdict(printed, total)[0] == "agrees"
        layers, d = D[model]
        assert all(verdict(printed, 4 * layers * d * rank)[0] == "does not" for rank in range(1, 65))


def test_roberta_bases_classifier_is_transformers_own():
    model = build("RoBERTa-base")
    from transformers.models.roberta.modeling_roberta import RobertaClassificationHead

    model.config.num_labels = 3
    head = RobertaClassificationHead(model.config)
    assert 294_912 + sum(parameter.numel() for parameter in head.parameters()) == 887_811


@pytest.mark.parametrize("row", ROWS[:3] + ROWS[-6:], ids=lambda row: f"{row.model} {row.printed}")
def test_the_heading_stands_over_its_columns(row):
    line = str(row)
    assert line.index(row.model) == HEADING.index("model") and line.index(row.where) == HEADING.index("where")
    assert line[: HEADING.index("printed") + 7].endswith(row.printed)
    assert line[: HEADING.index("derived") + 7].endswith(f"{row.derived:,}")
