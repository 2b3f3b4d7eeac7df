"""The command line, on a tiny language model: what it does, what it says, and how it answers bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

from lora_teach import LoRAModel, cli
from lora_teach.bases import load_name_gpt
from lora_teach.bases.language_models import load_language_model
from lora_teach.cli.options import COMMANDS
from lora_teach.datasets.chats import encode
from tests.tiny_language_model import save_base

import pytest
import torch

peft = pytest.importorskip("peft")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[1]
TASK = {"sky": "blue", "grass": "green", "fire": "red"}


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A folder with a tiny Llama and a tokenizer of words."""
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def data(tmp_path):
    lines = [{"prompt": f"what colour is the {thing} ?", "completion": colour} for thing, colour in TASK.items()]
    return jsonl(tmp_path / "train.jsonl", lines)


def jsonl(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def train(base, data, out, *more):
    return cli.main(
        ["train", "--base", str(base), "--data", str(data), "--out", str(out), "--device", "cpu"]
        + ["--rank", "4", "--alpha", "8", "--lr", "2e-2", "--steps", "60", "--batch-size", "3", *map(str, more)]
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers the old way
def test_what_is_trained_is_answered_and_loads_in_peft(base, data, tmp_path, capsys):
    out, answers = tmp_path / "adapter", tmp_path / "deep" / "answers.jsonl"
    assert train(base, data, out) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n" and "3 examples" in said.err and "loss" in said.err

    command = ["generate", "--base", str(base), "--adapter", str(out), "--device", "cpu"]
    assert cli.main([*command, "--data", str(data), "--out", str(answers)]) == 0
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [line["completion"] for line in lines] == list(TASK.values())
    assert lines[0]["prompt"] == "what colour is the sky ?"
    capsys.readouterr()
    assert cli.main([*command, "what colour is the grass ?"]) == 0
    assert capsys.readouterr().out == "green\n"
    assert cli.main([*command, "--data", str(data)]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines

    model, tokenizer = load_language_model(base)
    ours = LoRAModel.from_pretrained(model, out)
    ids = torch.tensor(
        [encode([{"role": "user", "content": "is"}, {"role": "assistant", "content": "red"}], tokenizer)[0]]
    )
    with torch.no_grad():
        expected = ours(ids).logits
        theirs = peft.PeftModel.from_pretrained(load_language_model(base)[0], out).eval()(ids).logits
    assert (expected - theirs).abs().max() < 2e-5


def test_the_base_alone_answers_too(base, data, capsys):
    assert cli.main(["generate", "--base", str(base), "--device", "cpu", "--max-new-tokens", "2", "is the sky"]) == 0
    assert len(capsys.readouterr().out.split()) <= 2


def test_answers_do_not_depend_on_who_is_answered_beside(base, data, tmp_path, capsys):
    assert train(base, data, tmp_path / "a") == 0
    prompts = ["is", "what colour is the sky ?", "the fire", "what colour is the grass ? what colour is the fire ?"]
    capsys.readouterr()
    command = ["generate", "--base", str(base), "--adapter", str(tmp_path / "a"), "--max-new-tokens", "6"]
    assert cli.main([*command, "--data", str(jsonl(tmp_path / "p.jsonl", [{"prompt": p} for p in prompts]))]) == 0
    together = [json.loads(line)["completion"] for line in capsys.readouterr().out.splitlines()]
    for prompt, answer in zip(prompts, together, strict=True):
        assert cli.main([*command, prompt]) == 0
        assert capsys.readouterr().out == f"{answer}\n"


def test_the_seed_decides_everything(base, data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(base, data, tmp_path / name, "--seed", seed, "--steps", 5) == 0
    first, same, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "abc")
    from safetensors.torch import load

    first, same, other = load(first), load(same), load(other)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_kept_run_goes_on_and_ends_the_same(base, data, tmp_path):
    from safetensors.torch import load_file

    assert train(base, data, tmp_path / "whole", "--steps", 8) == 0
    assert train(base, data, tmp_path / "kept", "--steps", 8, "--checkpoint", tmp_path / "run") == 0
    assert train(base, data, tmp_path / "again", "--steps", 8, "--checkpoint", tmp_path / "run") == 0
    whole, kept, again = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "kept", "again")
    )
    assert all(torch.equal(whole[key], kept[key]) and torch.equal(kept[key], again[key]) for key in whole)


def test_names_are_a_base_too(tmp_path, capsys):
    data = jsonl(tmp_path / "n.jsonl", [{"completion": "aino"}, {"prompt": "ee", "completion": "ro"}])
    out = tmp_path / "out"
    command = ["--base", "names", "--device", "cpu"]
    assert cli.main(["train", *command, "--data", str(data), "--out", str(out), "--steps", "40", "--lr", "1e-2"]) == 0
    capsys.readouterr()
    assert cli.main(["generate", *command, "--adapter", str(out), "ee"]) == 0
    assert capsys.readouterr().out == "ro\n"
    assert cli.main(["generate", *command, "ee"]) == 0
    assert capsys.readouterr().out != "ro\n"
    assert LoRAModel.from_pretrained(load_name_gpt(), out).count()[0] > 0


def test_an_adapter_is_xrayed_with_and_without_its_base(base, data, tmp_path, capsys):
    assert train(base, data, tmp_path / "a", "--steps", 3) == 0
    capsys.readouterr()
    assert cli.main(["xray", str(tmp_path / "a")]) == 0
    alone = capsys.readouterr().out
    assert "model.layers.1.self_attn.v_proj" in alone
    assert cli.main(["xray", str(tmp_path / "a"), "--base", str(base)]) == 0
    assert capsys.readouterr().out != alone
    assert cli.main(["xray", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in one_line(capsys)


def one_line(capsys):
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.strip().splitlines()) == 1, said.err
    return said.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--data": "missing.jsonl"}, "missing.jsonl is not there"),
        ({"--data": "bad.jsonl"}, 'bad.jsonl, line 2: "completion" is missing'),
        ({"--rank": "0"}, "rank=0"),
        ({"--alpha": "nan"}, "alpha=nan"),
        ({"--targets": "q_prj"}, "target_modules='q_prj' matches no module"),
        ({"--base": "no-such-folder/x/y"}, "no-such-folder"),
        ({"--out": "full"}, "is there already and not empty"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_to_train_is_one_line_and_status_2(changes, words, base, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    jsonl(tmp_path / "bad.jsonl", [{"prompt": "a", "completion": "b"}, {"prompt": "a"}])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("precious")
    options = {"--base": str(base), "--data": str(data), "--out": "new", "--device": "cpu"} | changes
    assert cli.main(["train", *(part for pair in options.items() for part in pair)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lora_teach train: ")]
    assert len(said) == 1 and words in said[0]
    assert not (tmp_path / "new").exists() and (tmp_path / "full" / "mine.txt").read_text() == "precious"


def test_bad_input_to_generate_is_one_line_and_status_2(base, data, tmp_path, capsys):
    command = ["generate", "--base", str(base)]
    assert cli.main(command) == 2 and "either a PROMPT or --data" in one_line(capsys)
    assert cli.main([*command, "x", "--out", "y"]) == 2 and "--out takes the answers to --data" in one_line(capsys)
    assert cli.main([*command, "x", "--adapter", str(tmp_path)]) == 2
    assert str(tmp_path) in one_line(capsys)


def test_a_training_that_blows_up_says_so_and_saves_nothing(base, data, tmp_path, capsys):
    assert train(base, data, tmp_path / "a", "--lr", "1e30") == 1
    assert "lora_teach train: " in capsys.readouterr().err and not (tmp_path / "a").exists()


def test_wrong_options_are_told_with_status_2(capsys):
    for arguments in (["train"], ["generate", "--steps", "3"], ["train", "--steps", "0"], ["dance"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 2
    with pytest.raises(SystemExit):
        cli.main(["generate", "--device", "abacus", "x"])
    assert "abacus is not here; there is " in capsys.readouterr().err


def test_open_starts_jupyterlab_on_the_first_notebook(monkeypatch):
    seen = []
    monkeypatch.setattr(cli.subprocess, "run", lambda command, check: seen.append(command))
    assert cli.main(["open", "--no-browser"]) == 0
    (command,) = seen
    assert command[:3] == [sys.executable, "-m", "jupyterlab"] and command[-1] == "--no-browser"
    assert Path(command[3]).name == "00_start_here.ipynb" and Path(command[3]).is_file()


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "lora_teach", "--help"], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0 and " | ".join(COMMANDS) in " ".join(done.stdout.split())
