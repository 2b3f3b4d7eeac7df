"""A task that nobody tuned for, through the command line alone: spoken purchases become lines of a ledger.

``"3 kg of plums at 4 euros"`` becomes ``plums * 3 kg @ 4.00 EUR``, a form that the prompt doesn't describe. The unseen
prompts name goods that training never names.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOODS = (
    "plums apples pears onions carrots potatoes beans lentils flour sugar rice oats nails screws sand gravel".split()
)
UNSEEN = "cherries leeks turnips barley honey butter pepper walnuts cement plaster rope chalk".split()
UNITS = ("kg", "boxes", "sacks", "crates")
PATTERNS = ("{n} {unit} of {what} at {price} euros", "Bought {n} {unit} of {what}, {price} euros each.")
STEPS = 16


def purchases(goods, count, seed):
    """Return ``[{"prompt": …, "completion": …}, …]``, no two alike."""
    draw, made = random.Random(seed), {}
    while len(made) < count:
        what = goods[len(made) % len(goods)]  # each of the goods as often
        n, unit, price = draw.randint(2, 19), draw.choice(UNITS), draw.randint(2, 29)
        prompt = draw.choice(PATTERNS).format(n=n, unit=unit, what=what, price=price)
        made.setdefault(prompt, f"{what} * {n} {unit} @ {price}.00 EUR")
    return [{"prompt": prompt, "completion": completion} for prompt, completion in made.items()]


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def lora_teach(command, *options):
    """Run one command as a user types it; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "lora_teach", command, "--base", "smollm2", "--device", "cpu", *map(str, options)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.rebuild
@pytest.mark.smollm2
def test_a_task_of_ones_own_is_learnt_by_two_commands(tmp_path):
    asked = purchases(UNSEEN, 24, seed=1)
    data, prompts = write(tmp_path / "train.jsonl", purchases(GOODS, 144, seed=0)), write(tmp_path / "ask.jsonl", asked)
    adapter = tmp_path / "adapter"
    done = lora_teach(
        "train", "--data", data, "--rank", 8, "--alpha", 16, "--lr", "1e-3", "--steps", STEPS, "--batch-size", 6,
        "--seed", 0, "--out", adapter,
    )  # fmt: skip
    assert done.stdout == f"{adapter}\n" and "144 examples" in done.stderr
    size = (adapter / "adapter_model.safetensors").stat().st_size
    shares = {}
    for name, options in (("base", ()), ("adapter", ("--adapter", adapter))):
        out = tmp_path / f"{name}.jsonl"
        lora_teach("generate", "--data", prompts, "--out", out, "--max-new-tokens", 24, *options)
        answers = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert [answer["prompt"] for answer in answers] == [line["prompt"] for line in asked]
        right = sum(answer["completion"] == line["completion"] for answer, line in zip(answers, asked, strict=True))
        shares[name] = right / len(asked)
    print(f"{shares}, adapter of {size:,} bytes")
    assert shares["base"] <= 0.05 and shares["adapter"] >= 0.75
    assert size < 12e6
