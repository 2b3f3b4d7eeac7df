"""What notebook 09 says in words is so: the curve, what is forgotten, the map; and its solutions solve."""

from argparse import Namespace

from lora_teach.bases.registry import TextBase, load_base
from lora_teach.datasets import appointments, names
from lora_teach.exercises import ready_made
from lora_teach.loop.schedules import schedule_for
from lora_teach.measure.architectures import build
from lora_teach.measure.grading import grade
from lora_teach.measure.results import load_result
from lora_teach.measure.where_it_fits import STEPS, needs
from lora_teach.peft_format.xray import lint
from lora_teach.pictures.new_data.numbers import BOTH, WAYS
from lora_teach.pictures.rehearsal import Rehearsal
from tests.notebooks.reading import ROOT, Lesson
from tests.tiny_language_model import WORDS, tiny_model, word_tokenizer

import numpy as np
import peft
import pytest
import torch

NAME = "09_your_own_task.ipynb"


@pytest.fixture(scope="module")
def prose():
    return " ".join(" ".join(cell.source.split()) for _, cell in Lesson(ROOT / "notebooks" / NAME).markdown)


def test_the_curve_rises_by_about_twenty_points_for_three_times_the_examples():
    counts = load_result("examples")["results"]["counts"]
    means = [100 * sum(entry["test"]) / 3 for entry in counts.values()]
    assert all(15 <= more - less <= 23 for less, more in zip(means, means[1:]))  # noqa: B905
    first = [said for _, said, _ in counts["10"]["shown"]]
    assert sum(said.endswith(("x", "th")) for said in first) >= 10  # the end comes first
    assert sum(said == due for _, said, due in counts["10"]["shown"]) < 3


def test_some_seventy_prompts_tell_ten_points_from_nothing():
    results = load_result("examples")["results"]
    assert 70 <= results["asked"] <= 80
    assert 0.09 < 1.96 * (0.7 * 0.3 / results["asked"]) ** 0.5 < 0.11


def test_the_end_mark_is_a_full_stop():
    assert names.END == "." and load_base("names").batches([("emma", "nath")], 1, 0)[0][1][0, -1] == 0


def test_what_is_said_of_finnish_and_of_english(prose):
    start = load_result("new_data")["results"]["start"]
    assert f"the base costs {start['base'][0]:.2f} nats" in prose
    assert f"with its Finnish adapter {start['adapter'][0]:.2f}" in prose
    alone = Rehearsal().losses(0.0)[1]
    assert f"English goes from {start['base'][2]:.2f} to {alone:.1f} nats" in prose


def test_the_three_usual_answers_are_one_and_both_lists_are_another():
    ways = load_result("new_data")["results"]["ways"]
    ends = {way: np.array(runs)[:, -1].mean(0) for way, runs in ways.items()}
    usual = [ends[way] for way in WAYS if way != BOTH]
    assert np.ptp([one[1] for one in usual]) < 0.05 and min(one[0] for one in usual) > 3.5 > 2.3 > ends[BOTH][0]


def test_a_quarter_of_the_names_keeps_three_quarters_and_a_tenth_half():
    view = Rehearsal()
    (_, lost), base = view.losses(0.0), view.base[1]
    kept = {share: (lost - view.losses(share)[1]) / (lost - base) for share in (0.1, 0.25)}
    assert 0.45 < kept[0.1] < 0.55 and 0.7 < kept[0.25] < 0.8
    assert view.losses(0.25)[0] - view.losses(0.0)[0] < 0.1


def test_rehearsal_needs_data_and_beats_the_dial_that_needs_none():
    view = Rehearsal()
    for share in (0.1, 0.25, 0.5):
        new, own = view.losses(share)
        assert view.dial_at(own) > new


def test_the_rate_falls_evenly_to_zero():
    falling = schedule_for("linear", steps=100, warmup=0)
    assert [falling(step / 100) for step in (0, 50, 99)] == pytest.approx([1.0, 0.5, 0.01])


def test_the_map_says_what_fits_where():
    laptop, card = "laptop, 16 GB", "card of 24 GB"
    table = {name: needs(name, batch) for name, batch in STEPS}
    assert all(need.machine == laptop for need in table["SmolLM2-135M"].values())
    eight = table["Llama-3.1-8B"]
    assert eight["LoRA"].machine == card == eight["LoRA, checkpointed"].machine
    assert 3 < eight["full"].predicted / eight["LoRA"].predicted < 3.5
    assert all(need.machine == laptop for need in table["Llama-3.2-1B"].values())
    assert all(need.machine not in (laptop, card) for need in table["GPT-3 175B"].values())


def test_what_is_shipped_departs_from_the_format_nowhere():
    folders = [path for path in (ROOT / "data" / "adapters").iterdir() if path.is_dir()]
    assert [lint(folder) for folder in folders] == [[]] * 8


def test_in_four_bits_8b_shrinks_from_16_gb_to_6():
    model = build("Llama-3.1-8B")
    linear = sum(m.weight.numel() for name, m in model.named_modules() if name.endswith("_proj"))
    other = sum(parameter.numel() for parameter in model.parameters()) - linear
    four_bits = 4 + 8 / 64 + 32 / (64 * 256)  # a scale of 8 bits for 64 numbers, and one of 32 bits for 256 scales
    assert round(2 * (linear + other) / 1e9) == 16 and round((linear * four_bits / 8 + 2 * other) / 1e9) == 6


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers the old way
def test_the_cell_on_smollm2_trains_the_base_and_peft_answers_unseen_sentences_from_the_folder(tmp_path, capsys):
    """On a tiny model in place of SmolLM2, with the library's pieces."""
    (cell,) = [cell for _, cell in Lesson(ROOT / "notebooks" / NAME).code if "on_smollm2" in cell.source]
    talks = [appointments.example(one) for one in [*appointments.training(), *appointments.exam(6)]]
    words = dict.fromkeys([*WORDS, *(word for talk in talks for one in talk for word in one["content"].split())])
    tokenizer = word_tokenizer(words=list(words))

    def tiny(name):
        return TextBase(tiny_model(vocab_size=len(words), attn_implementation="eager"), tokenizer)

    space = {"load_base": tiny, "own_folder": Namespace(name=tmp_path), "peft": peft, "grade": grade}
    space |= {"adapt": ready_made.adapt, "fit": ready_made.fit, "save": ready_made.save}
    exec(cell.source.replace("on_smollm2 = False", "on_smollm2 = True"), space)
    assert len(capsys.readouterr().out.splitlines()) == len(space["exam"]) == 6
    with torch.no_grad():
        untrained, trained, read = (
            model(**space["look"][0]).loss.item() for model in (tiny("").model, space["chat"].model, space["reader"])
        )
    assert trained == pytest.approx(read, rel=1e-5) and trained < untrained - 0.1
