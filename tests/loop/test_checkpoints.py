"""A killed run that is started again ends bit-identical to one that was never killed."""

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from lora_teach import LoRAModel, train
from lora_teach.utils.atomic_write import replace_file

RUN = """
    import os, sys, torch
    from torch import nn
    from lora_teach import LoRAModel, training_steps

    def make():
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        data = torch.utils.data.TensorDataset(torch.randn(40, 6), torch.randint(0, 3, (40,)))
        return LoRAModel(base, rank=2, dropout=0.2), torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)

    def run(folder, kill_after=None, **options):
        model, batches = make()
        losses = []
        options = {"lr": 1e-2, "steps": 23, "seed": 3, "checkpoint_every": 4} | options
        for step in training_steps(model, batches, nn.functional.cross_entropy, checkpoint=folder, **options):
            losses.append(step.loss)
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


def test_a_finished_run_is_restored_without_a_further_step(tmp_path, run):
    model, losses = run(tmp_path)
    again, losses_again = run(tmp_path)
    assert losses_again == losses
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path, run):
    run(tmp_path)
    with pytest.raises(ValueError, match="lr=0.01, and this one has lr=0.02"):
        run(tmp_path, lr=2e-2)


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


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    place = tmp_path / "file.txt"
    replace_file(place, lambda file: file.write_text("old"))

    def fails(file):
        file.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(place, fails)
    assert place.read_text() == "old" and list(tmp_path.iterdir()) == [place]
