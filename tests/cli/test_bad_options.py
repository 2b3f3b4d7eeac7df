"""Every option with every bad value, and every bad file: one line that says what and where, and status 2."""

import json
import os
import subprocess
import sys

from lora_teach import cli
from lora_teach.cli import common
from tests.tiny_language_model import save_base

import pytest

pytest.importorskip("transformers")
NAMES = ["--base", "names", "--device", "cpu"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with good data and a few things that are none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "good.jsonl").write_text('{"prompt": "ai", "completion": "no"}\n')
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def status_and_lines(arguments, capsys):
    """The exit status, what went to stdout, and the lines of the error."""
    capsys.readouterr()
    try:
        status = cli.main([str(part) for part in arguments])
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr()
    return status, said.out, [line for line in said.err.splitlines() if line.startswith("lora_teach")]


def is_refused(arguments, words, capsys):
    status, out, lines = status_and_lines(arguments, capsys)
    assert status == 2 and out == "" and len(lines) == 1, (status, out, lines)
    assert words in lines[0], lines


BAD = {
    "--rank": {"0": "rank=0", "-1": "rank=-1", "2.5": "--rank", "x": "--rank", "": "--rank", "999999": "rank=999999"},
    "--alpha": {"nan": "alpha=nan", "inf": "alpha=inf", "x": "--alpha", "1e999": "alpha=inf"},
    "--dropout": {"1": "dropout=1", "-0.1": "dropout=-0.1", "nan": "dropout=nan", "x": "--dropout"},
    "--lr": {"0": "--lr", "-1": "--lr", "nan": "--lr", "inf": "--lr", "x": "--lr"},
    "--steps": {"0": "--steps", "-3": "--steps", "1.5": "--steps", "x": "--steps"},
    "--batch-size": {"0": "--batch-size", "-1": "--batch-size", "x": "--batch-size"},
    "--max-length": {"0": "--max-length", "x": "--max-length", "99": "--max-length"},  # names have no such limit
    "--accumulate": {"0": "--accumulate", "-1": "--accumulate", "1.5": "--accumulate", "x": "--accumulate"},
    "--schedule": {"x": "--schedule", "": "--schedule", "Linear": "--schedule"},
    "--warmup": {"1": "warmup=1.0", "-0.1": "warmup=-0.1", "nan": "warmup=nan", "x": "--warmup"},
    "--validation": {
        "0": "0 is no share", "1": "1 is no share", "-0.5": "no share", "nan": "no share",
        "0.5": "none is left to learn",
        "none": "none is not there", "folder": "folder is a folder", "empty": "empty holds no example",
        "binary": "--validation: binary, line 1", "good.jsonl": "is --data itself", "./good.jsonl": "is --data itself",
        "": "folder",
    },
    "--seed": {"-1": "--seed", str(2**63): "--seed", "1e3": "--seed", "x": "--seed"},
    "--targets": {
        "": "target_modules", "q_prj": "q_prj", "(": "matches no module", ".*": "matches no module",
        "all-linear,q_proj": "'all-linear' matches no module", "Q_PROJ": "'Q_PROJ' matches no module",
        "q_proj,norm": "LayerNorm is no linear layer",
    },
    "--device": {"abacus": "abacus", "cpu:x": "cpu:x", "cuda:999": "cuda:999", "cpu:-1": "cpu:-1"},
    "--base": {"": "empty name", "no/such/base": "no/such/base", "folder": "config.json", "file": "is a file"},
    "--data": {
        "none": "none is not there", "folder": "folder is a folder", "empty": "empty holds no example", "loop": "loop",
        "binary": "binary, line 1", "pointer": "git lfs pull", "/dev/null": "/dev/null is no file", "": "folder",
    },
    "--out": {"file": "no folder", "file/x": "can't be written", "/proc/x": "can't be written", "loop": "loop"},
    "--checkpoint": {"file": "no folder", "file/x": "can't be written", "/proc/x": "can't be written"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [(option, value, words) for option, values in BAD.items() for value, words in values.items()],
)
def test_train_refuses(option, value, words, place, capsys):
    options = {"--base": "names", "--device": "cpu", "--data": "good.jsonl", "--out": "new", "--steps": "1"}
    before = sorted(place.rglob("*"))
    is_refused(["train", *(f"{name}={given}" for name, given in (options | {option: value}).items())], words, capsys)
    assert sorted(place.rglob("*")) == before and (place / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-new-tokens=0", "a"], "--max-new-tokens"),
        (["--max-new-tokens=x", "a"], "--max-new-tokens"),
        (["--adapter=none", "a"], "none has no adapter_config.json"),
        (["--adapter=file", "a"], "file has no adapter_config.json"),
        (["--adapter=folder", "a"], "folder has no adapter_config.json"),
        (["--data=binary"], "binary, line 1"),
        (["--data=good.jsonl", "--out=folder"], "folder is a folder"),
        (["--data=good.jsonl", "--out=file"], "file is there already"),
        (["--data=good.jsonl", "--out=good.jsonl"], "which is read"),
        (["--data=good.jsonl", "--out=good.jsonl", "--overwrite"], "which is read"),
        (["--data=good.jsonl", "--out=file/x"], "can't be written"),
        (["--data=good.jsonl", "--out=/dev/null", "--overwrite"], "a device or a pipe"),
        (["--data=good.jsonl", "a"], "either a PROMPT or --data"),
        (["a", "b"], "unrecognized arguments: b"),
        (["A"], "'A'"),
        (["x" * 99], "99 letters"),
        (["\udcff"], "\\udcff"),
    ],
    ids=str,
)
def test_generate_refuses(arguments, words, place, capsys):
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    is_refused(["generate", *NAMES, *arguments], words, capsys)
    assert before == {path: path.read_bytes() for path in place.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--data"),
        (["--data=none"], "none is not there"),
        (["--data=binary"], "binary, line 1"),
        (["--data=good.jsonl", "--adapter=none"], "none has no adapter_config.json"),
        (["--data=good.jsonl", "--max-new-tokens=0"], "--max-new-tokens"),
        (["--data=good.jsonl", "more"], "unrecognized arguments: more"),
    ],
    ids=str,
)
def test_eval_refuses(arguments, words, place, capsys):
    is_refused(["eval", *NAMES, *arguments], words, capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gguf=a.gguf"], "--adapter"),
        (["--adapter=folder"], "--gguf"),
        (["--adapter=none", "--gguf=a.gguf"], "none has no adapter_config.json"),
        (["--adapter=folder", "--gguf=file"], "file is there already"),
        (["--adapter=folder", "--gguf=folder"], "folder is a folder"),
        (["--adapter=folder", "--gguf=file/x"], "can't be written"),
        (["--adapter=folder", "--gguf=/dev/null", "--overwrite"], "a device or a pipe"),
    ],
    ids=str,
)
def test_export_refuses(arguments, words, place, capsys):
    before = sorted(place.rglob("*"))
    is_refused(["export", "--base", "names", *arguments], words, capsys)
    assert sorted(place.rglob("*")) == before and (place / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("", "PROMPT is"), ("\udcff", "half a character"), ("is <end> <user> the", "PROMPT: the user's text spells")],
)
def test_a_prompt_that_a_language_model_can_not_read_is_refused(prompt, words, base, capsys):
    is_refused(["generate", "--base", base, "--device", "cpu", prompt], words, capsys)


@pytest.mark.parametrize("folder", ["none", "file", "folder", "loop", ""])
def test_xray_refuses(folder, place, capsys):
    is_refused(["xray", folder], "adapter", capsys)
    is_refused(["xray", "folder", "--base", "no/such/base"], "no/such/base", capsys)


def test_an_error_that_nobody_foresaw_is_one_line_and_its_traceback_is_there_for_who_asks(place, capsys, monkeypatch):
    for error in (KeyError("x"), RuntimeError("sizes\nof two"), ImportError("no y"), AssertionError(), MemoryError()):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr(common, "load_base", fails)
        command = ["generate", *NAMES, "a"]
        status, _, lines = status_and_lines(command, capsys)
        assert status == 2 and len(lines) == 1 and "--base" in lines[0] and type(error).__name__ in lines[0]
        assert cli.main([*command, "--debug"]) == 2
        assert "Traceback" in capsys.readouterr().err


def test_an_error_in_reading_an_adapter_names_its_folder(place, base, capsys):
    assert cli.main(["train", *NAMES, "--data", "good.jsonl", "--out", "a", "--steps", "1"]) == 0
    # Nothing here fits the other base, https://github.com/huggingface/peft/issues/276
    is_refused(["generate", "--base", base, "--adapter", "a", "is"], "--adapter a: ", capsys)
    (place / "a" / "adapter_model.safetensors").write_bytes((place / "pointer").read_bytes())
    # https://github.com/microsoft/OmniParser/issues/34, https://github.com/codefuse-ai/MFTCoder/issues/20
    is_refused(["generate", *NAMES, "--adapter", "a", "is"], "git lfs pull", capsys)


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "jupyter"), FileNotFoundError("python")])
def test_open_that_could_not_open_has_not_status_0(error, monkeypatch, capsys):
    def run(command, check):
        raise error

    monkeypatch.setattr(cli.subprocess, "run", run)
    assert cli.main(["open"]) == 2 and capsys.readouterr().err.startswith("lora_teach open: ")


def test_all_linear_is_a_target(place, capsys):
    # https://github.com/huggingface/peft/pull/1295 made the word known
    for targets in (["--targets", "all-linear"], []):
        assert (
            cli.main(["train", *NAMES, "--data", "good.jsonl", "--out", f"a{len(targets)}", "--steps", "1", *targets])
            == 0
        )
    first, second = ((place / name / "adapter_config.json").read_text() for name in ("a2", "a0"))
    assert first == second and "q_proj" in json.loads(first)["target_modules"]


@pytest.mark.parametrize("encoding", ["cp1252", "gbk"])
def test_results_go_into_any_encoding(encoding, place):
    # https://github.com/hiyouga/LlamaFactory/issues/2877, https://github.com/hiyouga/LlamaFactory/issues/3311
    code = (
        "import sys; from lora_teach import cli\n"
        "class Base:\n"
        "    model = __import__('torch').nn.Linear(1, 1)\n"
        "    def read(self, path, completions): return ['‖ü𝔘']\n"
        "    def asked(self, prompt): return prompt\n"
        "    def prompt_of(self, example): return example\n"
        "    def answer(self, model, examples, most, progress): return ['‖ΔW ü 𝔘']\n"
        "cli.common.load_base = lambda *_: Base()\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )

    def run(*arguments):
        own = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(cli.FIRST.parents[1])}
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, env=own)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode(encoding)

    told = json.loads(run("generate", "--device", "cpu", "--data", "good.jsonl"))
    assert told == {"prompt": "‖ü𝔘", "completion": "‖ΔW ü 𝔘"}
