"""A notebook's kernel is restarted, or killed, while a cell trains; then its cells are run again, as a learner does."""

import os
import signal

from tests.faults.at_work import until
from tests.live.test_kernel import Page
from tests.peft_format.folders import WEIGHTS
from tests.toy import same_bits

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there a process is stopped in other ways")
STEPS, KEPT = 20, 7
SET_UP = """
from pathlib import Path
import torch
from lora_teach import LoRAModel, train
from lora_teach.live import train_live
from tests.faults.at_work import make

model, batches, loss_fn, options = make("shuffling loader")
folder, executed = Path({folder!r}), []
"""
SAVE = "model.save_adapter(folder / 'adapter')"
TRAIN = f"""
def counted(output, targets):
    executed.append(1)
    if waits and len(executed) == {KEPT} + 1:
        (folder / "waiting").touch()
        while True: pass
    return loss_fn(output, targets)

plan = dict(steps={STEPS}, seed=4, checkpoint=folder / "run", checkpoint_every=1, **options)
history = CALL(model, batches, counted, **plan)
"""


@pytest.mark.parametrize(("end", "call"), [("restarted", "train"), ("killed", "await train_live")])
def test_after_the_cells_are_run_again_the_training_has_resumed_and_no_file_is_broken(
    end, call, kernel, tmp_path, whole
):
    cells = [SET_UP.format(folder=str(tmp_path)), SAVE, TRAIN.replace("CALL", call)]
    kernel.run("waits = True")
    for cell in cells[:-1]:
        kernel.run(cell)
    adapter = load_file(tmp_path / "adapter" / WEIGHTS)
    kernel.start(cells[-1])
    until((tmp_path / "waiting").exists)
    kernel.again(killed=end == "killed")

    kernel.run("waits = False")
    for cell in cells:
        kernel.run(cell)
    steps, executed, losses = kernel.value("(len(history), len(executed), history.loss)")
    kernel.run("torch.save(model.state_dict(), folder / 'state.pt')")
    assert steps == STEPS and executed == STEPS - KEPT
    assert losses == whole["losses"] and same_bits(torch.load(tmp_path / "state.pt", weights_only=True), whole["state"])
    assert same_bits(load_file(tmp_path / "adapter" / WEIGHTS), adapter)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["checkpoint.lock", "checkpoint.pt"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, workers):
    """What comes of the same training when nothing interrupts it, in a process of its own."""
    place = tmp_path_factory.mktemp("whole")
    workers.run("train", case="shuffling loader", folder=str(place / "run"), out=str(place / "out.pt"), steps=STEPS)
    return torch.load(place / "out.pt", weights_only=True)


class Kernel(Page):
    def again(self, killed):
        """Start a new kernel in the place of this one, which works, and wait until it answers."""
        if killed:
            os.kill(self.manager.provisioner.pid, signal.SIGKILL)
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)


@pytest.fixture(scope="module")
def kernel():
    opened = Kernel()
    yield opened
    opened.close()
