"""What several processes do, each of them this file, started by torchrun: see test_distributed.py.

torchrun --standalone --nproc-per-node 2 tests/loop/processes_at_work.py FOLDER [die]
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

from lora_teach import LoRAModel, train, training_steps
from lora_teach.utils import processes
from lora_teach.utils.processes import whole
from tests.tiny_language_model import tiny_model
from tests.toy import TinyGPT, filled, mlp, numbers, pairs, tokens

import torch
from torch import nn

mse = nn.functional.mse_loss


def letters(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def still(tied=True, **options):
    """A TinyGPT under an adapter, without the base's dropout."""
    model = TinyGPT(tied=tied)
    for block in model.blocks:
        block.dropout.p = 0.0
    return filled(LoRAModel(model, **options))


def ragged(seed, rows=4):
    """Rows of letters with 1 to 5 targets each; the last rows of some batches have none at all."""
    targets = tokens(rows, 5, seed=seed + 50)
    for row in range(rows):
        targets[row, : (row + seed) % 5] = -100
    if seed % 2:
        targets[rows // 2 :] = -100
    return tokens(rows, 5, seed=seed), targets


def chats(count=5):
    made = []
    for seed in range(count):
        ids, labels = ragged(seed)
        made.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "use_cache": False})
    return made


UNEVEN = [(numbers(rows, 6, seed=rows), numbers(rows, 4, seed=rows + 50)) for rows in (8, 7, 1, 2)]
LETTERS = [ragged(seed) for seed in range(5)]
CASES = {  # what is trained, its batches, its loss, the options
    "numbers": (lambda: filled(LoRAModel(mlp())), UNEVEN, mse, {"weight_decay": 0.1, "max_grad_norm": 0.5}),
    "letters": (still, LETTERS, letters, {"schedule": lambda done: 1 - done / 2}),
    "chats": (lambda: filled(LoRAModel(tiny_model(), rank=2), std=0.1), chats(), None, {}),
    "accumulated": (still, LETTERS, letters, {"accumulate": 3}),
    "rank 1": (partial(still, rank=1, learnable_scaling=True), LETTERS, letters, {}),
    "saved modules": (
        partial(still, target_modules=["q_proj"], modules_to_save=["norm"]),
        LETTERS,
        letters,
        {},
    ),
    "dora": (partial(still, variant="dora"), LETTERS, letters, {}),
    "pissa": (partial(still, variant="pissa"), LETTERS, letters, {}),
    "new tokens": (partial(still, tied=False, trainable_token_indices={"embedding": [3, 7]}), LETTERS, letters, {}),
    "whole": (mlp, pairs(), mse, {}),
}


def run(case, **more):
    """Train one of the cases for 20 steps; return its losses and what it trained."""
    make, batches, loss_fn, options = CASES[case]
    model = make()
    history = train(model, batches, loss_fn, lr=1e-2, steps=20, progress=False, **options, **more)
    return {"loss": history.loss, "trained": trained(model)}


def trained(model):
    return {name: whole(p.detach()).clone() for name, p in model.named_parameters() if p.requires_grad}


def own_optimizer(**more):
    model = filled(LoRAModel(mlp()))
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.05, momentum=0.9)
    history = train(model, UNEVEN, mse, steps=20, optimizer=optimizer, progress=False, **more)
    return {"loss": history.loss, "trained": trained(model)}


def sometimes_unused(**more):
    """A branch that only some batches use, and only some rows of them."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.often, self.seldom = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x):
            return self.often(x) + (self.seldom(x) if x[0, 0] > 0 else 0)

    torch.manual_seed(0)
    model = filled(LoRAModel(Branches()))
    batches = [(numbers(4, 6, seed=n), numbers(4, 4, seed=n + 9)) for n in range(6)]
    for n, (inputs, _) in enumerate(batches):
        inputs[:, 0] = 1.0 if n % 3 == 0 else -1.0
    history = train(model, batches, mse, lr=1e-2, steps=20, progress=False, **more)
    return {"loss": history.loss, "trained": trained(model)}


def kept(folder, seen=None, **more):
    """A run with dropout and a look at held-out batches that is kept in ``folder``, and left after ``seen`` steps."""
    model = filled(LoRAModel(TinyGPT(), dropout=0.2))
    loader = torch.utils.data.DataLoader(
        [tuple(pair) for pair in zip(*ragged(0, rows=9), strict=True)], 4, shuffle=True
    )
    options = {"lr": 1e-2, "steps": 14, "checkpoint": folder, "checkpoint_every": 5, "validation": LETTERS[:1]} | more
    losses = []
    for step in training_steps(model, loader, letters, **options):
        losses.append(step.loss)
        if step.index == seen:
            break
    return {"loss": losses, "trained": trained(model)}


def looked_at(**more):
    """A run that looks at held-out batches, and at the model itself, before, between and after the steps."""
    model, seen = still(), []
    with torch.no_grad():
        model(LETTERS[0][0])
    options = {"lr": 0.1, "steps": 12, "validation": LETTERS[2:], "validate_every": 3}
    for _ in training_steps(model, LETTERS[:2], letters, **options, **more):
        with torch.no_grad():
            seen.append(letters(model(LETTERS[0][0]), LETTERS[0][1]).item())
    return {"loss": seen, "trained": trained(model)}


def error_of(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def other_data():
    batches = [(numbers(4, 6, seed=processes.rank()), numbers(4, 4))]
    train(LoRAModel(mlp()), batches, mse, steps=2, progress=False)


def other_base():
    train(LoRAModel(mlp(seed=processes.rank())), pairs(), mse, steps=2, progress=False)


def blown_up():
    batches = pairs(3)
    batches[2][0][-1] = float("nan")  # in the rows of the last process
    train(filled(LoRAModel(mlp())), batches, mse, steps=5, progress=False)


def nothing_is_written(*_, **__):
    raise AssertionError("this process is not the one that writes")


def work(folder):
    """Run everything and leave what came out, one file for each process."""
    done = {"rank": None}
    for shard in (False, True):
        for case in CASES:
            done[case, shard] = run(case, shard=shard)
        done["unused", shard] = sometimes_unused() if not shard else None
        whole_run = kept(folder / f"whole-{shard}", shard=shard)
        if not processes.is_writer():
            replace, os.replace = os.replace, nothing_is_written
        kept(folder / f"broken-{shard}", seen=12, shard=shard)
        model = filled(LoRAModel(mlp()))
        train(model, pairs(), mse, steps=3, progress=False, shard=shard)
        model.save_adapter(folder / f"adapter-{shard}")
        if not processes.is_writer():
            os.replace = replace
        done["kept", shard] = whole_run, kept(folder / f"broken-{shard}", shard=shard)
        done["adapter", shard] = trained(model)
        done["looked at", shard] = looked_at(shard=shard)
    done["own optimizer"] = own_optimizer()
    done["own optimizer in shards"] = error_of(own_optimizer, shard=True)
    done["other data"], done["other base"] = error_of(other_data), error_of(other_base)
    done["blown up"] = error_of(blown_up)
    with processes.apart():
        done["apart"] = run("numbers")
    done["rank"] = processes.rank()
    torch.save(done, folder / f"done-{processes.rank()}.pt")


def die(folder):
    """Train until process 1 is killed, as a machine without memory kills, or raises an error."""
    model = filled(LoRAModel(mlp()))
    for step in training_steps(model, pairs(), mse, steps=10**6, checkpoint=folder, checkpoint_every=5):
        if step.index == 12 and processes.rank() == 1:
            if sys.argv[2] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the disk of process 1 is gone")


if __name__ == "__main__":
    torch.set_num_threads(1)
    (work if len(sys.argv) == 2 else die)(Path(sys.argv[1]))
