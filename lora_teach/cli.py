"""The command line: ``python -m lora_teach open | train | generate | xray | doctor``.

Progress goes to stderr, results to stdout or into the file that is named. The exit status is 0 when it was done, and 2
for bad input, with one line that says what and where; 1 when a training blew up.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from lora_teach.bases.registry import KNOWN, load_base

FIRST = Path(__file__).resolve().parents[1] / "notebooks" / "00_start_here.ipynb"
EXAMPLES = """examples:
  python -m lora_teach train --base smollm2 --data train.jsonl --rank 8 --alpha 16 --lr 1e-3 --steps 60 --out adapter
  python -m lora_teach generate --base smollm2 --adapter adapter "Who meets whom?"
  python -m lora_teach generate --base smollm2 --adapter adapter --data test.jsonl --out answers.jsonl
  python -m lora_teach xray adapter
  python -m lora_teach doctor adapter --base smollm2 --data train.jsonl

train.jsonl holds one {"prompt": …, "completion": …} or {"messages": […]} a line."""


class BadInput(Exception):
    """What the user gave can't be used; the message is the line that is shown."""


def main(arguments=None):
    """Run one command and return its exit status."""
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    if more and options.command != "open":
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    options.more = more
    try:
        options.run(options)
    except (BadInput, OSError, ValueError, TypeError) as error:
        print(f"lora_teach {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ArithmeticError as error:  # NonFiniteLoss
        print(f"lora_teach {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lora_teach {options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def open_course(options):
    """Open the first notebook in JupyterLab."""
    if not FIRST.is_file():
        raise BadInput(f"{FIRST} is missing: run this in a clone of the repository, installed by pip install -e .")
    subprocess.run([sys.executable, "-m", "jupyterlab", str(FIRST), *options.more], check=False)


def train(options):
    """Train an adapter on a JSONL file and save it in PEFT's format."""
    from lora_teach import LoRAModel
    from lora_teach import train as train_loop

    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())) and not options.overwrite:
        raise BadInput(f"--out {options.out} is there already and not empty. Name another folder, or add --overwrite.")
    base = load_base(options.base, _say)
    examples = base.read(options.data)
    batches = base.batches(examples, options.batch_size, options.seed)
    import torch

    base.model.to(options.device)
    torch.manual_seed(options.seed)  # of the adapter's start
    model = LoRAModel(
        base.model, rank=options.rank, alpha=options.alpha, dropout=options.dropout, target_modules=options.targets
    )
    trainable, total = model.count()
    _say(f"{len(examples)} examples; {trainable:,} of {total:,} parameters train, in {len(model.lora_layers)} layers")
    history = train_loop(
        model, batches, base.loss_fn, lr=options.lr, steps=options.steps, checkpoint=options.checkpoint,
        seed=options.seed,
    )  # fmt: skip
    if not len(history):
        raise KeyboardInterrupt
    model.save_adapter(options.out)
    recent = history.loss[-10:]
    _say(f"loss {history.loss[0]:.3f} at the first step, {sum(recent) / len(recent):.3f} over the last {len(recent)}")
    if history.stopped:
        _say(history.stopped)
    print(options.out)


def generate(options):
    """Answer a prompt, or every line of a file, with the base alone or with an adapter over it."""
    from lora_teach import LoRAModel

    if (options.prompt is None) == (options.data is None):
        raise BadInput("give either a PROMPT or --data FILE.jsonl")
    if options.out is not None and options.data is None:
        raise BadInput("--out takes the answers to --data; the answer to a PROMPT is printed.")
    base = load_base(options.base, _say)
    examples = [base.asked(options.prompt)] if options.data is None else base.read(options.data, completions=False)
    base.model.to(options.device)
    model = base.model if options.adapter is None else LoRAModel.from_pretrained(base.model, options.adapter)
    answers = base.answer(model, examples, options.max_new_tokens)
    if options.data is None:
        print(answers[0])
        return
    pairs = zip(map(base.prompt_of, examples), answers, strict=True)
    lines = [json.dumps({"prompt": prompt, "completion": answer}, ensure_ascii=False) for prompt, answer in pairs]
    if options.out is None:
        print("\n".join(lines))
        return
    from lora_teach.utils.atomic_write import replace_file

    options.out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(options.out, lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8"))
    _say(f"{len(lines)} answers in {options.out}")


def show_xray(options):
    """Print what is in an adapter, and where it departs from PEFT's format."""
    from lora_teach.peft_format.xray import xray

    base = None if options.base is None else load_base(options.base, _say).model
    print(xray(options.folder, base))


def show_doctor(options):
    """Print why an adapter may have no effect, or a wrong one, on its base and data."""
    from lora_teach.doctor.folder import diagnose_folder

    if options.base is None and options.data is not None:
        raise BadInput("--data needs the base that reads it. Add --base.")
    base = None if options.base is None else load_base(options.base, _say)
    batch = None if options.data is None else next(iter(base.batches(base.read(options.data), 4, seed=0)))
    model, loss_fn = (None, None) if base is None else (base.model, base.loss_fn)
    print(diagnose_folder(options.folder, model, batch, loss_fn))


def _say(line):
    print(line, file=sys.stderr, flush=True)


def _parser():
    whole = argparse.ArgumentParser(
        prog="python -m lora_teach", description="LoRA from the command line.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = whole.add_subparsers(dest="command", required=True, metavar="open | train | generate | xray | doctor")

    opening = commands.add_parser("open", help="open the course; other options go to jupyter lab, such as --no-browser")
    opening.set_defaults(run=open_course)

    training = commands.add_parser("train", help="train an adapter on a JSONL file")
    _add_base(training)
    training.add_argument("--data", type=Path, required=True, help="examples, one JSON object a line")
    training.add_argument("--out", type=Path, required=True, help="folder for the adapter, in PEFT's format")
    training.add_argument("--rank", type=int, default=8)
    training.add_argument("--alpha", type=float, default=None, help="strength; the rank if left out")
    training.add_argument("--dropout", type=float, default=0.0)
    training.add_argument("--targets", type=_names, default=None, help="layers, such as q_proj,v_proj; all linear ones")
    training.add_argument("--lr", type=_positive(float), default=1e-3)
    training.add_argument("--steps", type=_positive(int), default=60)
    training.add_argument("--batch-size", type=_positive(int), default=6)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--checkpoint", type=Path, help="folder for the run's state; a killed run resumes from it")
    training.add_argument("--overwrite", action="store_true", help="replace the adapter in --out")
    training.set_defaults(run=train)

    writing = commands.add_parser("generate", help="let the model answer, greedily")
    _add_base(writing)
    writing.add_argument("prompt", nargs="?", metavar="PROMPT")
    writing.add_argument("--adapter", type=Path, help="folder of an adapter; without it the base alone answers")
    writing.add_argument("--data", type=Path, help="prompts, one JSON object a line")
    writing.add_argument("--out", type=Path, help="file for the answers, one JSON object a line; else they are printed")
    writing.add_argument("--max-new-tokens", type=_positive(int), default=128)
    writing.set_defaults(run=generate)

    looking = commands.add_parser("xray", help="show what is in an adapter, and lint it")
    looking.add_argument("folder", type=Path, metavar="FOLDER")
    looking.add_argument("--base", help=f"{KNOWN}, to compare its weights with")
    looking.set_defaults(run=show_xray)

    asking = commands.add_parser("doctor", help="say why an adapter has no effect, or a wrong one")
    asking.add_argument("folder", type=Path, metavar="FOLDER")
    asking.add_argument("--base", help=f"{KNOWN}, that the adapter is for")
    asking.add_argument("--data", type=Path, help="examples, one JSON object a line, of which some are tried")
    asking.set_defaults(run=show_doctor)
    return whole


def _add_base(parser):
    parser.add_argument("--base", default="smollm2", help=KNOWN)
    parser.add_argument("--device", type=_device, default="", help="cpu, cuda or mps; the fastest there is")


def _device(name):
    import torch

    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if name.partition(":")[0] not in ("", *there):
        raise argparse.ArgumentTypeError(f"{name} is not here; there is {', '.join(there)}")
    return torch.device(name or there[0])


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _positive(kind):
    def positive(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    positive.__name__ = f"positive {kind.__name__}"
    return positive
