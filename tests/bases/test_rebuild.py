"""The committed commands make again what is shipped: the same names, and bases and adapters of the same quality."""

import subprocess
import sys
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.bases import DigitNet, NameGPT, accuracy, evaluate, load_digit_net, load_name_gpt
from lora_teach.bases.language_adapters import load_language_adapter
from lora_teach.datasets import digits, names, shipped

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.rebuild


def run(command, *options):
    """Run a script of data/ as its docstring says."""
    subprocess.run([sys.executable, f"data/{command}", *map(str, options)], cwd=ROOT, check=True, timeout=1800)


def test_make_names_gives_the_shipped_names(tmp_path):
    faker = pytest.importorskip("faker", reason="pip install faker, to make the names again")
    run("make_names.py", "--out", tmp_path)
    for language in names.languages():
        rebuilt, kept = (
            (folder / f"{language.lower()}.txt").read_text(encoding="utf-8").splitlines()
            for folder in (tmp_path, shipped.DATA / "names")
        )
        if f"faker {faker.VERSION} " in kept[0]:
            assert rebuilt == kept
        else:  # another version's lists may have grown or been corrected a little
            assert len(set(rebuilt) & set(kept)) > 0.95 * max(len(rebuilt), len(kept))


def test_make_bases_gives_the_shipped_quality(tmp_path):
    run("make_bases.py", "--out", tmp_path)
    validation = names.load("English").validation
    rebuilt = NameGPT()
    tensors = load_file(tmp_path / "name_gpt.safetensors")
    rebuilt.load_state_dict(tensors | {"head.weight": tensors["embedding.weight"]})
    assert evaluate(rebuilt, validation) == pytest.approx(evaluate(load_name_gpt(), validation), abs=0.05)
    rebuilt = DigitNet()
    rebuilt.load_state_dict(load_file(tmp_path / "digit_net.safetensors"))
    upright = digits.upright().validation
    assert accuracy(rebuilt, *upright) == pytest.approx(accuracy(load_digit_net(), *upright), abs=0.02)


def test_make_adapters_gives_the_shipped_quality(tmp_path):
    run("make_adapters.py", "--out", tmp_path, "--languages", "Zulu")
    validation = names.load("Zulu").validation
    rebuilt = LoRAModel.from_pretrained(load_name_gpt(), tmp_path / "zulu")
    shipped_one = load_language_adapter(load_name_gpt(), "Zulu")
    assert evaluate(rebuilt, validation) == pytest.approx(evaluate(shipped_one, validation), abs=0.05)
