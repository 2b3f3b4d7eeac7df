"""Valleys: does the best learning rate stay when the rank changes? Thirty-six runs, done in front of the learner."""

from functools import lru_cache
from math import inf

from lora_teach.live.explore import View, explore
from lora_teach.live.watch import watch
from lora_teach.pictures.valleys import drawing as plots
from lora_teach.pictures.valleys.numbers import LEARNING_RATES, RANKS, Sweep, measure_valleys, spoken, valley_runs
from lora_teach.plots import Still, show

FEW = (0.001, 0.0032, 0.01, 0.032, 0.1)  # learning rates, where a page may not take long


async def grow_valleys(
    scaling="alpha/r", *, alpha=8, digits=None, guess=None, ranks=RANKS, lrs=LEARNING_RATES, seed=0
) -> Sweep:
    """Do the runs of one rule of scaling on the page, each dot drawn as its run ends; ``await`` it in a cell.

    Stop, or the kernel's interrupt, ends it after the run it is at. What stays in the notebook is the picture of all
    runs that have ended, and one sentence.

    Args:
        scaling: LoRAConfig's: ``"alpha/r"``, ``"alpha/sqrt(r)"`` or ``"alpha"``, a constant.
        alpha: LoRAConfig's.
        digits: A `lora_teach.datasets.digits.Digits`; None takes those turned by 30 degrees.
        guess: The learning rate at which the learner expects the bottom for the last rank.
        ranks: Of LoRA on the two hidden layers, 1 to 64.
        lrs: AdamW's learning rates.
        seed: Decides each adapter's start and the batches.

    Returns:
        A Sweep of the runs that have ended: ``sweep.loss[rank][lr]``. Its ``stopped`` says so if some are missing.
    """
    sweep = Sweep(scaling, alpha, ranks, lrs)
    runs = valley_runs(scaling, alpha=alpha, digits=digits, ranks=sweep.ranks, lrs=sweep.lrs, seed=seed)
    await watch(runs, sweep, sweep.planned, lambda: Growing(sweep, guess), unit="run")
    if len(sweep) < sweep.planned:
        sweep.stopped = f"stopped after run {len(sweep)} of {sweep.planned}"
    return sweep


class Growing:
    """The valleys as `watch` lets them grow."""

    def __init__(self, sweep: Sweep, guess: float | None = None) -> None:
        self.drawn = plots.draw(sweep.ranks, sweep.lrs, guess, plots.depth(sweep.loss))
        self.picture = self.drawn.picture
        self.update(sweep)

    def update(self, sweep: Sweep) -> None:
        """Draw the runs that have ended."""
        self.drawn.update(f"{_upper(sweep.rule)}: loss after each run", sweep.loss, sweep.bottoms())

    def sentence(self, sweep: Sweep) -> str:
        """Tell where the bottoms lie, as far as they are known."""
        begun = "" if len(sweep) == sweep.planned else f"Ended after {len(sweep)} of {sweep.planned} runs. "
        return f"{begun}{_upper(sweep.rule)}: {_bottoms(sweep)}"


class Valleys(View):
    """Buttons for the rule, and one learning rate for all ranks.

    Args:
        sweeps: Finished sweeps of the same ranks and learning rates, such as `grow_valleys` returns; None measures α/r
            and a constant at a few learning rates.
        guess: The learning rate at which the learner expects the bottom for the last rank under the last rule.

    Raises:
        ValueError: No sweep, two with the same rule, or with different ranks or learning rates.
    """

    def __init__(self, sweeps=None, guess: float | None = None) -> None:
        sweeps = list(_few() if sweeps is None else sweeps)
        self.sweeps = {_upper(sweep.rule): sweep for sweep in sweeps}
        self.guess = guess
        if not sweeps or len(self.sweeps) < len(sweeps):
            raise ValueError(f"sweeps={[sweep.rule for sweep in sweeps]}: give one or more, each with another rule.")
        if len({(sweep.ranks, sweep.lrs) for sweep in sweeps}) > 1:
            raise ValueError("the sweeps differ in ranks or learning rates: give each the same to compare them.")
        self.ranks, self.lrs = sweeps[0].ranks, sweeps[0].lrs
        self._low = min(plots.depth(sweep.loss) for sweep in sweeps)
        self.drawn = plots.draw(self.ranks, self.lrs, guess, self._low, list(self.sweeps)[-1])
        self.picture = self.drawn.picture

    def __call__(self, rule, learning_rate):
        """Show one rule's valleys, and every rank's run at this learning rate."""
        sweep = self.sweeps[rule]
        self.drawn.update(f"{rule}: loss after each run", sweep.loss, sweep.bottoms(), learning_rate)
        there = {rank: losses[learning_rate] for rank, losses in sweep.loss.items() if learning_rate in losses}
        said = {rank: f"rank {rank} at {_loss(loss)}" for rank, loss in there.items()}
        times = {rank: sweep.above_lowest(rank, learning_rate) for rank, loss in there.items() if loss < inf}
        worst = max(times, key=times.get, default=None)
        if worst is not None and times[worst] > 1.05:
            said[worst] += f" ({spoken(times[worst])} × its lowest)"
        guessed = f" Your guess for rank {self.ranks[-1]}: {spoken(self.guess)}." if self._guessed(rule) else ""
        listed = ", ".join(said.values()) or "no run"
        return f"{rule}, learning rate {spoken(learning_rate)} for all: {listed}. {_bottoms(sweep, 'The')}{guessed}"

    def _guessed(self, rule) -> bool:
        return self.guess is not None and rule == list(self.sweeps)[-1]

    def twin(self) -> Still:
        """Return all rules side by side, and all their bottoms, for a saved notebook."""
        made = plots.draw_rules(
            {rule: (sweep.loss, sweep.bottoms()) for rule, sweep in self.sweeps.items()},
            self.ranks, self.lrs, self.guess, self._low,
        )  # fmt: skip
        return show(made, " ".join(f"{rule}: {_bottoms(sweep)}" for rule, sweep in self.sweeps.items()))

    @classmethod
    def example(cls, guess=None, sweeps=None):
        """Return the explorer as notebook 05 shows it; without ``sweeps``, at a few learning rates."""
        view = cls(sweeps, guess)
        middle = view.lrs[len(view.lrs) // 2]
        return explore(view, rule=list(view.sweeps), learning_rate=(list(view.lrs), middle), twin=view.twin())


@lru_cache(maxsize=1)
def _few():
    return measure_valleys(lrs=FEW), measure_valleys("alpha", alpha=1, lrs=FEW)


def _bottoms(sweep: Sweep, the: str = "the") -> str:
    """One sentence about where the bottoms lie."""
    bottoms = sweep.bottoms()
    if not bottoms:
        return f"{the} bottoms are not known yet: each needs all of its runs."
    where = ", ".join(f"{spoken(lr)} (rank {rank})" for rank, lr in bottoms.items())
    spread = sweep.spread()
    if spread is None:
        return f"{the} bottom lies at {where}."
    factor = "all at one place" if spread == 1 else f"a factor of {spoken(spread)} apart"
    return f"{the} bottoms lie at {where}: {factor}."


def _loss(loss: float) -> str:
    return "infinity (it blew up)" if loss == inf else f"{loss:.2f}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:] if text[0].isascii() else text
