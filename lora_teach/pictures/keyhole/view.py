"""Keyhole: a LoRA layer learns a photo that it never sees, and ends where the SVD would have cut it off."""

from functools import lru_cache

import torch

from lora_teach.datasets import photo
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.fitting import examples, fit_in_place, fresh_layer
from lora_teach.measure.spectrum import energy_lost, truncate
from lora_teach.pictures.keyhole import drawing as plots
from lora_teach.plots import Still, show

STEPS = 300
RANKS = (1, 2, 4, 8, 16)  # of the small multiples


class Keyhole(View):
    """The update to be learnt is a photo; what may be seen of it is random x and x times the photo.

    Every move of the rank trains a new LoRALayer, 300 steps; the step slider goes back through them.

    Args:
        target: The update ΔW*, ``(in_features, out_features)``; None takes `pagoda`.
        guess: The loss that the learner predicts for rank 2, in % of the loss at the start.
    """

    def __init__(self, target=None, guess: float | None = None) -> None:
        self.target = pagoda() if target is None else target
        self.guess = guess
        self.batches = examples(self.target)
        self.floors = 100 * energy_lost(self.target)  # (k + 1,), % of the start, by rank
        self.run = lru_cache(maxsize=8)(self._run)  # a run of rank 32 holds 7 MB
        self.drawn = plots.draw(self.target.numpy(), STEPS, guess)
        self.picture = self.drawn.picture

    def __call__(self, rank, step):
        """Show a run of this rank after this step."""
        fit, loss, best = self.run(rank)
        floor = self.floors[rank].item()
        self.drawn.update(fit.product(step).numpy(), best.numpy(), loss.numpy(), floor, rank, step)
        numbers = rank * sum(self.target.shape)
        return (
            f"Rank {rank}, after step {step}: the loss is {loss[step]:.1f} % of what it was at the start; no matrix of "
            f"rank {rank} gets below {floor:.1f} %. A and B hold {numbers:,} numbers, ΔW* {self.target.numel():,}."
        )

    def _run(self, rank):
        """Return a whole run at this rank: the fit, its loss by step in % of the start, and the best of that rank."""
        fit = fit_in_place(fresh_layer(self.target, rank), self.batches, STEPS)
        return fit, 100 * fit.loss(self.target), truncate(self.target, rank)

    def twin(self) -> Still:
        """Five ranks side by side: trained above, the best below, and every loss with its floor."""
        runs = {rank: self.run(rank) for rank in RANKS}
        drawn = plots.draw_ranks(
            self.target.numpy(),
            {rank: fit.product(STEPS).numpy() for rank, (fit, _, _) in runs.items()},
            {rank: best.numpy() for rank, (_, _, best) in runs.items()},
            {rank: loss.numpy() for rank, (_, loss, _) in runs.items()},
            {rank: self.floors[rank].item() for rank in runs},
            self.guess,
        )
        ends = ", ".join(f"{loss[-1]:.0f}" for _, loss, _ in runs.values())
        above = max(loss[-1].item() - self.floors[rank].item() for rank, (_, loss, _) in runs.items())
        return show(
            drawn,
            f"Trained at rank {', '.join(map(str, RANKS))}, the loss ends at {ends} % of its start, nowhere more than "
            f"{max(1, round(above + 0.5))} percentage point above the best that this rank allows: A·B, trained, looks "
            "like the SVD's cut, which nobody computed for it.",
        )

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """Return the explorer as notebook 01 shows it."""
        view = cls(guess=guess)
        return explore(view, rank=(1, 32, 4), step=(0, STEPS, STEPS, 10), twin=view.twin())


def pagoda() -> torch.Tensor:
    """Return the photo with its mean grey as zero, so that a matrix of zeros is the plain grey sheet: ``(96, 96)``."""
    grey = photo.pagoda()
    return grey - grey.mean()
