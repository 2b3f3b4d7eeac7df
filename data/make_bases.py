"""Pretrain the two small bases: NameGPT on English names, DigitNet on upright digits.

    python data/make_bases.py [--out data]          about a minute on one CPU core

Writes name_gpt.safetensors and digit_net.safetensors; the loss and how it came about are in the files' metadata.
"""

import argparse
import copy
import math
import time
from pathlib import Path

from lora_teach.bases.digit_net import DigitNet, accuracy
from lora_teach.bases.name_gpt import NameGPT, evaluate, name_loss
from lora_teach.datasets import digits, names

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SEED = 0


def fit(model, sample, loss_fn, validate, *, steps, lr, weight_decay, check_every):
    """Train ``model`` in place with AdamW, a short warm-up and a cosine decay, and keep its best checkpoint.

    Args:
        sample: Called with no argument, gives the next ``(inputs, targets)``.
        validate: Called with the model, gives the validation loss; the checkpoint with the lowest is kept.

    Returns:
        ``(step, loss)`` of the checkpoint that was kept.
    """
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[name.startswith("embedding")].append(parameter)  # decay would pull letters that never occur together
    groups = [{"params": groups[False]}, {"params": groups[True], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.99))
    rate = lambda step: min(1.0, (step + 1) / 100) * (0.51 + 0.49 * math.cos(math.pi * step / steps))  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    best = (0, validate(model), copy.deepcopy(model.state_dict()))
    for step in range(1, steps + 1):
        inputs, targets = sample()
        loss = loss_fn(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % check_every == 0 or step == steps:
            validation = validate(model)
            print(f"  step {step:5}  validation {validation:.4f}", flush=True)
            if validation < best[1]:
                best = (step, validation, copy.deepcopy(model.state_dict()))
    model.load_state_dict(best[2])
    return best[:2]


def make_name_gpt(steps=1500):
    """Return a NameGPT trained on English names, and what to write beside it."""
    english = names.load("English")
    inputs, targets = names.encode(english.train)  # (names, seq) each
    draw = torch.Generator().manual_seed(SEED)

    def sample(batch_size=64):
        rows = torch.randint(len(inputs), (batch_size,), generator=draw)  # (batch,)
        seq = int((targets[rows] != names.IGNORED).sum(1).max())  # no more padding than this batch needs
        return inputs[rows, :seq], targets[rows, :seq]

    model = NameGPT(seed=SEED)
    step, loss = fit(
        model,
        sample,
        name_loss,
        validate=lambda model: evaluate(model, english.validation),
        steps=steps,
        lr=3e-3,
        weight_decay=0.1,
        check_every=100,
    )
    return model.eval(), describe(step, validation_loss=loss, test_loss=evaluate(model, english.test))


def make_digit_net(steps=600):
    """Return a DigitNet trained on upright digits, and what to write beside it."""
    upright = digits.upright()
    x, y = upright.train  # (batch, 64), (batch,)
    draw = torch.Generator().manual_seed(SEED)

    def sample(batch_size=64):
        rows = torch.randint(len(x), (batch_size,), generator=draw)  # (batch,)
        return x[rows], y[rows]

    def validate(model):
        with torch.no_grad():
            return F.cross_entropy(model(upright.validation[0]), upright.validation[1]).item()

    model = DigitNet(seed=SEED)
    step, loss = fit(model, sample, F.cross_entropy, validate, steps=steps, lr=3e-3, weight_decay=0.1, check_every=100)
    return model.eval(), describe(step, validation_loss=loss, test_accuracy=accuracy(model, *upright.test))


def describe(step, **figures):
    """Return the metadata of a checkpoint; safetensors takes text only."""
    metadata = {"command": "python data/make_bases.py", "seed": str(SEED), "step": str(step)}
    return metadata | {"torch": torch.__version__} | {name: f"{figure:.4f}" for name, figure in figures.items()}


def main():
    """Train both and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for make, file in ((make_name_gpt, "name_gpt.safetensors"), (make_digit_net, "digit_net.safetensors")):
        print(file)
        start = time.perf_counter()
        model, metadata = make()
        tensors = model.state_dict()
        if "head.weight" in tensors:
            del tensors["head.weight"]  # tied to the embedding: one copy is enough
        save_file(tensors, out / file, metadata)
        print(f"  {time.perf_counter() - start:.0f} s, {metadata}")


if __name__ == "__main__":
    main()
