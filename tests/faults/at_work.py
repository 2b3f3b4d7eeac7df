"""Processes to be killed while they work: one imports all there is to import, and each piece of work is a fork of it.

python -m tests.faults.at_work  reads a line of JSON for each piece, and says the fork's number and how it ended.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = 30


class Workers:
    """Context manager: starts pieces of work, `begin`, and waits for them, `end`."""

    def __enter__(self):
        own = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-m", "tests.faults.at_work"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own, cwd=ROOT
        )
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def begin(self, work, **arguments):
        """Start a function of this file; return the number of its process."""
        self.process.stdin.write(json.dumps([work, arguments]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        """Wait for it; return its status, or minus the signal that ended it."""
        return int(self.process.stdout.readline())

    def run(self, work, **arguments):
        """Let a piece of work come to its end; return the seconds it took."""
        started = time.perf_counter()
        self.begin(work, **arguments)
        status = self.end()
        assert status == 0, f"{work}({arguments}) ended with status {status}"
        return time.perf_counter() - started

    def hit(self, signal_number, after, work, **arguments):
        """Start a piece of work, send it a signal ``after`` so many seconds, and return its status.

        The seconds count from when the file ``begun`` is there, where the work writes one.
        """
        process = self.begin(work, **arguments)
        if "begun" in arguments:
            until(Path(arguments["begun"]).exists)
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):  # it has come to its end
            os.kill(process, signal_number)
        return self.end()


def until(true, seconds=120):
    """Wait until the function ``true`` says so; AssertionError if it doesn't in so many seconds."""
    last = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < last, f"not so within {seconds} s"
        time.sleep(0.01)


def train(case, folder, out, every=1, steps=STEPS):
    """Train ``case`` with its checkpoint in ``folder``; at the end write what came of it into the file ``out``."""
    from lora_teach import training_steps

    import torch

    calls = []
    model, batches, loss_fn, options = make(case)
    scheduler = options.pop("scheduler", None)

    def counted(*arguments):
        calls.append(1)
        return loss_fn(*arguments)

    counted.__qualname__ = "counted"
    losses = []
    for step in training_steps(model, batches, counted, steps=steps, seed=4, checkpoint=folder,
                               checkpoint_every=every, **options):  # fmt: skip
        losses.append(step.loss)
        if scheduler is not None:
            scheduler.step()
    torch.save({"state": model.state_dict(), "losses": losses, "executed": len(calls)}, out)


def make(case):
    """Return the model, data, loss and options of a training, the same each time."""
    from lora_teach import LoRAModel

    import torch
    from torch import nn

    torch.manual_seed(0)
    dropout = 0.3 if case == "dropout" else 0.0
    base = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(dropout), nn.Linear(16, 3))
    dtype = torch.bfloat16 if case == "bfloat16" else torch.float32
    inputs, targets = torch.randn(40, 6).to(dtype), torch.randint(0, 3, (40,))
    model = LoRAModel(base.to(dtype), rank=2, dropout=dropout)
    batches = [(inputs[at : at + 8], targets[at : at + 8]) for at in range(0, 40, 8)]
    options = {"lr": 1e-2}
    if case == "shuffling loader":
        data = torch.utils.data.TensorDataset(inputs, targets)
        batches = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
    if case == "schedule":
        options["schedule"] = lambda done: 1 - done / 2
    if case == "own optimiser":
        optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.5)
        options |= {"optimizer": optimizer, "scheduler": scheduler}
    return model, batches, lambda output, wanted: nn.functional.cross_entropy(output.float(), wanted), options


CASES = ("shuffling loader", "dropout", "bfloat16", "schedule", "own optimiser")


def save(folder):
    """Save two adapters into one folder in turn, without end."""
    from tests.peft_format.test_swap import NEW, OLD, model_of

    models = model_of(OLD, 1), model_of(NEW, 2)
    while True:
        for model in models:
            model.save_adapter(folder)


def hold(folder, until):
    """Train with a checkpoint in ``folder``, and wait after the first step until the file ``until`` is there."""
    from lora_teach import training_steps

    model, batches, loss_fn, options = make(CASES[0])
    for _ in training_steps(model, batches, loss_fn, steps=3, checkpoint=folder, checkpoint_every=1, **options):
        while not Path(until).exists():
            time.sleep(0.01)


def command(arguments, said):
    """Run the command line; what it prints goes into the file ``said``."""
    from lora_teach import cli

    with open(said, "w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.exit(cli.main(arguments))


def live(out, begun):
    """Train in an asynchronous cell; write the history's length, why it stopped and the adapter into ``out``.

    The file ``begun`` is there from the first step on.
    """
    import asyncio

    from lora_teach.live import train_live

    import torch

    model, batches, loss_fn, options = make("schedule")

    def told_at_first(*arguments):
        Path(begun).touch()
        return loss_fn(*arguments)

    async def cell():
        return await train_live(model, batches, told_at_first, steps=4000, seed=4, **options)

    history = asyncio.run(cell())
    told = {"steps": len(history), "stopped": history.stopped, "state": model.state_dict()}
    torch.save(told, out)


def lap(folder, setting):
    """Do what a user does in one of the settings of lap.py."""
    from tests.faults import lap

    lap.lap(folder, setting)


def moments(count, longest, seed=0):
    """Return so many random moments, in seconds, of something that takes ``longest``."""
    chance = random.Random(seed)
    return [chance.uniform(0, longest) for _ in range(count)]


def main():
    """Serve the pieces of work until the input ends."""
    import importlib

    importlib.import_module("torch._dynamo")
    importlib.import_module("tests.peft_format.test_swap")
    importlib.import_module("lora_teach.live")
    importlib.import_module("tests.faults.lap")
    print("ready", flush=True)
    for line in sys.stdin:
        work, arguments = json.loads(line)
        process = os.fork()
        if not process:
            status = 1
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(2, 1)
            try:
                globals()[work](**arguments)
                status = 0
            except SystemExit as error:
                status = error.code
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
