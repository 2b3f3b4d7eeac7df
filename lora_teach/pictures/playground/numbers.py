"""What the playground trains: digits that were changed, or names of another language, one run at a time.

A material brings all that a run needs: a base, batches, a loss, the layers that can be chosen, a score on what was
never trained on, and eight samples of what the model does.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from numbers import Real
from statistics import mean
from typing import NamedTuple

from lora_teach.bases import accuracy, evaluate, gumbel_noise, load_digit_net, load_name_gpt, name_loss, sample_names
from lora_teach.bases.name_gpt import LAYER_GROUPS
from lora_teach.config import LoRAConfig
from lora_teach.datasets import digits, names
from lora_teach.layer import SCALINGS
from lora_teach.layers.build import sizes
from lora_teach.measure.counting import layer_parameters
from lora_teach.measure.judging import TEMPERATURE
from lora_teach.measure.retraining import BATCH_SIZE, digit_batches
from lora_teach.measure.tuning import trainable_copy
from lora_teach.model import LoRAModel
from lora_teach.overlay.nested_modules import walk
from lora_teach.overlay.targets import choose
from lora_teach.training import History, NonFiniteLoss, training_steps
from lora_teach.utils.evaluating import evaluating
from lora_teach.utils.threads import one_thread
from lora_teach.utils.validation import check_alpha, check_choice, check_count

import torch
import torch.nn.functional as F
from torch import nn

SHOWN = 8  # samples
SEED = 74  # of the noise behind the names, as in notebook 00
METHODS = ("full", "LoRA")
LAST = 20  # steps over which a run's last loss is averaged: one batch alone says little


class Material:
    """What both kinds share: the ``label`` on the button, the ``title`` in a sentence, and what is asked for once."""

    def __init__(self, label, title, make):
        self.label, self.title, self._make = label, title, make

    @cached_property
    def split(self):
        """Training, validation and test data."""
        return self._make()

    @cached_property
    def base(self):
        """The model that is adapted, in eval mode: to look at and to copy, never to train."""
        return self.load_base()

    @cached_property
    def start(self):
        """The base's score."""
        return self.score(self.base)

    @cached_property
    def before(self):
        """The base's samples."""
        return self.samples(self.base)


class DigitMaterial(Material):
    """DigitNet and digits that it can't read yet."""

    layers = {"hidden1": ["hidden1"], "hidden2": ["hidden2"], "output": ["output"], "all": None}
    loss_fn, load_base = staticmethod(F.cross_entropy), staticmethod(load_digit_net)
    held_out = "of the test digits read right"  # what stands behind a score

    def batches(self, seed):
        """Return batches of training digits, drawn by the seed."""
        return digit_batches(self.split, batch_size=BATCH_SIZE, seed=seed)

    def score(self, model):
        """Return the share of the 300 test digits that the model reads right."""
        with one_thread():
            return accuracy(model, *self.split.test)

    def tell(self, score):
        """Return a score in short: ``"92%"``."""
        return f"{score:.0%}"

    @property
    def shown(self):
        """The eight test digits that are shown: pixels (8, 64) and what they are (8,)."""
        x, y = self.split.test
        return x[:SHOWN], y[:SHOWN]

    def samples(self, model):
        """Return what the model reads in the eight digits."""
        with one_thread(), evaluating(model):
            return model(self.shown[0]).argmax(-1).tolist()  # (8,)


class NameMaterial(Material):
    """NameGPT and the names of a language that it doesn't know."""

    layers = LAYER_GROUPS
    loss_fn, load_base = staticmethod(name_loss), staticmethod(load_name_gpt)
    held_out = "a letter on the validation names"

    def batches(self, seed):
        """Return the training names in batches, in an order decided by the seed."""
        return names.batches(self.split.train, seed=seed)

    def score(self, model):
        """Return the model's loss on the validation names, nats a letter."""
        with one_thread():
            return evaluate(model, self.split.validation)

    def tell(self, score):
        """Return a score in short: ``"2.04 nats"``."""
        return f"{score:.2f} nats"

    def samples(self, model):
        """Return eight names, from the same throws of the dice each time."""
        with one_thread():
            return sample_names(model, TEMPERATURE * gumbel_noise(SHOWN, SEED))  # noise: (names, letters, alphabet)


MATERIALS = {
    "turned 30": DigitMaterial("turned 30°", "digits turned by 30°", partial(digits.rotated, 30)),
    "turned 90": DigitMaterial("turned 90°", "digits turned by 90°", partial(digits.rotated, 90)),
    "inverted": DigitMaterial("inverted", "inverted digits", digits.inverted),
} | {
    language: NameMaterial(language, f"{language} names", partial(names.load, language))
    for language in names.languages()[1:]
}


@dataclass(frozen=True)
class Settings:
    """What is chosen for one run.

    Args:
        material: A key of `MATERIALS`.
        method: ``"LoRA"``, or ``"full"`` for full fine-tuning, which the next four don't concern.
        rank: LoRA's r.
        alpha: LoRA's α.
        scaling: The rule by which α becomes a factor, a key of `lora_teach.layer.SCALINGS`.
        targets: Which layers are adapted, one of the material's ``layers``.
        lr: AdamW's learning rate.
        steps: Updates.
        seed: Decides the start of A and the batches.
    """

    material: str = "turned 90"
    method: str = "LoRA"
    rank: int = 4
    alpha: float = 4.0
    scaling: str = "alpha/r"
    targets: str = "all"
    lr: float = 0.01
    steps: int = 200
    seed: int = 0

    @property
    def full(self) -> bool:
        """Whether this is full fine-tuning."""
        return self.method == "full"

    @property
    def factor(self) -> float:
        """What α becomes by the rule: the factor of x A B."""
        return SCALINGS[self.scaling](self.alpha, self.rank)

    def changed(self, **changes) -> "Settings":
        """Return checked settings with some changed; layers that a new material lacks become ``"all"``."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(f"there is no setting {name!r}. Use any of: {', '.join(known)}.")
        material = changes.get("material", self.material)
        if material in MATERIALS and self.targets not in MATERIALS[material].layers:
            changes = {"targets": "all"} | changes
        settings = replace(self, **changes)
        plan(settings)
        return settings

    def __str__(self):
        """Tell the method and the material: what a legend has room for."""
        return f"{MATERIALS[self.material].label}, {'full' if self.full else f'r = {self.rank}'}"


class Plan(NamedTuple):
    """What settings would train: so many numbers of so many in all, and the layers left out, each with the reason."""

    trainable: int
    total: int
    left_out: Mapping[str, str]


def plan(settings: Settings) -> Plan:
    """Count what these settings would train; a TypeError or ValueError tells why they can't be trained."""
    material = MATERIALS[check_choice("material", settings.material, MATERIALS)]
    check_choice("method", settings.method, METHODS)
    check_count("steps", settings.steps)
    check_count("rank", settings.rank)  # full fine-tuning uses none of these four, but their controls would move
    check_alpha(settings.alpha)
    check_choice("scaling", settings.scaling, SCALINGS)
    check_choice("targets", settings.targets, material.layers)
    if isinstance(settings.seed, bool) or not isinstance(settings.seed, int) or not 0 <= settings.seed < 2**32:
        raise ValueError(f"seed={settings.seed!r} is no seed. Use a whole number from 0 to {2**32 - 1}.")
    if isinstance(settings.lr, bool) or not isinstance(settings.lr, Real) or not 0 < settings.lr <= 1e300:
        raise ValueError(f"lr={settings.lr!r} is no learning rate. Use a number above 0, such as 0.01.")
    size = sum(parameter.numel() for parameter in material.base.parameters())
    if settings.full:
        return Plan(size, size, {})
    chosen = choose(material.base, LoRAConfig(**_options(settings, material)))
    trainable = sum(layer_parameters(*sizes(module), settings.rank) for module in chosen.adapted.values())
    return Plan(trainable, size + trainable, chosen.left_out)


def _options(settings: Settings, material: Material) -> dict:
    shared = {"rank": settings.rank, "alpha": settings.alpha, "scaling": settings.scaling}
    return shared | {"target_modules": material.layers[settings.targets]}


class Run:
    """A run, from its first step to its score; the model is made at once. Raises what `plan` raises.

    Attributes:
        model: The LoRAModel, or after full fine-tuning a plain DigitNet or NameGPT.
        history: `lora_teach.training.History`; ``stopped`` says why the run ended early, or is None.
        trainable: Numbers that train.
        total: Numbers in the model, adapters included.
        score: The score on held-out data, see the material's ``tell``; None until the run has ended.
        after: The model's samples at the end; None until then.
    """

    def __init__(self, settings: Settings, number: int = 1):
        planned = plan(settings)
        self.settings, self.number = settings, number
        self.trainable, self.total = planned.trainable, planned.total
        self.material = MATERIALS[settings.material]
        options = {"rank": None} if settings.full else _options(settings, self.material)
        self.model = trainable_copy(self.material.base, seed=settings.seed, **options)
        self.history, self.score, self.after = History(), None, None
        self._steps = training_steps(
            self.model, self.material.batches(settings.seed), self.material.loss_fn, lr=settings.lr,
            steps=settings.steps, seed=settings.seed,
        )  # fmt: skip

    def advance(self, seconds: float) -> bool:
        """Train for so long, one step at least, and tell whether there is more; a loss that is not finite ends it."""
        started = time.perf_counter()
        with one_thread():
            try:
                for step in self._steps:
                    self.history.add(step)
                    if time.perf_counter() - started > seconds:
                        break
            except NonFiniteLoss as error:
                self.history.stopped = f"not finite at step {error.step} of {self.settings.steps}"
        return len(self.history) < self.settings.steps and self.history.stopped is None

    def end(self) -> None:
        """Give the run its score and its samples; a run that was not at its end is one that was stopped."""
        self._steps.close()
        if len(self.history) < self.settings.steps and self.history.stopped is None:
            self.history.stopped = f"stopped after step {len(self.history)} of {self.settings.steps}"
        self.score, self.after = self.material.score(self.model), self.samples()

    def samples(self) -> list:
        """Return what the model does now with the material's eight samples."""
        return self.material.samples(self.model) if self.after is None else self.after

    @torch.no_grad()
    def updates(self) -> dict[str, torch.Tensor]:
        """Return each layer's ΔW so far, ``{name: (out_features, in_features)}``."""
        if isinstance(self.model, LoRAModel):
            return {name: layer.delta_weight() for name, layer in walk(self.model.adapters["default"])}
        base = dict(self.material.base.named_modules())
        return {
            name: module.weight - base[name].weight
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear)
        }

    def largest_update(self) -> tuple[str, torch.Tensor]:
        """Return the name and the ΔW of the layer that has changed most, by the sum of squares."""
        with one_thread():
            return max(self.updates().items(), key=lambda named: named[1].norm().item())

    @property
    def loss(self) -> float:
        """The mean loss of the last 20 steps, or of all where there are fewer; nan without any."""
        last = self.history.loss[-LAST:]
        return mean(last) if last else math.nan

    @property
    def seconds(self) -> float:
        """Seconds of training: the steps alone, without drawing and scoring."""
        return sum(self.history.seconds)

    def __repr__(self):
        score = "not scored yet" if self.score is None else f"{self.material.tell(self.score)} {self.material.held_out}"
        return f"Run {self.number} ({self.settings}): {len(self.history)} steps, {score}"
