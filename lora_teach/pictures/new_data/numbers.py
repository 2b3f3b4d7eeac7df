"""An adapter has learnt one language, and names of another arrive: four ways to go on, each measured on the way."""

import copy

from lora_teach.bases import evaluate, load_language_adapter, name_loss
from lora_teach.datasets import names
from lora_teach.measure.tuning import trainable_copy
from lora_teach.training import training_steps
from lora_teach.utils.threads import one_thread

ON, MERGED, BESIDE, BOTH = "train it on", "merge it, then a new one", "a new one, alone", "a new one on both lists"
WAYS = (ON, MERGED, BESIDE, BOTH)


def ready(base, way, seed, settings):
    """Return a LoRAModel that is ready to be trained in this way; ``base`` stays as it is.

    Args:
        base: The NameGPT of `load_name_gpt`.
        way: One of WAYS. The old language's adapter is the shipped one.
        seed: Decides a new adapter's start.
        settings: ``old``, a language with a shipped adapter, and ``rank``, that of a new one.
    """
    if way in (ON, MERGED):
        model = load_language_adapter(copy.deepcopy(base), settings["old"])
        if way == ON:
            return model
        base = model.remove(merge=True)
    return trainable_copy(base, settings["rank"], seed)


def training_names(way, settings):
    """Return the names that this way trains on."""
    old, new = (names.load(settings[which]).train for which in ("old", "new"))
    return [*old, *new] if way == BOTH else new


def planned_steps(way, settings):
    """Return how many steps this way takes: as many as show each new name equally often in all ways."""
    new = names.load(settings["new"]).train
    return round(settings["steps"] * len(training_names(way, settings)) / len(new))


def losses_of(model, settings):
    """Return the losses on the test names of the old language, the new one and the base's own, in nats a letter."""
    return [evaluate(model, names.load(settings[which]).test) for which in ("old", "new", "base")]


def looks(base, way, seed, settings):
    """Train in this way and yield `losses_of` at the start and after each of ``settings["looks"]`` equal parts."""
    model, steps = ready(base, way, seed, settings), planned_steps(way, settings)
    at = {round(steps * part / settings["looks"]) for part in range(1, settings["looks"] + 1)}
    batches = names.batches(training_names(way, settings), settings["batch_size"], seed)
    with one_thread():
        yield losses_of(model, settings)
    for step in training_steps(model, batches, name_loss, lr=settings["lr"], steps=steps, seed=seed):
        if step.index in at:
            with one_thread():
                yield losses_of(model, settings)


def go_on(base, way, seed, settings):
    """Return all of `looks`, a list."""
    with one_thread():
        return list(looks(base, way, seed, settings))


def start_of(base, settings):
    """Return `losses_of` the base, and of the base with the old language's adapter."""
    with one_thread():
        before = losses_of(base, settings)
        return {"base": before, "adapter": losses_of(ready(base, ON, 0, settings), settings)}
