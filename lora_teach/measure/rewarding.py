"""NameGPT learning from a judge's reward: what the judge sees, what it does not, and how far the model has moved.

``data/make_rewards.py`` runs it in full; the results lie in ``data/rewards.json``.
"""

import time
from collections import Counter

from lora_teach.bases import evaluate, name_loss
from lora_teach.bases.episodes import NameWriter
from lora_teach.datasets import names
from lora_teach.loop.randomness import IsolatedRandomness
from lora_teach.loop.rewards import Rollouts, reference_log_probs, token_log_probs
from lora_teach.measure.tuning import count_trainable, trainable_copy
from lora_teach.training import training_steps
from lora_teach.utils.evaluating import evaluating
from lora_teach.utils.threads import one_thread

LANGUAGE = "Finnish"
ENGLISH = 200  # of its test names: few, since every look asks for them
LOOKED_AT = 200  # names a look


def sounds(language=LANGUAGE):
    """Return the judge ``reward(name) -> bool``: is ``language`` less surprised by the name than English is?

    Both have counted letters in their training names, as `lora_teach.datasets.names.Judge` does.
    """
    own, english = (names.Judge(names.load(one).train) for one in (language, "English"))
    return lambda name: own.surprise(name) < english.surprise(name)


def looked_at(model, base, reward, language=LANGUAGE, count=LOOKED_AT, seed=1, *, real=True):
    """Return what a model writes and knows, of fair draws that are the same in every call.

    Args:
        model: A NameGPT or a LoRAModel around one; it is left as it is.
        base: The NameGPT from which it was trained.
        reward: ``reward(name)``, a number or a bool.
        language: The language that the judge listens for.
        count: How many names are written.
        seed: Decides them.
        real: Whether real names are looked at too.

    Returns:
        ``success``, the mean reward; ``distinct``, the share of different names; ``kl``, the mean of log π − log π_ref
        in nats a name, which estimates the divergence from the base; ``language`` and ``English``, the losses on real
        names in nats a letter, of which the judge knows nothing; ``favourite``, the name written most often.
    """
    with one_thread(), evaluating(model), IsolatedRandomness(seed, next(model.parameters()).device):
        written = NameWriter(count)(model)
        now = token_log_probs(model(written.inputs), written.targets)  # (count, seq)
        before = reference_log_probs(model, base, written.inputs, written.targets)  # (count, seq)
        seen = {
            "success": sum(float(reward(name)) for name in written.texts) / count,
            "distinct": len(set(written.texts)) / count,
            "kl": (now - before).sum(1).mean().item(),
            "favourite": Counter(written.texts).most_common(1)[0][0],
        }
        if real:
            seen["language"] = evaluate(model, names.load(language).test)
            seen["English"] = evaluate(model, names.load("English").test[:ENGLISH])
    return seen


def rewarded(base, rank=None, *, lr, kl=0.0, updates=60, count=64, seed=0, watch=None, reward=None):
    """Let a copy of NameGPT learn from a reward; return ``(model, rollouts)``.

    Args:
        base: A NameGPT, which stays as it is; the reference of the penalty.
        rank: LoRA's; None means full fine-tuning.
        lr: Learning rate of AdamW.
        kl: Weight of the penalty, in rewards a nat.
        updates: Each with ``count`` names that the model writes.
        count: Names an update.
        seed: Decides LoRA's start and what is written.
        watch: Called as ``watch(update, model, rollouts)`` after each update, and at 0 before the first.
        reward: ``reward(name)``; None means `sounds` Finnish.
    """
    model = trainable_copy(base, rank, seed)
    options = {"reference": base if rank is None else None, "kl": kl, "seed": seed}
    rollouts = Rollouts(model, NameWriter(count), reward or sounds(), **options)
    with one_thread():
        if watch is not None:
            watch(0, model, rollouts)
        for step in training_steps(model, rollouts, rollouts.loss, lr=lr, steps=updates, seed=seed):
            if watch is not None:
                watch(step.index, model, rollouts)
    return model, rollouts


def run_path(base, rank=None, *, lr, kl=0.0, updates=60, count=64, seed=0, every=5, real=True):
    """Learn from the reward and return the run's path: a dict of lists, an entry for each of ``updates``.

    Besides what `looked_at` returns it has ``lr``, ``kl_weight``, ``seed``, ``trainable`` (how many numbers train) and
    ``cpu_seconds``, what the updates took without the looks.
    """
    looks, reward, spent = [], sounds(), 0.0
    began = time.process_time()

    def watch(update, model, rollouts):
        nonlocal spent, began
        if update % every == 0:
            spent += time.process_time() - began
            looks.append({"updates": update} | looked_at(model, base, reward, real=real))
            began = time.process_time()

    model, _ = rewarded(base, rank, lr=lr, kl=kl, updates=updates, count=count, seed=seed, watch=watch)
    told = {"lr": lr, "kl_weight": kl, "seed": seed, "trainable": count_trainable(model)}
    return told | {"cpu_seconds": round(spent + time.process_time() - began, 1)} | as_lists(looks)


def supervised_path(base, rank=None, *, lr, steps=60, seed=0, every=5, language=LANGUAGE):
    """Learn from real names instead, 32 a step, and return the path as `run_path` does."""
    model, looks, reward = trainable_copy(base, rank, seed), [], sounds(language)
    batches = names.batches(names.load(language).train, 32, seed)
    with one_thread():
        looks.append({"updates": 0} | looked_at(model, base, reward))
        for step in training_steps(model, batches, name_loss, lr=lr, steps=steps, seed=seed):
            if step.index % every == 0:
                looks.append({"updates": step.index} | looked_at(model, base, reward))
    return {"lr": lr, "seed": seed, "trainable": count_trainable(model)} | as_lists(looks)


def as_lists(looks):
    """Turn a list of dicts with the same keys into a dict of lists."""
    return {key: [look[key] for look in looks] for key in looks[0]}


def where(path, key, level, wanted):
    """Return ``path[wanted]`` where ``path[key]`` first reaches ``level``, between two looks; None if it never does.

    >>> where({"kl": [0.0, 2.0, 6.0], "success": [0.1, 0.3, 0.7]}, "kl", 4, "success")
    0.5
    """
    for place in range(1, len(path[key])):
        before, after = path[key][place - 1 : place + 1]
        if before < level <= after:
            share = (level - before) / (after - before)
            first, second = path[wanted][place - 1 : place + 1]
            return first + share * (second - first)
    return None
