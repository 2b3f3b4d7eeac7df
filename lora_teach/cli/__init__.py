"""The command line: ``python -m lora_teach open | train | generate | xray | doctor``.

Progress goes to stderr, results to stdout or into the file that is named. The exit status is 0 when it was done, and 2
for bad input, with one line that says what and where; 1 when a training blew up, and 130 when it was interrupted.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path

from lora_teach.bases.registry import load_base
from lora_teach.cli.options import parse
from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.utils.atomic_write import replace_file
from lora_teach.utils.outputs import check_new_file, check_new_folder

FIRST = Path(__file__).resolve().parents[2] / "notebooks" / "00_start_here.ipynb"
PLAIN = str.maketrans({"‖": "|", "Δ": "d"})


class BadInput(Exception):
    """What the user gave can't be used; the message is the line that is shown."""


def main(arguments=None):
    """Run one command and return its exit status."""
    options = parse(arguments)
    commands = {"open": open_course, "train": train, "generate": generate, "xray": show_xray, "doctor": show_doctor}
    try:
        status = commands[options.command](options)
        sys.stdout.flush()
        return status or 0
    except KeyboardInterrupt:
        _say(f"lora_teach {options.command}: interrupted")
        return 130
    except BrokenPipeError:  # whoever read the results, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit:
        raise
    except BaseException as error:  # of any library on bad input; a panic in Rust is no Exception
        if getattr(options, "debug", False):
            traceback.print_exc()
        _say(f"lora_teach {options.command}: {_in_words(error)}")
        return 1 if type(error).__name__ == "NonFiniteLoss" else 2


def open_course(options):
    """Open the first notebook in JupyterLab."""
    if not FIRST.is_file():
        raise BadInput(f"{FIRST} is missing: run this in a clone of the repository, installed by pip install -e .")
    try:
        subprocess.run([sys.executable, "-m", "jupyterlab", str(FIRST), *options.more], check=True)
    except subprocess.CalledProcessError as error:
        cure = "If it is not installed: pip install -r requirements.txt"
        raise BadInput(f"JupyterLab ended with status {error.returncode}. {cure}") from None


def train(options):
    """Train an adapter on a JSONL file and save it in PEFT's format."""
    from lora_teach import LoRAModel
    from lora_teach import train as train_loop

    with _about("--out", options.out):
        check_new_folder(options.out, (CONFIG_FILE, WEIGHTS_FILE), options.overwrite, [options.base])
    if options.checkpoint is not None:
        with _about("--checkpoint", options.checkpoint):
            check_new_folder(options.checkpoint, ["checkpoint.pt"], overwrite=True, inputs=[options.base, options.out])
    base = _load_base(options.base, options.quantize)
    examples = base.read(options.data)
    batches = base.batches(examples, options.batch_size, options.seed, options.max_length)
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
    _save(model, options.out)
    recent = history.loss[-10:]
    _say(f"loss {history.loss[0]:.3f} at the first step, {sum(recent) / len(recent):.3f} over the last {len(recent)}")
    print(options.out)
    if history.stopped:
        _say(f"lora_teach train: {history.stopped}; the adapter is that of the last step")
        return 130


def generate(options):
    """Answer a prompt, or every line of a file, with the base alone or with an adapter over it."""
    from lora_teach import LoRAModel

    if (options.prompt is None) == (options.data is None):
        raise BadInput("give either a PROMPT or --data FILE.jsonl")
    if options.out is not None and options.data is None:
        raise BadInput("--out takes the answers to --data; the answer to a PROMPT is printed.")
    if options.out is not None:
        read = [options.data, *_files(options.adapter), *_files(options.base)]
        with _about("--out", options.out):
            options.out = check_new_file(options.out, options.overwrite, read)
    base = _load_base(options.base, options.quantize)
    examples = [base.asked(options.prompt)] if options.data is None else base.read(options.data, completions=False)
    base.model.to(options.device)
    model = base.model
    if options.adapter is not None:
        with _about("--adapter", options.adapter):
            model = LoRAModel.from_pretrained(base.model, options.adapter)
    answers = base.answer(model, examples, options.max_new_tokens)
    if options.data is None:
        _print(answers[0])
        return
    pairs = [
        {"prompt": base.prompt_of(example), "completion": answer}
        for example, answer in zip(examples, answers, strict=True)
    ]
    lines, plain = ("\n".join(json.dumps(pair, ensure_ascii=ascii) for pair in pairs) for ascii in (False, True))
    if options.out is None:
        _print(lines, plain)
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(options.out, lambda path: path.write_text(f"{lines}\n", encoding="utf-8"))
    _say(f"{len(pairs)} answers in {options.out}")


def show_xray(options):
    """Print what is in an adapter, and where it departs from PEFT's format."""
    from lora_teach.peft_format.xray import xray

    base = None if options.base is None else _load_base(options.base).model
    with _about("FOLDER", options.folder):
        _print(str(xray(options.folder, base)))


def show_doctor(options):
    """Print why an adapter may have no effect, or a wrong one, on its base and data."""
    from lora_teach.doctor.folder import diagnose_folder

    if options.base is None and options.data is not None:
        raise BadInput("--data needs the base that reads it. Add --base.")
    base = None if options.base is None else _load_base(options.base)
    batch = None if options.data is None else next(iter(base.batches(base.read(options.data), 4, seed=0)))
    model, loss_fn = (None, None) if base is None else (base.model, base.loss_fn)
    with _about("FOLDER", options.folder):
        _print(str(diagnose_folder(options.folder, model, batch, loss_fn)))


def _load_base(name, quantize=None):
    with _about("--base", name):
        return load_base(name, _say, quantize)


def _save(model, folder):
    """Save the adapter, or if that fails, where it can be: a training's result is never lost."""
    try:
        model.save_adapter(folder)
    except Exception as error:
        rescue = tempfile.mkdtemp(prefix="lora_teach-")
        model.save_adapter(rescue)
        raise BadInput(f"--out {folder} can't be written ({_in_words(error)}). The adapter is in {rescue}") from error


@contextmanager
def _about(option, value):
    """Within the block an error says which option it is about, and what was given."""
    try:
        yield
    except Exception as error:
        said = _in_words(error)
        raise BadInput(f"{option}: {said}" if said.startswith(str(value)) else f"{option} {value}: {said}") from error


def _in_words(error):
    """Return one line; the kind of an error, if it is not one that we or the system put into words."""
    words = " ".join(str(error).split())
    known = isinstance(error, BadInput | OSError | ValueError | TypeError | ArithmeticError)
    return words if words and known else f"{type(error).__name__}: {words} (--debug shows where)"


def _files(folder):
    """List the files of a folder that is given as an option, if it is one."""
    return list(Path(folder).iterdir()) if folder is not None and Path(folder).is_dir() else []


def _print(text, plain=None):
    """Print ``text``, or in its place, where the output's encoding lacks a sign of it, what says the same in ASCII."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = plain or text.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    print(text)


def _say(line):
    print(line, file=sys.stderr, flush=True)
