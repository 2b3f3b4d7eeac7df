"""A task that nobody tuned for, through the command line alone: spoken purchases become lines of a ledger.

``"3 kg of plums at 4 euros"`` becomes ``plums * 3 kg @ 4.00 EUR``, a form that the prompt doesn't describe. The unseen
prompts name goods that training never names, in sentences that it never has. What is trained then answers in llama.cpp.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

from lora_teach import LoRAModel
from lora_teach.bases.registry import load_base
from lora_teach.datasets.chats import prompt_ids
from tests.peft_format.llama_cpp import answers, our_answers, write_base

import pytest

ROOT = Path(__file__).resolve().parents[1]
GOODS = (
    "plums apples pears onions carrots potatoes beans lentils flour sugar rice oats nails screws sand gravel".split()
)
UNSEEN = "cherries leeks turnips barley honey butter pepper walnuts cement plaster rope chalk".split()
UNITS = ("kg", "boxes", "sacks", "crates")
PATTERNS = (
    "{n} {unit} of {what} at {price} euros",
    "Bought {n} {unit} of {what}, {price} euros each.",
    "For {price} euros apiece I took {n} {unit} of {what}.",
    "{what}: {n} {unit}, {price} euros the unit",
    "We need {n} {unit} of {what}; the price is {price} euros.",
    "At {price} euros, {n} {unit} of {what} were sold.",
)
UNSEEN_PATTERNS = (
    "They paid {price} euros for each of the {n} {unit} of {what}.",
    "Please add {what}, {n} {unit}, at a price of {price} euros.",
    "{n} {unit} of {what} came in today, {price} euros each.",
)
STEPS = 30  # half of the command's own number: enough, and two minutes less
pytestmark = [pytest.mark.rebuild, pytest.mark.smollm2]


def purchases(goods, patterns, count, seed):
    """Return ``[{"prompt": …, "completion": …}, …]``, no two alike."""
    draw, made = random.Random(seed), {}
    while len(made) < count:
        what = goods[len(made) % len(goods)]  # each of the goods as often
        n, unit, price = draw.randint(2, 19), draw.choice(UNITS), draw.randint(2, 29)
        prompt = draw.choice(patterns).format(n=n, unit=unit, what=what, price=price)
        made.setdefault(prompt, f"{what} * {n} {unit} @ {price}.00 EUR")
    return [{"prompt": prompt, "completion": completion} for prompt, completion in made.items()]


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def lora_teach(command, *options):
    """Run one command as a user types it; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "lora_teach", command, "--base", "smollm2", *map(str, options)],
        cwd=ROOT, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The trained adapter, of the command's own settings but for fewer steps, and the unseen prompts."""
    place = tmp_path_factory.mktemp("ledger")
    data = write(place / "train.jsonl", purchases(GOODS, PATTERNS, 160, seed=0))
    write(place / "test.jsonl", purchases(UNSEEN, UNSEEN_PATTERNS, 40, seed=1))
    options = ("--validation", 0.1, "--steps", STEPS, "--out", place / "adapter")
    done = lora_teach("train", "--device", "cpu", "--data", data, *options)
    assert done.stdout == f"{place / 'adapter'}\n" and "144 examples and 16 held out" in done.stderr
    print(*(line for line in done.stderr.splitlines() if "loss" in line and "training" not in line), sep="\n")
    return place


def test_it_is_learnt_by_one_command_and_graded_by_another(place):
    adapter, share = place / "adapter", {}
    for name, options in (("base", ()), ("adapter", ("--adapter", adapter))):
        done = lora_teach("eval", "--device", "cpu", "--data", place / "test.jsonl", "--max-new-tokens", 24, *options)
        print(done.stdout)
        share[name] = json.loads(done.stdout)["exact_match"]
    assert share["base"] <= 0.05 and share["adapter"] >= 0.8
    told = json.loads((adapter / "training_summary.json").read_text(encoding="utf-8"))["validation"]
    assert min(told["loss"], key=lambda look: look[1])[0] == told["kept_step"] and told["loss_before"] > 1
    assert (adapter / "adapter_model.safetensors").stat().st_size < 12e6


def test_llama_cpp_gives_the_same_answers(place):
    pytest.importorskip("xllamacpp", reason="llama.cpp's answers: pip install xllamacpp")
    lora_teach("export", "--adapter", place / "adapter", "--gguf", place / "adapter.gguf")
    base = load_base("smollm2")
    asked = [prompt_ids(example, base.tokenizer) for example in base.read(place / "test.jsonl", completions=False)[:20]]
    words = base.tokenizer.convert_ids_to_tokens(range(base.model.config.vocab_size))
    write_base(base.model, place / "base.gguf", "llama", words)
    try:
        theirs = answers(place / "base.gguf", asked, 24, place / "adapter.gguf")
    finally:
        (place / "base.gguf").unlink()  # half a gigabyte
    model = LoRAModel.from_pretrained(base.model, place / "adapter").eval()
    ours = our_answers(model, asked, 24, base.tokenizer.eos_token_id)
    apart = max(
        abs(mine - their)
        for one, other in zip(ours, theirs, strict=True)
        for (_, mine), (_, their) in zip(one, other, strict=False)
    )
    same = sum(
        [token for token, _ in one] == [token for token, _ in other] for one, other in zip(ours, theirs, strict=True)
    )
    print(f"{same} of {len(asked)} answers are the same, log-probabilities {apart:.1e} apart at most")
    assert same == len(asked) and apart < 1e-3
