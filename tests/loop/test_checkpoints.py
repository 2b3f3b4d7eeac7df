"""What a checkpoint keeps, when, and of which run; tests/faults/test_killed.py kills runs and resumes them."""

import re

from lora_teach import LoRAModel, train, training_steps

import pytest
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
    data = torch.utils.data.TensorDataset(torch.randn(40, 6), torch.randint(0, 3, (40,)))
    return LoRAModel(base, rank=2, dropout=0.2), torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)


def kept_run(folder, loss_fn=nn.functional.cross_entropy, seen=id, **options):
    model, batches = make()
    losses = []
    options = {"lr": 1e-2, "steps": 23, "seed": 3, "checkpoint_every": 4} | options
    for step in training_steps(model, batches, loss_fn, checkpoint=folder, **options):
        losses.append(step.loss)
        seen(step)
    return model, losses


@pytest.fixture
def run():
    return kept_run


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


def test_every_damaged_bit_is_seen_before_anything_is_written(tmp_path, run):
    run(tmp_path)
    file = tmp_path / "checkpoint.pt"
    whole = file.read_bytes()
    for place in range(3, len(whole), len(whole) // 60):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            _, losses = run(tmp_path)
        except ValueError as error:
            assert "damaged" in str(error)
        else:  # a bit that torch doesn't read, such as of a date
            file.write_bytes(whole)
            assert losses == run(tmp_path)[1]


@pytest.mark.parametrize(
    "change",
    [lambda s: s.pop("random"), lambda s: s.pop("digest"), lambda s: s["trained"].pop(), lambda s: s["steps"].pop(),
     lambda s: s["trained"][0].mul_(2), lambda s: s["optimizer"]["state"].clear()],
)  # fmt: skip
def test_a_whole_file_with_other_contents_is_refused_before_anything_is_written(tmp_path, run, change):
    run(tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    change(saved)
    torch.save(saved, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="damaged.*Delete it"):
        run(tmp_path)


@pytest.mark.parametrize("kind", ["a file in the way", "a folder in place of the file", "below a file"])
def test_a_checkpoint_that_can_not_be_written_is_found_before_the_first_step(tmp_path, run, kind):
    (tmp_path / "file").write_text("mine")
    folder = {"a file in the way": tmp_path / "file", "below a file": tmp_path / "file" / "x"}.get(
        kind, tmp_path / "kept"
    )
    if kind.startswith("a folder"):
        (folder / "checkpoint.pt").mkdir(parents=True)
    with pytest.raises(OSError, match="can't be written.*Use another"):
        run(folder, loss_fn=lambda *_: pytest.fail("a step was taken"))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("every", "kind"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), (None, TypeError)])
def test_a_bad_number_of_steps_between_two_savings_is_refused(tmp_path, run, every, kind):
    with pytest.raises(kind, match=f"checkpoint_every={every}"):
        run(tmp_path, checkpoint_every=every)


def test_a_disk_that_fills_up_in_the_run_leaves_the_model_and_the_history(tmp_path, monkeypatch):
    def full(place, write):
        raise OSError("no space left")

    model = LoRAModel(nn.Sequential(nn.Linear(6, 3)), rank=2)
    batches = [(torch.randn(4, 6), torch.randn(4, 3))]
    calls = []

    def loss_fn(output, targets):
        calls.append(1)
        if len(calls) == 2:
            monkeypatch.setattr("lora_teach.loop.checkpoints.replace_file", full)
        return nn.functional.mse_loss(output, targets)

    with pytest.raises(OSError, match="no space") as caught:
        train(model, batches, loss_fn, steps=8, checkpoint=tmp_path, checkpoint_every=4, progress=False)
    assert len(caught.value.history) == 3 and "error at step 4" in caught.value.history.stopped
    assert not list(tmp_path.glob(".*"))


SCHEDULERS = {
    "StepLR": lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5),
    "LambdaLR": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1, (step + 1) / 10)),
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
    "CyclicLR, back where it began": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.05, step_size_up=2),
    "CosineAnnealingLR": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 23),
}


@pytest.mark.parametrize("kind", [*SCHEDULERS, "by hand"])
@pytest.mark.parametrize("stop", [4, 9, 15])
def test_a_scheduler_of_the_users_own_decays_once(tmp_path, kind, stop):
    def rates(folder, stop=None):
        torch.manual_seed(0)
        model = LoRAModel(nn.Sequential(nn.Linear(6, 3)), rank=2)
        optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1, momentum=0.9)
        scheduler = None if kind == "by hand" else SCHEDULERS[kind](optimizer)
        seen, batches = [], [(torch.ones(4, 6), torch.ones(4, 3))]
        for step in training_steps(model, batches, nn.functional.mse_loss, steps=20, optimizer=optimizer,
                                   checkpoint=folder, checkpoint_every=4):  # fmt: skip
            seen.append((step.lr, step.loss))
            if scheduler is not None:
                scheduler.step()
            elif step.index == 6:
                optimizer.param_groups[0]["lr"] = 0.01
            if step.index == stop:
                break
        return seen, optimizer.param_groups[0]["lr"]

    whole = rates(tmp_path / "whole")
    rates(tmp_path / "killed", stop)
    assert rates(tmp_path / "killed") == whole


def test_a_setting_that_the_caller_does_not_move_again_is_the_one_that_was_kept(tmp_path):
    def run(moves):
        torch.manual_seed(0)
        model = LoRAModel(nn.Sequential(nn.Linear(6, 3)), rank=2)
        optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1)
        steps = training_steps(model, [(torch.ones(4, 6), torch.ones(4, 3))], nn.functional.mse_loss, steps=6,
                               optimizer=optimizer, checkpoint=tmp_path, checkpoint_every=2)  # fmt: skip
        for step in steps:
            if moves and step.index == 1:
                optimizer.param_groups[0]["lr"] = 0.02
            if moves and step.index == 4:
                break
            last = step.lr
        return last

    run(True)
    assert run(False) == 0.02
