"""What can be trained in the playground: digits that were changed, and names of other languages.

A material brings all that a run needs: a base, batches, a loss, the layers that can be chosen, a score on what was
never trained on, and eight samples of what the model does.
"""

from functools import cached_property

from lora_teach.bases import accuracy, evaluate, gumbel_noise, load_digit_net, load_name_gpt, name_loss, sample_names
from lora_teach.bases.name_gpt import LAYER_GROUPS, evaluating
from lora_teach.datasets import digits, names
from lora_teach.measure.judging import TEMPERATURE
from lora_teach.measure.retraining import BATCH_SIZE, digit_batches
from lora_teach.utils.threads import one_thread

import torch.nn.functional as F

SHOWN = 8  # samples
SEED = 74  # of the noise behind the names, as in notebook 00


class Material:
    """What the two kinds have in common: how the base does before any training, which is asked for once."""

    @cached_property
    def start(self):
        """The base's score."""
        return self.score(self.base)

    @cached_property
    def before(self):
        """The base's samples."""
        return self.samples(self.base)


class DigitMaterial(Material):
    """DigitNet and digits that it can't read yet: ``label`` on the button, ``title`` in a sentence, ``make()`` them."""

    layers = {"hidden1": ["hidden1"], "hidden2": ["hidden2"], "output": ["output"], "all": None}
    unit = "nats a digit"
    loss_fn = staticmethod(F.cross_entropy)

    def __init__(self, label, title, make):
        self.label, self.title, self._make = label, title, make

    @cached_property
    def split(self):
        """Training, validation and test digits."""
        return self._make()

    @cached_property
    def base(self):
        """The DigitNet of upright digits, in eval mode: to look at and to copy, never to train."""
        return load_digit_net()

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

    held_out = "of the test digits read right"  # what stands behind a score

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
    unit = "nats a letter"
    loss_fn = staticmethod(name_loss)

    def __init__(self, language):
        self.label, self.title = language, f"{language} names"

    @cached_property
    def split(self):
        """Training, validation and test names."""
        return names.load(self.label)

    @cached_property
    def base(self):
        """The NameGPT of English names, in eval mode: to look at and to copy, never to train."""
        return load_name_gpt()

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

    held_out = "a letter on the validation names"

    @cached_property
    def _noise(self):
        return TEMPERATURE * gumbel_noise(SHOWN, SEED)  # (names, letters, alphabet)

    def samples(self, model):
        """Return eight names, from the same throws of the dice each time."""
        with one_thread():
            return sample_names(model, self._noise)


MATERIALS = {
    "turned 30": DigitMaterial("turned 30°", "digits turned by 30°", lambda: digits.rotated(30)),
    "turned 90": DigitMaterial("turned 90°", "digits turned by 90°", lambda: digits.rotated(90)),
    "inverted": DigitMaterial("inverted", "inverted digits", digits.inverted),
} | {language: NameMaterial(language) for language in names.languages()[1:]}
