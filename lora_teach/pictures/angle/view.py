"""Angle: digits that the base misreads, and a LoRA that is trained anew at every move of rank, angle or alpha."""

from functools import lru_cache
from statistics import mean
from typing import NamedTuple

import torch

from lora_teach.bases import accuracy, load_digit_net
from lora_teach.datasets.digits import SIDE
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.results import load_result
from lora_teach.measure.retraining import STEPS
from lora_teach.pictures.angle import drawing as plots
from lora_teach.pictures.angle.numbers import changed, retrain_at
from lora_teach.plots import Still, show

RANKS = (1, 2, 4, 8, 16, 32, 64)
SAMPLES = 6  # digits that are shown
GUESSED = (30, 8.0, "white")  # angle, alpha and paper that the guess for rank 1 is about


class Result(NamedTuple):
    """What a run came to: loss by step, share of test digits read, how it reads the samples, numbers trained."""

    loss: list
    accuracy: float
    reads: list
    numbers: int
    blew_up: bool


class Angle(View):
    """Rank, angle, alpha and paper; LoRA is trained for 200 steps at every move to a new place.

    Full fine-tuning of the same digits is trained once for each angle and paper. Going back to a place trains nothing.

    On black paper LoRA with α = 8 fails at every rank up to 16 in 200 steps. That is no matter of rank alone: the
    exact cure W → −W, which has full rank, can be cut to rank 8 and still reads nine digits in ten, and with 1,000
    steps rank 4 gets there too. Rank 1 doesn't.

    Args:
        guess: The accuracy, in %, that the learner predicts for rank 1 at 30° with α = 8.
        seed: Decides each adapter's start and the batches, which are the same for LoRA and full fine-tuning.
    """

    def __init__(self, guess: float | None = None, seed: int = 0) -> None:
        self.guess, self.seed = guess, seed
        self.base = load_digit_net()
        self.task, self.run = lru_cache(maxsize=None)(self._task), lru_cache(maxsize=None)(self._run)
        self.place, self.earlier = None, []  # where it stands, and where it stood before, the newest first
        self.drawn = plots.draw(SAMPLES, RANKS, STEPS, guess, f" at {GUESSED[0]}°")
        self.picture = self.drawn.picture

    def __call__(self, rank, angle, alpha="8", paper="white"):
        """Train, or find, the run at this place and show it over the earlier ones."""
        place = rank, float(alpha), angle, paper, STEPS
        split, base, reads = self.task(angle, paper)
        lora, full = self.run(*place), self.run(None, None, angle, paper, STEPS)
        self._remember(place)
        guessed = self.guess is not None and place[1:4] == (GUESSED[1], GUESSED[0], GUESSED[2])
        self.drawn.update(
            tiles=_pictures(split),
            readings={"truth": split.test[1][:SAMPLES].tolist(), "base": reads, "LoRA": lora.reads, "full": full.reads},
            losses={"lora": lora.loss, "full": full.loss},
            accuracies={"base": base, "lora": lora.accuracy, "full": full.accuracy},
            rank=rank,
            earlier=[(past[0], self.run(*past).loss, self.run(*past).accuracy) for past in self._beside(place)],
            guessed=guessed,
        )
        where = f"{angle}°" + (" on black paper" if paper == "black" else "")
        done = f"after {STEPS} steps" if not lora.blew_up else f"it blew up after step {len(lora.loss)}, and"
        return (
            f"Rank {rank}, α = {float(alpha):g}, {where}: {done} {_percents(lora.accuracy)} of the test digits are "
            f"read right; before {_percents(base)}; with full fine-tuning {_percents(full.accuracy)}. LoRA trained "
            f"{lora.numbers:,} numbers, full fine-tuning {full.numbers:,}."
            + (f" Your guess: {self.guess:g} %." if guessed and rank == RANKS[0] else "")
        )

    def _remember(self, place) -> None:
        """Make the place that was left the newest of the earlier ones; each stands there once."""
        if self.place not in (None, place):
            self.earlier = [self.place, *(past for past in self.earlier if past != self.place)]
        self.place = place

    def _beside(self, place) -> list:
        """The newest earlier places of the same digits: another task's marks mean nothing beside this one's lines."""
        same = [past for past in self.earlier if past != place and past[2:4] == place[2:4]]
        return same[: plots.GHOSTS]

    def _task(self, angle, paper):
        """Return the changed digits, the base's accuracy on the test ones, and how it reads the samples."""
        split = changed(angle, paper)
        return split, accuracy(self.base, *split.test), _reads(self.base, split)

    def _run(self, rank, alpha, angle, paper, steps) -> Result:
        """Train LoRA at this place; rank None means full fine-tuning."""
        split = self.task(angle, paper)[0]
        run = retrain_at(split, rank, alpha, steps=steps, seed=self.seed, base=self.base)
        numbers = sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad)
        return Result(run.loss, run.accuracy, _reads(run.model, split), numbers, run.blew_up)

    def twin(self) -> Still:
        """Return three tasks side by side: loss by step and accuracy of three ranks and full fine-tuning.

        They were trained before, by the command that ``data/angle.json`` names, with three seeds.
        """
        result = load_result("angle")
        settings = result["settings"]
        tasks = {}
        for title, found in result["results"].items():
            angle, paper, _ = settings["tasks"][title]
            entries = {
                rank: found["contenders"]["full" if rank is None else str(rank)] for rank in _contenders(settings)
            }
            losses = {rank: entry["losses"] for rank, entry in entries.items()}
            accuracies = {rank: [mean(seeds) for seeds in entry["accuracies"]] for rank, entry in entries.items()}
            tasks[title] = _pictures(changed(angle, paper)), found["base"], losses, accuracies
        made = plots.draw_tasks(tasks, settings["ranks"], self.guess, settings["block"])
        return show(made, _lesson(tasks, settings))

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """Return the explorer as notebook 05 shows it."""
        view = cls(guess)
        return explore(
            view, rank=(list(RANKS), 4), angle=(0, 180, 30, 10), alpha=(["0.5", "2", "8", "32", "128"], "8"),
            paper=["white", "black"], labels={"alpha": "α"}, twin=view.twin(),
        )  # fmt: skip


def _contenders(settings) -> list:
    """The ranks of the small multiples, and None for full fine-tuning."""
    return [*settings["ranks"], None]


def _pictures(split):
    """The sample digits, ``(digits, 8, 8)``."""
    return split.test[0][:SAMPLES].reshape(-1, SIDE, SIDE).numpy()


def _reads(model, split) -> list[int]:
    with torch.no_grad():
        return model(split.test[0][:SAMPLES]).argmax(-1).tolist()


def _lesson(tasks, settings) -> str:
    """The accuracies of the small multiples, each task in a sentence."""
    said = []
    for title, (_, base, _, accuracies) in tasks.items():
        short, *longer = zip(*accuracies.values(), strict=True)  # one share for each contender
        first, *others = settings["tasks"][title][2]
        listed = f"{title}: {_percents(base, *short)}"
        for steps, shares in zip(others, longer, strict=True):
            listed += f", after {steps:,} steps {_percents(*shares)}"
        said.append(f"{listed}.")
    ranks = ", ".join(map(str, settings["ranks"][:-1])) + f" and {settings['ranks'][-1]}"
    return (
        f"Test digits read right before, then after {first} steps with LoRA of rank {ranks} and with full fine-tuning "
        f"(means of {len(settings['seeds'])} seeds). " + " ".join(said)
    )


def _percents(*shares: float) -> str:
    return ", ".join(f"{100 * share:.0f}" for share in shares) + " %"
