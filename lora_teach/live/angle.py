"""Angle: digits that the base misreads, and a LoRA that is trained anew at every move of rank, angle or alpha."""

from functools import lru_cache
from typing import NamedTuple

import torch

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets import digits
from lora_teach.datasets.digits import SIDE, Digits
from lora_teach.live.explore import View, explore
from lora_teach.measure.retraining import LR, STEPS, retrain
from lora_teach.plots import Still, show
from lora_teach.plots import angle as plots

RANKS = (1, 2, 4, 8, 16, 32, 64)
SAMPLES = 6  # digits that are shown
FULL_LR = (
    0.005  # full fine-tuning's own: the bottom of its valley, or next to it, at 30, 60 and 90 degrees and inverted
)
GUESSED = {"angle": 30, "alpha": "8", "paper": "white"}  # what the guess for rank 1 is about
TASKS = {  # of the small multiples: angle, paper, seeds (more where they differ more)
    "Turned by 30°": (30, "white", 1),
    "Turned by 90°": (90, "white", 1),
    "On black paper, 3 seeds": (0, "black", 3),
}
TWIN_RANKS = (1, 4, 16)


class Result(NamedTuple):
    """What a run came to: loss by step, share of test digits read, how it reads the samples, numbers trained."""

    loss: list
    accuracy: float
    reads: list
    numbers: int
    blew_up: bool


class Angle(View):
    """Rank, angle, alpha and paper; LoRA is trained for 200 steps at every move to a new place.

    Full fine-tuning of the same digits is trained once for each angle and paper. Going back to a place costs nothing.

    Args:
        guess: The accuracy, in %, that the learner predicts for rank 1 at 30° with α = 8.
        seed: Decides each adapter's start and the batches, which are the same for LoRA and full fine-tuning.
    """

    def __init__(self, guess: float | None = None, seed: int = 0) -> None:
        self.guess, self.seed = guess, seed
        self.base = load_digit_net()
        self.task = lru_cache(maxsize=None)(self._task)
        self.run = lru_cache(maxsize=None)(self._run)
        self.full = lru_cache(maxsize=None)(self._full)
        self.earlier = []  # places of earlier moves, the newest first
        self.place = None
        self.drawn = plots.draw(SAMPLES, RANKS, STEPS, guess, " at 30°")
        self.picture = self.drawn.picture

    def __call__(self, rank, angle, alpha="8", paper="white"):
        """Train, or find, the run at this place and show it over the earlier ones."""
        place = rank, float(alpha), angle, paper, self.seed
        split, base, reads = self.task(angle, paper)
        lora, full = self.run(*place), self.full(angle, paper, self.seed)
        self._remember(place)
        truth = split.test[1][:SAMPLES].tolist()
        self.drawn.update(
            tiles=_pictures(split),
            readings={"truth": truth, "base": reads, "LoRA": lora.reads, "full": full.reads},
            losses={"lora": lora.loss, "full": full.loss},
            accuracies={"base": base, "lora": lora.accuracy, "full": full.accuracy},
            rank=rank,
            earlier=[(past[0], self.run(*past).loss, self.run(*past).accuracy) for past in self.earlier],
            guessed=self._guessed(angle, alpha, paper),
        )
        return self.sentence(rank, angle, alpha, paper)

    def sentence(self, rank, angle, alpha="8", paper="white"):
        """What the run came to, what the base did before, and what full fine-tuning makes of the same digits."""
        _, base, _ = self.task(angle, paper)
        lora, full = self.run(rank, float(alpha), angle, paper, self.seed), self.full(angle, paper, self.seed)
        where = f"{angle}°" + (" on black paper" if paper == "black" else "")
        done = f"after {STEPS} steps" if not lora.blew_up else f"it blew up after step {len(lora.loss)}, and"
        guessed = self._guessed(angle, alpha, paper) and rank == RANKS[0]
        return (
            f"Rank {rank}, α = {float(alpha):g}, {where}: {done} {_percent(lora.accuracy)} of the test digits are read "
            f"right; before {_percent(base)}; with full fine-tuning {_percent(full.accuracy)}. LoRA trained "
            f"{lora.numbers:,} numbers, full fine-tuning {full.numbers:,}."
            + (f" Your guess: {self.guess:g} %." if guessed else "")
        )

    def _guessed(self, angle, alpha, paper) -> bool:
        return self.guess is not None and (angle, alpha, paper) == tuple(GUESSED.values())

    def _remember(self, place) -> None:
        """Make the place that was left the newest of the earlier ones; each stands there once."""
        if self.place not in (None, place):
            others = [past for past in self.earlier if past not in (place, self.place)]
            self.earlier = [self.place, *others][: plots.GHOSTS]
        self.place = place

    def _task(self, angle, paper):
        """Return the changed digits, the base's accuracy on the test ones, and how it reads the samples."""
        split = changed(angle, paper)
        return split, accuracy(self.base, *split.test), _reads(self.base, split)

    def _run(self, rank, alpha, angle, paper, seed):
        """Train LoRA at this place."""
        split = self.task(angle, paper)[0]
        return _result(retrain(split, rank, lr=LR, alpha=alpha, seed=seed, base=self.base), split)

    def _full(self, angle, paper, seed):
        """Train every parameter on these digits."""
        split = self.task(angle, paper)[0]
        return _result(retrain(split, lr=FULL_LR, seed=seed, base=self.base), split)

    def twin(self) -> Still:
        """Return three tasks side by side: loss by step and accuracy of three ranks and full fine-tuning."""
        alpha, tasks = float(GUESSED["alpha"]), {}
        for title, (angle, paper, seeds) in TASKS.items():
            split, base, _ = self.task(angle, paper)
            seeds = range(self.seed, self.seed + seeds)
            runs = {rank: [self.run(rank, alpha, angle, paper, seed) for seed in seeds] for rank in TWIN_RANKS}
            runs[None] = [self.full(angle, paper, seed) for seed in seeds]
            losses = {one: results[0].loss for one, results in runs.items()}
            accuracies = {one: [result.accuracy for result in results] for one, results in runs.items()}
            tasks[title] = _pictures(split), base, losses, accuracies
        return show(plots.draw_tasks(tasks, TWIN_RANKS, STEPS, self.guess), _lesson(tasks))

    @classmethod
    def example(cls, guess=None):
        """Return the explorer as notebook 05 shows it."""
        view = cls(guess)
        return explore(
            view, rank=(list(RANKS), 4), angle=(0, 180, 30, 10), alpha=(["0.5", "2", "8", "32", "128"], "8"),
            paper=["white", "black"], labels={"alpha": "α"}, twin=view.twin(),
        )  # fmt: skip


def changed(angle, paper="white") -> Digits:
    """Return the digits turned by ``angle`` degrees, as ink on white paper or inverted, on black paper."""
    if paper not in ("white", "black"):
        raise ValueError(f"paper={paper!r} is not among white and black.")
    split = digits.rotated(angle)
    return split if paper == "white" else Digits(*((1 - x, y) for x, y in split))


def _pictures(split):
    """The sample digits, ``(digits, 8, 8)``."""
    return split.test[0][:SAMPLES].reshape(-1, SIDE, SIDE).numpy()


def _reads(model, split) -> list[int]:
    with torch.no_grad():
        return model(split.test[0][:SAMPLES]).argmax(-1).tolist()


def _result(run, split) -> Result:
    numbers = sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad)
    return Result(run.loss, run.accuracy, _reads(run.model, split), numbers, run.blew_up)


def _lesson(tasks) -> str:
    """The accuracies of the small multiples, each task in a sentence."""
    said = []
    for title, (_, base, _, accuracies) in tasks.items():
        shares = [base, *(sum(one) / len(one) for one in accuracies.values())]
        said.append(f"{title}: {', '.join(f'{100 * share:.0f}' for share in shares)} %.")
    ranks = ", ".join(map(str, TWIN_RANKS))
    return f"Test digits read right before, with LoRA of rank {ranks}, and with full fine-tuning. {' '.join(said)}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
