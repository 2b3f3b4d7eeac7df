"""The options of each command, read and checked one by one; a bad one is told in a line, with status 2."""

import argparse
import os
from pathlib import Path

from lora_teach.bases.registry import KNOWN, QUANTIZERS
from lora_teach.loop.schedules import DECAYS

COMMANDS = ("open", "progress", "train", "sweep", "eval", "generate", "xray", "doctor", "export", "page")
EXAMPLES = """examples:
  python -m lora_teach train --base smollm2 --data train.jsonl --rank 8 --alpha 16 --lr 1e-3 --steps 60 --out adapter
  python -m lora_teach train --base smollm2 --data train.jsonl --validation 0.1 --schedule cosine --out adapter
  torchrun --nproc-per-node 2 -m lora_teach train --base smollm2 --data train.jsonl --out adapter
  python -m lora_teach sweep --base smollm2 --data train.jsonl --validation 0.1 --ranks 2,8 --lrs 3e-4,1e-3 --out runs
  python -m lora_teach eval --base smollm2 --adapter adapter --data test.jsonl
  python -m lora_teach generate --base smollm2 --adapter adapter "Who meets whom?"
  python -m lora_teach generate --base smollm2 --adapter adapter --data test.jsonl --out answers.jsonl
  python -m lora_teach xray adapter
  python -m lora_teach doctor adapter --base smollm2 --data train.jsonl
  python -m lora_teach export --base smollm2 --adapter adapter --gguf adapter.gguf
  python -m lora_teach page site

train.jsonl holds one {"prompt": ..., "completion": ...} or {"messages": [...]} a line."""


def parse(arguments=None):
    """Return the options of one command; ``more`` holds what goes on to JupyterLab."""
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    if more and options.command != "open":
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    options.more = more
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Say what is wrong in one line."""
        self.exit(2, f"{self.prog.removeprefix('python -m ')}: {message}\n")


def _parser():
    whole = _Parser(
        prog="python -m lora_teach", description="LoRA from the command line.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = whole.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))

    commands.add_parser("open", help="open the course; other options go to jupyter lab, such as --no-browser")

    going = commands.add_parser("progress", help="show which pieces of LoRA you have written in the notebooks")
    going.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="of the notebooks, if it is another one")

    training = commands.add_parser("train", help="train an adapter on a JSONL file")
    _add_training(training)

    sweeping = commands.add_parser("sweep", help="train with each rank, alpha and rate; one line of JSON a run")
    _add_training(sweeping)
    sweeping.add_argument("--ranks", type=_several(int), help="such as 2,8,32; in place of --rank")
    sweeping.add_argument("--alphas", type=_several(float), help="such as 8,16; in place of --alpha")
    sweeping.add_argument("--lrs", type=_several(float), help="such as 3e-4,1e-3; in place of --lr")

    grading = commands.add_parser("eval", help="grade the answers to a JSONL file; one line of JSON")
    _add_base(grading)
    grading.add_argument("--adapter", type=Path, help="folder of an adapter; without it the base alone is graded")
    grading.add_argument("--data", type=Path, required=True, help="examples, one JSON object a line")
    grading.add_argument("--max-new-tokens", type=_positive(int), default=128)

    writing = commands.add_parser("generate", help="let the model answer, greedily")
    _add_base(writing)
    writing.add_argument("prompt", nargs="?", metavar="PROMPT")
    writing.add_argument("--adapter", type=Path, help="folder of an adapter; without it the base alone answers")
    writing.add_argument("--data", type=Path, help="prompts, one JSON object a line")
    writing.add_argument("--out", type=Path, help="file for the answers, one JSON object a line; else they are printed")
    writing.add_argument("--overwrite", action="store_true", help="replace the file in --out")
    writing.add_argument("--max-new-tokens", type=_positive(int), default=128)

    looking = commands.add_parser("xray", help="show what is in an adapter, and lint it")
    looking.add_argument("folder", type=Path, metavar="FOLDER")
    looking.add_argument("--base", help=f"{KNOWN}, to compare its weights with")

    asking = commands.add_parser("doctor", help="say why an adapter has no effect, or a wrong one")
    asking.add_argument("folder", type=Path, metavar="FOLDER")
    asking.add_argument("--base", help=f"{KNOWN}, that the adapter is for")
    asking.add_argument("--data", type=Path, help="examples, one JSON object a line, of which some are tried")

    exporting = commands.add_parser("export", help="write an adapter for another tool: a GGUF file, for llama.cpp")
    exporting.add_argument("--base", default="smollm2", help=KNOWN)
    exporting.add_argument("--adapter", type=Path, required=True, help="folder of the adapter")
    exporting.add_argument("--gguf", type=Path, required=True, metavar="FILE", help="the file to write")
    exporting.add_argument("--overwrite", action="store_true", help="replace the file")

    paging = commands.add_parser(
        "page", help="build the course as a page that needs no Python: text, pictures, sliders"
    )
    paging.add_argument("out", type=Path, metavar="OUT", help="folder for the page; one that is there is replaced")
    for one in (training, sweeping, grading, writing, looking, asking, exporting, paging):
        one.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return whole


def _add_training(training):
    _add_base(training)
    training.add_argument("--data", type=Path, required=True, help="examples, one JSON object a line")
    training.add_argument("--out", type=Path, required=True, help="folder for the adapter, in PEFT's format")
    training.add_argument(
        "--validation", type=_held_out, metavar="FILE|SHARE",
        help="held-out examples, or the share of --data to hold out: the adapter of their lowest loss is saved",
    )  # fmt: skip
    training.add_argument("--rank", type=int, default=8)
    training.add_argument("--alpha", type=float, default=None, help="strength; the rank if left out")
    training.add_argument("--dropout", type=float, default=0.0)
    training.add_argument("--targets", type=_targets, default=None, help="layers, such as q_proj,v_proj, or all-linear")
    training.add_argument("--lr", type=_positive(float), default=1e-3)
    training.add_argument("--schedule", choices=DECAYS, default="constant", help="how the rate falls after its warm-up")
    training.add_argument(
        "--warmup", type=float, help="share of the steps in which the rate rises; 0.1, or 0 for a constant one"
    )
    training.add_argument("--steps", type=_positive(int), default=60)
    training.add_argument("--batch-size", type=_positive(int), default=6)
    training.add_argument(
        "--accumulate", type=_positive(int), default=1, help="batches that make one step, in the memory of one"
    )
    training.add_argument(
        "--max-length", type=_positive(int),
        help="most tokens of an example: longer ones are cut; without it one of more than 2048 is refused",
    )  # fmt: skip
    training.add_argument("--seed", type=_seed, default=0)
    training.add_argument("--checkpoint", type=Path, help="folder for the run's state; a killed run resumes from it")
    training.add_argument("--overwrite", action="store_true", help="replace the adapter in --out")
    training.add_argument("--capture", action="store_true", help="on a GPU: record each step as one CUDA graph")
    training.add_argument("--shard", action="store_true", help="under torchrun: each process holds a part of the base")


def _add_base(parser):
    parser.add_argument("--base", default="smollm2", help=KNOWN)
    parser.add_argument("--quantize", choices=QUANTIZERS, help="quantise the base's linear layers, as QLoRA does it")
    parser.add_argument("--device", type=_device, default="", help="cpu, cuda or mps; the fastest there is")


def _device(name):
    import torch

    there = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    there += ["cuda"] * bool(there) + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if name not in ("", *there):
        raise argparse.ArgumentTypeError(f"{name} is not here; there is {', '.join(there)}")
    number = os.environ.get("LOCAL_RANK")
    if number is not None and torch.cuda.device_count() > 1 and name in ("", "cuda"):
        return torch.device("cuda", int(number))  # of several processes each has its own
    return torch.device(name or there[0])


def _targets(text):
    names = [name.strip() for name in text.split(",") if name.strip()]
    return "all-linear" if names == ["all-linear"] else names


def _held_out(text):
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1 (a file of that name is ./{text})")
    return share


def _seed(text):
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 2**63 - 1")
    return value


_seed.__name__ = "whole number"  # as argparse calls it


def _several(kind):
    def several(text):
        return [_positive(kind)(one) for one in text.split(",")]

    several.__name__ = f"list of {kind.__name__}s"
    return several


def _positive(kind):
    def positive(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    positive.__name__ = f"positive {kind.__name__}"
    return positive
