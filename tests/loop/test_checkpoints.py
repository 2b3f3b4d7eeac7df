"""A killed run that is started again ends bit-identical to one that was never killed."""

import re
import subprocess
import sys
import textwrap

from lora_teach import LoRAModel, train

import pytest
import torch
from torch import nn

RUN = """
    import os, sys, torch
    from torch import nn
    from lora_teach import LoRAModel, training_steps

    def make():
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        data = torch.utils.data.TensorDataset(torch.randn(40, 6), torch.randint(0, 3, (40,)))
        return LoRAModel(base, rank=2, dropout=0.2), torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)

    def run(folder, kill_after=None, loss_fn=nn.functional.cross_entropy, seen=id, **options):
        model, batches = make()
        losses = []
        options = {"lr": 1e-2, "steps": 23, "seed": 3, "checkpoint_every": 4} | options
        for step in training_steps(model, batches, loss_fn, checkpoint=folder, **options):
            losses.append(step.loss)
            seen(step)
            if step.index == kill_after:
                os._exit(9)  # no cleaning up, as in a power cut
        return model, losses
"""


@pytest.fixture
def run():
    space = {}
    exec(textwrap.dedent(RUN), space)  # the same lines run here and in the process that is killed
    return space["run"]


def test_a_killed_run_ends_bit_identical_to_one_that_was_never_killed(tmp_path, run):
    whole, losses = run(tmp_path / "whole")
    killed = textwrap.dedent(RUN) + f"\nrun({str(tmp_path / 'killed')!r}, kill_after=14)\n"
    assert subprocess.run([sys.executable, "-c", killed]).returncode == 9
    resumed, resumed_losses = run(tmp_path / "killed")
    assert resumed_losses == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("killed_at", [4, 14, 22])
def test_a_resumed_run_executes_only_the_steps_after_its_last_checkpoint(tmp_path, run, killed_at):
    def stop_after(number):
        def loss_fn(output, targets):
            calls.append(1)
            if len(calls) > number:
                raise KeyboardInterrupt
            return nn.functional.cross_entropy(output, targets)

        return loss_fn

    calls = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, loss_fn=stop_after(killed_at))
    calls.clear()
    executed = []
    run(tmp_path, loss_fn=stop_after(99), seen=lambda step: executed.append((step.index, len(calls))))
    kept = killed_at // 4 * 4  # steps, one checkpoint every four
    assert len(calls) == 23 - kept
    assert executed == [(index, max(index - kept, 0)) for index in range(1, 24)]


@pytest.mark.parametrize(
    ("every", "steps", "expected"), [(3, 8, [3, 6, 8]), (4, 8, [4, 8]), (50, 7, [7]), (1, 2, [1, 2])]
)
def test_checkpoints_are_saved_at_every_nth_step_and_at_the_last(tmp_path, run, every, steps, expected):
    file, saved = tmp_path / "checkpoint.pt", []

    def look(step):
        if file.exists():
            saved.append((step.index, len(torch.load(file, weights_only=True)["steps"])))
            file.unlink()

    run(tmp_path, steps=steps, checkpoint_every=every, seen=look)
    assert saved == [(index, index) for index in expected]


def test_a_finished_run_is_restored_without_a_further_step(tmp_path, run):
    model, losses = run(tmp_path)
    again, losses_again = run(tmp_path)
    assert losses_again == losses
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("setting", "was", "other"),
    [("lr", 1e-2, 2e-2), ("steps", 23, 24), ("seed", 3, 4), ("betas", [0.9, 0.999], (0.8, 0.99)),
     ("weight_decay", 0.0, 0.1), ("max_grad_norm", None, 1.0)],
)  # fmt: skip
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, run, setting, was, other):
    run(tmp_path)
    this = list(other) if setting == "betas" else other
    with pytest.raises(ValueError, match=re.escape(f"{setting}={was!r}, and this one has {setting}={this!r}")):
        run(tmp_path, **{setting: other})


def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path, run):
    run(tmp_path)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged"):
        run(tmp_path)
    assert file.stat().st_size == 200


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path, run):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"settings": {}, "steps": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="damaged"):
        run(tmp_path)


def test_train_takes_a_checkpoint_folder(tmp_path):
    torch.manual_seed(0)
    batches = [(torch.randn(4, 6), torch.randn(4, 3))]
    model = LoRAModel(nn.Sequential(nn.Linear(6, 3)), rank=2)
    history = train(model, batches, nn.functional.mse_loss, steps=3, checkpoint=tmp_path, progress=False)
    assert len(history) == 3 and (tmp_path / "checkpoint.pt").is_file()
