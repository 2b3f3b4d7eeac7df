"""Checks of notebook 09: examples that are held out, and the folder that PEFT reads."""

import builtins
import json
import warnings
from collections import Counter
from contextlib import contextmanager
from copy import deepcopy
from math import sqrt
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from lora_teach.datasets import names
from lora_teach.exercises.check import Draw, NotYet, attempt, cases, check, compare, describe, expect
from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE

import torch
from safetensors.torch import load_file
from torch import nn

GROWS = (
    "The list grew, and a prompt changed sides: next month the model would be asked what it has been trained on. Let "
    "each prompt decide for itself, by a number made from it, such as hashlib's."
)
LEAKS = "What was held out has been seen in training. Let each prompt decide for itself, by a number made from it."


@check
def check_hold_out(hold_out):
    """Check ``hold_out(prompts, share)``: two lists, and no prompt on both sides."""
    every = sorted(names.load("English").train)  # as loaded, they stand in the order of a hash
    Random(0).shuffle(every)
    repeated = [*every[:900], *every[:300], *(f" {name.title()} " for name in every[100:250])]
    sides = {}
    for prompts, share, what in cases(
        [
            (repeated, 0.2, "900 names, some of them twice, some with a capital letter and blanks around"),
            (repeated[::-1], 0.2, "the same, the other way round"),
            ([*every[900:1500], *repeated], 0.2, "the same with 600 new ones before them"),
            (every[2000:], 0.35, "all the other names, of which 35 % are to be held out"),
        ]
    ):
        got = attempt(hold_out, prompts=prompts, share=share)
        train, held = _two_lists(got, prompts, share, what)
        for side, part in (("train", train), ("held out", held)):
            for prompt in map(_plain, part):
                before = sides.setdefault((prompt, share), side)
                expect(before == side, f"{what}: {prompt!r} was {before}, now it is {side}.\n  {GROWS}")
        _like_the_rest(train, held, share, what)
    with _other_hash():
        again = attempt(hold_out, prompts=repeated, share=0.2)
        _, held = _two_lists(again, repeated, 0.2, "once more")
    moved = [prompt for prompt in map(_plain, held) if sides[prompt, 0.2] != "held out"]
    expect(
        not moved,
        f"In another process {len(moved)} other prompts are held out, such as {moved[:1]}: Python's own hash() differs "
        "from one process to the next. Take one that doesn't, such as hashlib's.",
    )
    return "nothing is lost, no prompt is on both sides, and none will ever change sides."


@check
def check_save(save):
    """Check ``save(layers, folder)``: the two files that PEFT reads, with the same update."""
    paths = ["first", "blocks.0.up", "blocks.1.up"]
    for rank, scaling in cases([(2, 1.5), (1, 4.0), (3, 0.5)]):
        draw = Draw(rank)
        base = _Tower(draw)
        layers = {path: draw.layer(*_sizes(base, path), rank, scaling) for path in paths}
        with TemporaryDirectory() as shelf:
            folder = Path(shelf) / "mine"
            attempt(save, layers=layers, folder=str(folder) if rank == 1 else folder)
            _check_config(folder, paths, rank, scaling)
            _check_tensors(folder, layers)
            _check_in_peft(folder, base, layers, draw.matrix(4, 5))
    return "two files, and PEFT adds the same updates, at three ranks and scalings."


class _Tower(nn.Module):
    """Three layers that are adapted and one that is not, its name the end of no other's."""

    def __init__(self, draw):
        super().__init__()
        self.first = nn.Linear(5, 7)
        self.blocks = nn.ModuleList([nn.ModuleDict({"up": nn.Linear(7, 7)}) for _ in range(2)])
        self.last = nn.Linear(7, 4)
        with torch.no_grad():
            for one in self.parameters():
                one.copy_(draw.matrix(*one.shape))

    def forward(self, x):
        x = torch.tanh(self.first(x))  # (batch, 7)
        for block in self.blocks:
            x = torch.tanh(block["up"](x))
        return self.last(x)


def _sizes(base, path):
    linear = base.get_submodule(path)
    return linear.in_features, linear.out_features


def _check_config(folder, paths, rank, scaling):
    """adapter_config.json says what kind it is, where it sits, and how strong it is."""
    there = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else "no such folder"
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        expect((folder / name).is_file(), f"{name} is not in the folder; there is {there}")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotYet(f"{CONFIG_FILE} is no JSON: {error}. json.dumps makes it.") from None
    expect(isinstance(config, dict), f"{CONFIG_FILE} holds a dict; came: {describe(config)}")
    missing = [key for key in ("peft_type", "r", "lora_alpha", "target_modules") if key not in config]
    expect(not missing, f"{CONFIG_FILE} lacks {', '.join(missing)}.")
    compare(config["peft_type"], "LORA", what="peft_type")
    compare(config["r"], rank, [(scaling * rank, "That is alpha.")], what="r, the rank")
    mistakes = [
        (scaling, "That is the scaling s = α/r, and PEFT divides by r once more: α = s·r."),
        (float(rank), "That is the rank. The scaling is another here: α = s·r."),
        (scaling * rank // 1, "That is rounded: α needn't be a whole number."),
    ]
    compare(float(config["lora_alpha"]), scaling * rank, mistakes, what="lora_alpha")
    if isinstance(config["target_modules"], list):
        lost = [path for path in paths if not any(f".{path}".endswith(f".{one}") for one in config["target_modules"])]
        expect(not lost, f"target_modules does not name {lost}: give the paths of all the layers.")


def _check_tensors(folder, layers):
    """adapter_model.safetensors has A and B of each layer, under PEFT's names and PEFT's way round."""
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except Exception as error:
        raise NotYet(f"{WEIGHTS_FILE} can't be read: {error}. safetensors.torch.save_file writes it.") from None
    wanted = {
        f"base_model.model.{path}.{kind}.weight": getattr(layer, kind).detach().T
        for path, layer in layers.items()
        for kind in ("lora_A", "lora_B")
    }
    lost, more = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    expect(not lost, f"there is no {lost[:1]} among the keys, which are {list(tensors)[:2]} …")
    expect(not more, f"{more[:1]} has no place in PEFT's format.")
    for key, right in wanted.items():
        scaling = layers[key.removeprefix("base_model.model.").rpartition(".lora_")[0]].scaling
        turned = "PEFT stores A as (r, in_features) and B as (out_features, r): turn each with .T."
        other = key.replace("lora_A", "lora_b").replace("lora_B", "lora_A").replace("lora_b", "lora_B")
        mistakes = [
            (wanted[other], "A and B have changed places."),
            (right.T, turned),
            (right.T.reshape(right.shape), f"{turned} .reshape keeps the order of the numbers and mixes them up."),
            (scaling * right, "The factors are saved unscaled: lora_alpha says how strong they are."),
        ]
        compare(tensors[key], right, mistakes, what=key)


def _check_in_peft(folder, base, layers, x):
    """PEFT reads the folder and adds the same updates."""
    import peft

    right = deepcopy(base)
    with torch.no_grad():
        for path, layer in layers.items():
            right.get_submodule(path).weight += layer.delta_weight()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of modules that the file has nothing for: see below
                read = peft.PeftModel.from_pretrained(deepcopy(base), folder)
        except Exception as error:
            said = " ".join(str(error).split())
            raise NotYet(f"PEFT does not read the folder: {type(error).__name__}: {said[:200]}") from None
        adapted = [name for name, one in read.base_model.model.named_modules() if hasattr(one, "lora_A")]
        said = f"By this target_modules PEFT adapts {sorted(adapted)}; the layers are {sorted(layers)}."
        expect(set(adapted) == set(layers), said)
        compare(read.eval()(x), right(x), what="the model's output, with the folder read by PEFT", rtol=1e-4, atol=1e-4)


def _plain(prompt):
    return prompt.strip().casefold()


def _two_lists(got, prompts, share, what):
    """Return the two sides as lists; NOT YET if they are not a division of the prompts."""
    good = isinstance(got, (tuple, list)) and len(got) == 2 and not any(isinstance(part, str) for part in got)
    expect(good, f"{what}\n  Return two lists, (train, held_out); came: {describe(got)}")
    train, held = (list(part) for part in got)
    came, given = Counter([*train, *held]), Counter(prompts)
    if came != given:
        lost, more = given - came, came - given
        which = f"{sum(lost.values())} are lost, such as {next(iter(lost), None)!r}" if lost else "none is lost"
        extra = f", {sum(more.values())} are new, such as {next(iter(more))!r}" if more else ""
        expect(
            False,
            f"{what}: {which}{extra}.\n  Each prompt comes back as it is, as often as it was given: lower case is for "
            "the decision only, and a line that stands twice is two lines.",
        )
    both = {_plain(prompt) for prompt in train} & {_plain(prompt) for prompt in held}
    expect(
        not both,
        f"{what}: {len(both)} prompts are on both sides, such as {min(both, default='')!r}; blanks around and capital "
        f"letters make no difference.\n  {LEAKS}",
    )
    return train, held


def _like_the_rest(train, held, share, what):
    """NOT YET if the share is another one, or if what is held out is of a kind of its own."""
    outside = {_plain(prompt) for prompt in held}
    every = outside | {_plain(prompt) for prompt in train}
    got = len(outside) / len(every)
    said = f"{what}: {got:.0%} of the different prompts are held out, and {share:.0%} should be"
    swapped = " The lists are the wrong way round: first what is trained on." if abs(got - (1 - share)) < 0.05 else ""
    by_chance = 4.5 * sqrt(share * (1 - share) / len(every))
    expect(abs(got - share) < min(0.045, by_chance), f"{said}.{swapped}")
    kinds = {
        "first letter": lambda prompt: prompt[0],
        "last letter": lambda prompt: prompt[-1],
        "length": lambda prompt: str(len(prompt)),
    }
    for kind, of in kinds.items():
        counts, chosen = Counter(map(of, every)), Counter(map(of, outside))
        # Each value's deviation, squared, in units of the variance that a fair number has: chi-squared as a whole, so
        # that a good hash is all but never refused, however small one of the kinds.
        off = {
            value: (chosen[value] - share * count) ** 2 / (share * (1 - share) * count)
            for value, count in counts.items()
        }
        odd = max(off, key=off.get)
        expect(
            sum(off.values()) < len(off) + 10 * sqrt(2 * len(off)),
            f"{what}: of the prompts with the {kind} {odd!r} {chosen[odd] / counts[odd]:.0%} are held out, of all "
            f"{got:.0%}.\n  What is asked in the end must be like the rest: decide by a number in which every letter "
            "of the prompt counts.",
        )


@contextmanager
def _other_hash():
    """Within the block ``hash`` of a text is what another process might say."""
    own = builtins.hash
    builtins.hash = lambda value: own(f"another process: {value}") if isinstance(value, str) else own(value)
    try:
        yield
    finally:
        builtins.hash = own
