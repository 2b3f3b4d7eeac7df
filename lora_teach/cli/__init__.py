"""The command line: ``python -m lora_teach open``, ``progress``, ``train``, ``eval``, ``generate`` and others.

Progress goes to stderr, results to stdout or into the file that is named. The exit status is 0 when it was done, and 2
for bad input, with one line that says what and where; 1 when a training blew up, and 130 when Ctrl-C interrupted it, or
143 when SIGTERM did, a request to come to an end: what was learned is saved first.
"""

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from lora_teach.cli.answers import evaluate, generate
from lora_teach.cli.common import BadInput, about, files_of, load, print_result, say, say_error
from lora_teach.cli.options import parse
from lora_teach.cli.sweep import sweep
from lora_teach.cli.training import train
from lora_teach.loop.interrupts import ended_by_sigterm
from lora_teach.utils.outputs import check_new_file

FIRST = Path(__file__).resolve().parents[2] / "notebooks" / "00_start_here.ipynb"


def main(arguments=None):
    """Run one command and return its exit status."""
    options = parse(arguments)
    commands = {
        "open": open_course, "progress": show_progress, "train": train, "eval": evaluate, "generate": generate,
        "xray": show_xray, "doctor": show_doctor, "export": export, "sweep": sweep, "page": page,
    }  # fmt: skip
    with ended_by_sigterm() as came:
        status = _run(commands[options.command], options)
    return 128 + signal.SIGTERM if came else status


def _run(command, options):
    """Run one command on its options and return its exit status; an error is told in a line."""
    try:
        status = command(options)
        sys.stdout.flush()
        return status or 0
    except KeyboardInterrupt:
        say(f"lora_teach {options.command}: interrupted")
        return 130
    except BrokenPipeError:  # whoever read the results, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit:
        raise
    except BaseException as error:  # of any library on bad input; a panic in Rust is no Exception
        if getattr(options, "debug", False):
            traceback.print_exc()
        say_error(options.command, error)
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


def show_progress(options):
    """Print which pieces of LoRA have passed and are kept."""
    from lora_teach.exercises.thread import FILE, receipt

    folder = options.folder or FIRST.parent
    if not folder.is_dir():
        raise BadInput(f"FOLDER {folder}: no such folder")
    receipt(folder / FILE)


def show_xray(options):
    """Print what is in an adapter, and where it departs from PEFT's format."""
    from lora_teach.peft_format.xray import xray

    base = None if options.base is None else load(options.base).model
    with about("FOLDER", options.folder):
        print_result(str(xray(options.folder, base)))


def show_doctor(options):
    """Print why an adapter may have no effect, or a wrong one, on its base and data."""
    from lora_teach.doctor.folder import diagnose_folder

    if options.base is None and options.data is not None:
        raise BadInput("--data needs the base that reads it. Add --base.")
    base = None if options.base is None else load(options.base)
    batch = None if options.data is None else next(iter(base.batches(base.read(options.data), 4, seed=0)))
    model, loss_fn = (None, None) if base is None else (base.model, base.loss_fn)
    with about("FOLDER", options.folder):
        print_result(str(diagnose_folder(options.folder, model, batch, loss_fn)))


def export(options):
    """Write an adapter as a GGUF file."""
    from lora_teach import LoRAModel
    from lora_teach.peft_format.gguf import save_gguf

    with about("--gguf", options.gguf):
        file = check_new_file(options.gguf, options.overwrite, [*files_of(options.adapter), *files_of(options.base)])
    base = load(options.base)
    with about("--adapter", options.adapter):
        model = LoRAModel.from_pretrained(base.model, options.adapter)
        save_gguf(model, file)
    say("It goes with a GGUF file of the same base: llama-cli -m BASE.gguf --lora " + str(options.gguf))
    print_result(str(options.gguf))


def page(options):
    """Build the course as a page."""
    try:
        from lora_teach.page.site import build
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed: pip install -r requirements.txt") from None
    with about("OUT", options.out):
        built = build(options.out, say=say)
    say(str(built))
    print_result(str(options.out / "index.html"))
