"""Everything that is read, damaged at random: it is read or refused in words, and nothing else happens.

LORA_TEACH_FUZZ=1000000 pytest -n0 tests/faults/test_fuzz.py  tries a million cases in place of the usual 10,000, and
LORA_TEACH_FUZZ=500000-1000000 the second half of them. Of a hundred cases 5 are adapter folders, 50 JSONL files,
10 configs, 34 command lines and one is a GGUF file.
"""

import io
import json
import os
import random
import shutil
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout

from lora_teach import LoRAConfig, LoRAModel
from lora_teach.bases.language_models import load_language_model
from lora_teach.cli import options as cli_options
from lora_teach.cli.options import COMMANDS, parse
from lora_teach.config import VARIANTS
from lora_teach.datasets.jsonl import read_jsonl
from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.peft_format.gguf import save_gguf
from lora_teach.peft_format.xray import lint, xray
from tests.peft_format.folders import adapted, base
from tests.peft_format.hostile import REGEXES, VALUES, mutate
from tests.tiny_language_model import tiny_model
from tests.toy import bits, filled, picture, same_bits, same_picture

import pytest

resource = pytest.importorskip("resource")  # which Windows lacks
FIRST, LAST = ([0, *map(int, os.environ.get("LORA_TEACH_FUZZ", "10000").split("-"))])[-2:]
SECONDS = 5  # of the processor, for one case
MEMORY = 400 * 2**10  # KB of growth
# What Python tells of before it does it: running code, and reaching out of the process.
FORBIDDEN = (
    "exec", "compile", "pickle.", "marshal.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
    "socket.", "urllib.", "ctypes.dlopen", "os.putenv", "os.remove", "os.rename", "os.mkdir", "os.chmod", "shutil.",
)  # fmt: skip
seen = None


def watch(event, arguments):
    """Audit hook, which stays for good: notes what is forbidden while ``seen`` is a list."""
    counts_gpus = (event, arguments) == ("ctypes.dlopen", ("libnvidia-ml.so.1",))  # a CUDA build of torch does
    if seen is not None and event.startswith(FORBIDDEN) and not counts_gpus:
        seen.append((event, str(arguments)[:200]))


sys.addaudithook(watch)


def attempt(what, read, refusals, told=str):
    """Read one case; return whether it was read. Anything but a result or a refusal in words fails, as ``what``."""
    global seen
    seen, started = [], time.process_time()
    try:
        read()
        outcome = True
    except refusals as error:
        outcome = False
        assert told(error).strip(), what
    except BaseException as error:  # a panic in Rust is no Exception
        raise AssertionError(f"{what}: {type(error).__name__}: {str(error)[:500]}") from error
    finally:
        forbidden, seen = seen, None
    assert not forbidden, f"{what}: {forbidden}"
    assert time.process_time() - started < SECONDS, f"{what} took too long"
    return outcome


def share(percent):
    """The numbers of the cases of one kind."""
    return range(FIRST * percent // 100, LAST * percent // 100)


@pytest.fixture(autouse=True)
def memory_stays_small():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


@pytest.mark.filterwarnings("ignore")  # a folder may be worth a warning, and load
def test_adapter_folders(tmp_path, monkeypatch):
    monkeypatch.setattr("lora_teach.utils.patterns.SECONDS", 0.5)
    monkeypatch.chdir(tmp_path)
    good = [tmp_path / kind for kind in ("saved_head", "patterns", "dora", "learnable", "embedding")]
    for folder in good:
        adapted(folder.name).save_adapter(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            attempt(folder.name, lambda folder=folder: LoRAModel.from_pretrained(base(), folder), ())
        assert not lint(folder)
    plain, model = base(), filled(LoRAModel(base(), target_modules=["v_proj"]))
    before, before_model, outcomes = picture(plain), picture(model), set()
    listing = sorted(path.name for path in tmp_path.iterdir())
    for seed in share(5):
        folder = shutil.copytree(good[seed % len(good)], tmp_path / "hostile")
        what = f"folder {seed}: {', '.join(mutate(folder, good[1], 10_000_000 + seed))}"
        files = sorted(path.name for path in folder.iterdir())
        for read in (
            lambda: LoRAModel.from_pretrained(plain, folder).remove(),  # noqa: B023
            lambda: model.load_adapter(folder, "wrong"),  # noqa: B023
            lambda: str(xray(folder, plain)),  # noqa: B023
            lambda: lint(folder),  # noqa: B023
        ):
            outcomes.add(attempt(what, read, (ValueError, FileNotFoundError)))
        if "wrong" in model.adapter_names:
            model.delete_adapter("wrong")
        assert same_bits(before["bits"], bits(plain)) and same_bits(before_model["bits"], bits(model)), what
        assert sorted(path.name for path in folder.iterdir()) == files, what
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if (folder / name).is_symlink() and (folder / name).exists():
                with pytest.raises((ValueError, FileNotFoundError)):
                    LoRAModel.from_pretrained(plain, folder)
        shutil.rmtree(folder)
    assert same_picture(before, picture(plain)) and same_picture(before_model, picture(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == listing  # nothing is left
    assert outcomes == {True, False}


LINES = [
    {"prompt": "ai", "completion": "no"},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "é", "weight": 1}]},
    {"system": "s", "prompt": "ai", "completion": "no", "id": 3},
]
WORDS = ["prompt", "completion", "messages", "role", "content", "weight", "system", "tools", "user", "assistant", ""]


def damaged_json(value, chance, depth=0):
    """Return ``value`` with one part of it replaced, renamed or taken out."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        way = chance.randrange(4)
        if way == 0:
            return {other: one for other, one in value.items() if other != key}
        if way == 1:
            return {chance.choice(WORDS) if other == key else other: one for other, one in value.items()}
        return value | {key: damaged_json(value[key], chance, depth + 1)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        changed = [damaged_json(value[place], chance, depth + 1)] * chance.choice([0, 1, 1, 2])
        return [*value[:place], *changed, *value[place + 1 :]]
    return chance.choice(VALUES)


def damaged_bytes(data, chance):
    """Return ``data`` with bits turned, a part cut out or doubled, or other bytes in it."""
    way, start = chance.randrange(4), chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice([1, 2, 8, 200]))
    if way == 0 and data:
        place = min(start, len(data) - 1)
        return data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
    middle = [
        b"",
        data[start:end] * 2,
        chance.choice([b"\x00", b"\xff\xfe", b"\n", b"[" * 3000, b"\xed\xa0\x80", b'"']),
    ]
    return data[:start] + middle[way - 1] + data[end:]


def test_jsonl_files(tmp_path):
    file, outcomes = tmp_path / "examples.jsonl", set()
    file.write_bytes(json.dumps(LINES[0]).encode("utf-8-sig"))
    assert len(read_jsonl(file)) == 1
    for seed in share(50):
        chance = random.Random(seed)
        lines = [chance.choice(LINES) for _ in range(chance.randrange(1, 4))]
        lines = [damaged_json(line, chance) if chance.random() < 0.5 else line for line in lines]
        data = "\n".join(json.dumps(line, ensure_ascii=chance.random() < 0.5) for line in lines)
        data = data.encode("utf-8", "surrogatepass")
        file.write_bytes(damaged_bytes(data, chance) if chance.random() < 0.5 else data)
        what = f"JSONL file {seed}: {data[:300]!r}"
        read = [read_jsonl, lambda place: read_jsonl(place, completions=False)][seed % 2]
        outcomes.add(attempt(what, lambda: read(file), ValueError, lambda error: str(error).partition("line")[2]))  # noqa: B023
    assert outcomes == {True, False} and [path.name for path in tmp_path.iterdir()] == [file.name]


CONFIG_VALUES = [
    *VALUES,
    *REGEXES,
    "alpha/r",
    "alpha/sqrt(r)",
    "alpha",
    "uniform",
    "randn",
    *VARIANTS,
    "head",
    ["head"],
]
FIELDS = list(LoRAConfig.__dataclass_fields__)


@pytest.mark.filterwarnings("ignore")
def test_config_values(monkeypatch):
    monkeypatch.setattr("lora_teach.utils.patterns.SECONDS", 0.5)
    plain, outcomes = base(), set()
    before = picture(plain)
    LoRAModel(plain).remove()

    def build(options):
        LoRAModel(plain, LoRAConfig(**options)).remove()

    for seed in share(10):
        chance = random.Random(seed)
        chosen = chance.sample(FIELDS, chance.choice([1, 1, 1, 2, 3]))
        options = {"rank": 2} | {field: chance.choice(CONFIG_VALUES) for field in chosen}
        if chance.random() < 0.02:
            options[chance.choice(["lora_rank", "r", "target"])] = 1
        outcomes.add(attempt(f"config {seed}: {str(options)[:300]}", lambda: build(options), (TypeError, ValueError)))  # noqa: B023
        assert same_bits(before["bits"], bits(plain)), options
    assert same_picture(before, picture(plain)) and outcomes == {True, False}


OPTIONS = """
    --base --data --out --validation --rank --alpha --dropout --targets --lr --schedule --warmup --steps --batch-size
    --accumulate --max-length --seed --checkpoint --overwrite --capture --shard --quantize --device --adapter --ranks
    --alphas --lrs --gguf --max-new-tokens --debug --bas --unknown -x --
""".split()
ARGUMENTS = [
    "", "0", "1", "-1", "8", "1e-3", "nan", "inf", "-inf", "1e999", "9" * 400, "0x10", "1_000", "½", "é", "\udcff",
    "a b", "../x", "/dev/null", "names", "cpu", "cuda:9", "meta", "linear", "cosine", "nf4", "1,2,3", ",", "x" * 5000,
    "\n", "--",
]  # fmt: skip


def test_command_lines(monkeypatch):
    outcomes, parser = set(), cli_options._parser()
    monkeypatch.setattr(cli_options, "_parser", lambda: parser)  # made once: that takes longer than a line
    parse(["xray", "folder"])
    for seed in share(34):
        chance = random.Random(seed)
        line = [chance.choice([*COMMANDS, *COMMANDS, "", "trains", "--help"])]
        if chance.random() < 0.5:
            line += ["--data", "file", "--out", "folder"]
        for _ in range(chance.randrange(5)):
            line += chance.choice([[chance.choice(OPTIONS), chance.choice(ARGUMENTS)], [chance.choice(ARGUMENTS)]])
        said = [io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2)]  # as Python's own stderr
        with redirect_stdout(said[0]), redirect_stderr(said[1]):
            outcome = attempt(f"command line {seed}: {str(line)[:300]}", lambda: parse(line), SystemExit)  # noqa: B023
        for one in said:
            one.flush()
        out, error = (one.buffer.getvalue().decode() for one in said)
        if not outcome and not out:  # not the help that was asked for
            assert error.startswith("lora_teach") and error.count("\n") <= 1 + str(line).count("\\n"), (line, error)
        outcomes.add(outcome)
    assert outcomes == {True, False}


@pytest.mark.filterwarnings("ignore")
def test_gguf_files(tmp_path):
    pytest.importorskip("gguf")
    save_gguf(LoRAModel(tiny_model(), rank=2), tmp_path / "good.gguf")
    data = (tmp_path / "good.gguf").read_bytes()
    folder = tmp_path / "base"
    folder.mkdir()

    def read():
        load_language_model(folder, gguf_file="model.gguf")

    (folder / "model.gguf").write_bytes(data)
    with pytest.raises(ValueError):
        read()  # an adapter, and no model
    for seed in share(1):
        chance = random.Random(seed)
        hurt = data[: chance.randrange(len(data))] if chance.random() < 0.3 else damaged_bytes(data, chance)
        (folder / "model.gguf").write_bytes(hurt)
        assert not attempt(f"GGUF file {seed}", read, (ValueError, OSError))
    assert [path.name for path in folder.iterdir()] == ["model.gguf"]
