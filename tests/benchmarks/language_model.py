"""What an adapter costs SmolLM2: a forward, 24 tokens of greedy generation, a step on chats; and what loading takes.

    python tests/benchmarks/language_model.py [--rounds 9] [--threads 1] [--device cpu] [--cold]

The base alone, with an adapter of rank 8 on every linear layer, and with the same adapter merged. The three take their
turn in each round, in a shuffled order, and each ratio is taken within a round: medians with quartiles. A training step
on notebook 07's chats is timed with all logits and with those that labels count for, as `train` has it. On a CPU the
clock is the process's own CPU time. Loading is timed by the wall, in a process of its own, the files in the system's
cache; ``--cold`` first fetches the model (93 MB) into a temporary folder.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

from lora_teach import LoRAModel
from lora_teach.bases.smollm2 import CACHE, fetch, load_smollm2
from lora_teach.datasets import appointments, chats
from lora_teach.loop.batches import loss_of, to_device
from lora_teach.loop.needed_logits import where_labels_count

import torch

PROMPT = "Explain in two sentences why the days are longer in summer than in winter, so that a child understands it."
NEW_TOKENS = 24
LOADING = """
import time
started = time.perf_counter()
from lora_teach.bases.smollm2 import is_fetched, load_smollm2
imported, here = time.perf_counter(), is_fetched()
load_smollm2(say=lambda line: None)
print(here, imported - started, time.perf_counter() - imported)
"""


def load_seconds(cache=None):
    """Return ``(whether it was there, seconds to import, seconds to load)`` of a fresh process."""
    environment = os.environ | ({} if cache is None else {CACHE: cache})
    command = [sys.executable, "-c", LOADING]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    here, importing, loading = done.stdout.split()
    return here == "True", float(importing), float(loading)


def contenders(device):
    """Return ``{name: model}`` and the tokenizer; both adapters have the same factors."""
    models = {}
    for name in ("base", "adapter", "merged"):
        base, tokenizer = load_smollm2()
        base.to(device)
        torch.manual_seed(0)
        models[name] = base if name == "base" else LoRAModel(base, rank=8, alpha=16).eval()
        if name != "base":
            with torch.no_grad():
                for layer in models[name].lora_layers.values():
                    layer.lora_B.normal_(0, 1e-3)
    models["merged"].merge()
    return models, tokenizer


def steps_on_chats(models, tokenizer, rounds, device):
    """Print what a forward and backward on six of notebook 07's chats takes, with all logits and with the needed."""
    batch = next(iter(chats.ChatBatches([appointments.example(one) for one in appointments.training(6)], tokenizer)))
    batch, model = to_device(batch, device), models["adapter"]
    ways = {"all logits": (batch, None), "where labels count": where_labels_count(model, batch, None)}
    losses = [loss_of(model, *given).item() for given in ways.values()]
    assert abs(losses[0] - losses[1]) < 1e-5 * losses[0], f"the two ways don't compute the same: {losses}"
    taken = race(ways, lambda given: loss_of(model, *given).backward(), rounds, device)
    for name, values in taken.items():
        print(f"step on 6 chats of {batch['labels'].shape[1]} tokens, {name:18} {quartiles(values, '8.1f')} ms")
    ratios = [few / full for full, few in zip(*taken.values(), strict=True)]
    print(f"where labels count / all logits: {quartiles(ratios, '.3f')}")


def race(models, action, rounds, device):
    """Return ``{name: [milliseconds of each round]}``."""
    taken, shuffled = {name: [] for name in models}, random.Random(0)
    for turn in range(1 + rounds):
        for name in shuffled.sample(list(models), len(models)):
            started = clock(device)
            action(models[name])
            if turn:  # the first warms up
                taken[name].append(1000 * (clock(device) - started))
    return taken


def clock(device):
    """Return the seconds on the device's clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def quartiles(values, form):
    """Return "median (lower quartile to upper quartile)"."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def main():
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--cold", action="store_true", help="also fetch the model, into a temporary folder")
    options = parser.parse_args()
    device = options.device
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {device}, {options.threads} thread(s), {options.rounds} rounds")
    if options.cold:
        with tempfile.TemporaryDirectory() as cache:
            print("cold: fetched, unpacked and loaded in {2:.1f} s (imports {1:.1f} s)".format(*load_seconds(cache)))
    fetch()
    print("warm: loaded in {2:.2f} s (imports {1:.1f} s)".format(*load_seconds()))

    models, tokenizer = contenders(device)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    ).to(device)  # (1, seq) each
    steps_on_chats(models, tokenizer, options.rounds, device)
    with torch.no_grad():
        base, adapter, merged = (model(**chat).logits for model in models.values())  # (1, seq, vocabulary)
        scale = (adapter - base).abs().max()
        assert scale > 0.1 and (adapter - merged).abs().max() < 1e-2 * scale, "the contenders don't compute the same"
        actions = {
            f"forward, {chat['input_ids'].shape[1]} tokens": lambda model: model(**chat),
            f"generate {NEW_TOKENS} tokens": lambda model: model.generate(
                **chat, do_sample=False, min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS, pad_token_id=0
            ),
        }
        for what, action in actions.items():
            taken = race(models, action, options.rounds, device)
            for name, values in taken.items():
                print(f"{what:20} {name:8} {quartiles(values, '8.1f')} ms")
            for name in ("adapter", "merged"):
                ratios = [a / b for a, b in zip(taken[name], taken["base"], strict=True)]
                print(f"{what:20} {name} / base: {quartiles(ratios, '.3f')}")


if __name__ == "__main__":
    main()
