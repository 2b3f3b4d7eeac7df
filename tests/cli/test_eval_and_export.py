"""``eval`` grades by one line of JSON; ``export`` writes what llama.cpp reads."""

import json

from lora_teach import LoRAModel, cli
from lora_teach.bases.registry import load_base
from lora_teach.measure.intervals import share_interval
from tests.tiny_language_model import save_base

import pytest
import torch
import torch.nn.functional as F

TASK = {"sky": "blue", "grass": "green", "fire": "red"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny language model, and an adapter that knows the colours."""
    place = tmp_path_factory.mktemp("task")
    save_base(place / "base")
    lines = [{"prompt": f"what colour is the {thing} ?", "completion": colour} for thing, colour in TASK.items()]
    jsonl(place / "train.jsonl", lines)
    options = ["--rank", "4", "--alpha", "8", "--lr", "2e-2", "--steps", "60", "--batch-size", "3"]
    assert cli.main(["train", *of(place), "--data", f"{place}/train.jsonl", "--out", f"{place}/a", *options]) == 0
    return place


def of(place):
    return ["--base", f"{place}/base", "--device", "cpu"]


def jsonl(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def graded(capsys, *arguments):
    capsys.readouterr()
    assert cli.main(["eval", *map(str, arguments)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)


def test_answers_and_loss_are_graded(place, capsys):
    data = jsonl(place / "mixed.jsonl", [
        {"prompt": "what colour is the sky ?", "completion": "blue"},
        {"prompt": "what colour is the fire ?", "completion": "red"},
        {"prompt": "what colour is the grass ?", "completion": "red red"},
    ])  # fmt: skip
    told = graded(capsys, *of(place), "--adapter", place / "a", "--data", data)
    assert told["examples"] == 3 and told["exact_match"] == pytest.approx(2 / 3)
    assert told["exact_match_95"] == pytest.approx(share_interval(2, 3))
    assert told["loss_95"][0] < told["loss"] < told["loss_95"][1]
    # The loss, by hand: a mean over all tokens of the completions and their end marks.
    base = load_base(str(place / "base"))
    model = LoRAModel.from_pretrained(base.model, place / "a").eval()
    total = count = 0
    with torch.no_grad():
        for batch in base.batches(base.read(data), 2, 0):
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            labels = batch["labels"][:, 1:]
            total += F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").item()
            count += (labels != -100).sum().item()
    assert told["loss"] == pytest.approx(total / count, rel=1e-5)


def test_the_base_alone_is_graded_and_one_example_has_no_interval_of_its_loss(place, capsys):
    data = jsonl(place / "one.jsonl", [{"prompt": "what colour is the sky ?", "completion": "blue"}])
    alone = graded(capsys, *of(place), "--data", data)
    adapted = graded(capsys, *of(place), "--data", data, "--adapter", place / "a")
    assert alone["adapter"] is None and alone["exact_match"] == 0 and adapted["exact_match"] == 1
    assert alone["loss"] > adapted["loss"] and alone["loss_95"] is None


def test_names_are_graded_too(place, capsys):
    data = jsonl(place / "names.jsonl", [{"prompt": "ee", "completion": "ro"}, {"completion": "aino"}])
    told = graded(capsys, "--base", "names", "--device", "cpu", "--data", data)
    assert told["examples"] == 2 and told["exact_match"] == 0 and told["loss"] > 1


def test_an_adapter_is_exported_and_nothing_is_replaced_unasked(place, capsys):
    gguf = pytest.importorskip("gguf")
    file, command = place / "deep" / "a.gguf", ["export", "--base", f"{place}/base", "--adapter", f"{place}/a"]
    capsys.readouterr()
    assert cli.main([*command, "--gguf", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{file}\n" and f"--lora {file}" in said.err
    model = LoRAModel.from_pretrained(load_base(str(place / "base")).model, place / "a")
    assert len(gguf.GGUFReader(file).tensors) == 2 * len(model.lora_layers)
    before = file.read_bytes()
    assert cli.main([*command, "--gguf", str(file)]) == 2 and "--overwrite" in capsys.readouterr().err
    assert cli.main([*command, "--gguf", str(file), "--overwrite"]) == 0 and file.read_bytes() == before
    weights = place / "a" / "adapter_model.safetensors"
    kept = weights.read_bytes()
    assert cli.main([*command, "--gguf", str(weights), "--overwrite"]) == 2
    assert "which is read" in capsys.readouterr().err and weights.read_bytes() == kept


def test_what_can_not_be_exported_is_told_in_a_line(place, capsys):
    command = ["export", "--gguf", str(place / "no.gguf"), "--base"]
    capsys.readouterr()
    assert cli.main([*command, "names", "--adapter", f"{place}/a"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lora_teach export: --adapter {place}/a: ") and len(said.splitlines()) == 1
    data = jsonl(place / "n.jsonl", [{"completion": "aino"}])
    names = ["train", "--base", "names", "--device", "cpu", "--data", str(data), "--out", f"{place}/n", "--steps", "1"]
    assert cli.main(names) == 0
    capsys.readouterr()
    assert cli.main([*command, "names", "--adapter", f"{place}/n"]) == 2
    assert "a NameGPT can't be told to llama.cpp" in capsys.readouterr().err
    assert not (place / "no.gguf").exists()
