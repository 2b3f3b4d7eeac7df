"""What ``train`` can be asked for: held-out examples, a schedule, accumulation, a length; and what it leaves behind."""

import json
from hashlib import sha256

from lora_teach import LoRAModel, cli
from lora_teach.bases import load_name_gpt
from lora_teach.bases.registry import load_base
from lora_teach.loop.validation import mean_loss
from lora_teach.peft_format.lint import lint
from tests.tiny_language_model import save_base

import pytest
import torch
from safetensors.torch import load_file

FINNISH = ["aino", "eero", "kari", "jari", "mika", "outi", "pekka", "reino", "sirpa", "taimi", "urho", "veikko"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "data.jsonl", [{"completion": name} for name in FINNISH])
    jsonl(tmp_path / "held.jsonl", [{"completion": name} for name in ("esko", "kaija", "lauri")])
    return tmp_path


def jsonl(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def train(out, *more):
    command = ["train", "--base", "names", "--device", "cpu", "--data", "data.jsonl", "--lr", "1e-2", "--steps", "20"]
    return cli.main([*command, "--batch-size", "4", "--out", str(out), *map(str, more)])


def summary(folder):
    return json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))


def test_the_adapter_of_the_lowest_validation_loss_is_saved(place, capsys):
    # At this rate, on a dozen names, the loss on other names soon rises.
    assert train("a", "--validation", "held.jsonl") == 0
    said, told = capsys.readouterr().err, summary(place / "a")["validation"]
    losses = dict(told["loss"])
    assert list(losses) == [*range(2, 21, 2)] and told["kept_step"] == min(losses, key=losses.get) < 20
    assert f"{told['loss_before']:.3f} before, {min(losses.values()):.3f} after step {told['kept_step']}: kept" in said
    assert "12 examples and 3 held out" in said
    bar = said.split("\r")[-1]  # with the time that is left
    assert "20/20 [" in bar and "<" in bar and f"validation={losses[20]:.3f}" in bar
    model = LoRAModel.from_pretrained(load_name_gpt(), place / "a")
    base = load_base("names")
    held_out = base.batches(base.read(place / "held.jsonl"), 4, 0)
    assert mean_loss(model, held_out, base.loss_fn) == pytest.approx(min(losses.values()), rel=1e-6)
    with model.disabled():
        assert mean_loss(model, held_out, base.loss_fn) == pytest.approx(told["loss_before"], rel=1e-6)


def test_a_share_of_the_examples_is_held_out_by_the_seed(place, capsys):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train(out, "--validation", 0.25, "--seed", seed, "--steps", 2) == 0
        assert "9 examples and 3 held out" in capsys.readouterr().err
    first, same, other = (summary(place / name)["validation"] for name in "abc")
    assert first == same and first["loss_before"] != other["loss_before"]
    assert first["share"] == 0.25 and first["file"] is None and first["examples"] == 3


def test_held_out_examples_that_are_learnt_too_are_told(place, capsys):
    jsonl(place / "both.jsonl", [{"completion": name} for name in ("eero", "esko", "kari")])
    assert train("a", "--validation", "both.jsonl", "--steps", 1) == 0
    assert "of 3 held-out examples 2 are learnt too" in capsys.readouterr().err
    assert train("b", "--validation", "held.jsonl", "--steps", 1) == 0
    assert "learnt too" not in capsys.readouterr().err


def test_an_adapter_that_helps_nobody_is_told(place, capsys):
    jsonl(place / "english.jsonl", [{"completion": name} for name in ("thomas", "elizabeth", "william")])
    assert train("a", "--validation", "english.jsonl", "--lr", "0.1") == 0
    assert "no better than the base alone" in capsys.readouterr().err


def test_a_killed_run_keeps_its_best_and_its_held_out_examples(place, capsys):
    more = ("--validation", "held.jsonl", "--checkpoint", "run")
    assert train("a", *more) == 0 and train("b", *more) == 0
    first, again = (load_file(place / name / "adapter_model.safetensors") for name in "ab")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert summary(place / "a")["validation"] == summary(place / "b")["validation"]
    capsys.readouterr()
    assert train("c", "--checkpoint", "run") == 2 and "validation=" in capsys.readouterr().err
    assert train("c", "--validation", "0.5", "--checkpoint", "run") == 2 and not (place / "c").exists()


def test_an_interrupted_run_saves_its_best(place, capsys, monkeypatch):
    from lora_teach import training

    taken = []

    def interrupted(*arguments, update=training._update, **more):
        taken.append(1)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return update(*arguments, **more)

    monkeypatch.setattr(training, "_update", interrupted)
    assert train("a", "--validation", "held.jsonl") == 130
    kept = summary(place / "a")["validation"]["kept_step"]
    assert kept in (2, 4) and f"the adapter is that of the step of the lowest validation loss, {kept}" in (
        capsys.readouterr().err
    )
    assert summary(place / "a")["stopped"] == "interrupted after step 5 of 20"


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ([], [1, 1, 1, 1]),
        (["--schedule", "linear", "--warmup", "0"], [1, 0.75, 0.5, 0.25]),
        (["--schedule", "constant", "--warmup", "0.5"], [1 / 3, 2 / 3, 1, 1]),
        (["--schedule", "cosine", "--warmup", "0"], [1, 0.853553, 0.5, 0.146447]),
    ],
    ids=str,
)
def test_the_rate_follows_its_schedule(options, rates, place):
    assert train("a", "--steps", 4, *options) == 0
    assert summary(place / "a")["lr"] == pytest.approx([0.01 * rate for rate in rates], rel=1e-5)


def test_accumulated_batches_are_one_step(place):
    assert train("a", "--steps", 3, "--batch-size", 12, "--dropout", 0) == 0
    assert train("b", "--steps", 3, "--accumulate", 3, "--dropout", 0) == 0  # 3 batches of 4 are all 12 names
    one, parts = (load_file(place / name / "adapter_model.safetensors") for name in "ab")
    assert all(torch.allclose(one[key], parts[key], atol=1e-5) for key in one)
    assert summary(place / "a")["loss"] == pytest.approx(summary(place / "b")["loss"], rel=1e-4)
    assert summary(place / "b")["settings"]["accumulate"] == 3


def test_the_summary_tells_the_run_and_disturbs_no_reader(place):
    assert train("a") == 0
    told = summary(place / "a")
    assert told["data"] == {
        "file": "data.jsonl", "sha256": sha256((place / "data.jsonl").read_bytes()).hexdigest(), "examples": 12,
    }  # fmt: skip
    weights = (place / "a" / "adapter_model.safetensors").read_bytes()
    assert told["adapter_sha256"] == sha256(weights).hexdigest()
    assert told["base"] == {"name": "names", "class": "NameGPT", "parameters": 342720}
    assert told["settings"]["lr"] == 0.01 and told["settings"]["rank"] == 8 and told["versions"]["torch"]
    assert len(told["loss"]) == len(told["lr"]) == 20 and told["loss"][-1] < told["loss"][0]
    assert told["trained"]["parameters"] == sum(value.numel() for value in load_file_of(place).values())
    assert "validation" not in told and told["stopped"] is None
    assert lint(place / "a") == [] and cli.main(["xray", "a"]) == 0
    assert train("a") == 2  # it counts as contents that are not replaced unasked
    assert train("a", "--overwrite", "--steps", 1) == 0 and len(summary(place / "a")["loss"]) == 1


def load_file_of(place):
    return load_file(place / "a" / "adapter_model.safetensors")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers the old way
def test_a_length_cuts_and_says_what(place, capsys):
    peft = pytest.importorskip("peft")
    from lora_teach.bases.language_models import load_language_model

    base = save_base(place / "base")
    lines = [
        {"prompt": "is", "completion": "red"}, {"prompt": "is", "completion": "red green blue sky"},
        {"prompt": "what colour is the sky ?", "completion": "blue"},
    ]  # fmt: skip
    data = jsonl(place / "talk.jsonl", lines)
    command = ["train", "--base", str(base), "--device", "cpu", "--data", str(data), "--steps", "2", "--out"]
    assert cli.main([*command, "a", "--max-length", "7"]) == 0
    said = capsys.readouterr().err
    assert "--max-length 7 cut 2 of 3 examples, the longest from " in said
    assert f"1 of them are left out, since nothing of their answers is left: {data}, line 3" in said
    assert summary(place / "a")["data"]["cut"] == 2 and summary(place / "a")["data"]["left_out"] == 1
    assert cli.main([*command, "b", "--max-length", "99"]) == 0
    assert "cut" not in capsys.readouterr().err and "cut" not in summary(place / "b")["data"]
    assert cli.main([*command, "c", "--max-length", "2"]) == 2
    assert "2 tokens leave nothing to learn of any example" in capsys.readouterr().err and not (place / "c").exists()
    theirs = peft.PeftModel.from_pretrained(load_language_model(base)[0], place / "a")
    assert theirs.peft_config["default"].r == 8  # the summary lies beside, and PEFT doesn't mind
