"""Counts in full: what a rank costs in real architectures, from NameGPT to GPT-3."""

from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.architectures import ARCHITECTURES, total_parameters, trainable_per_rank
from lora_teach.measure.predicted_memory import readable
from lora_teach.pictures.architectures import drawing as architectures
from lora_teach.plots import Still, show

CHOICES = ["q v", "attention", "all linear"]
BYTES = architectures.BYTES
TWIN_RANKS = (1, 8, 64)


class CountsInFull(View):
    """The numbers that LoRA trains beside those that the model has.

    Args:
        guess: How many numbers the learner thinks train in GPT-3 at rank 8, on q and v.
    """

    def __init__(self, guess: float | None = None) -> None:
        self.names = list(ARCHITECTURES)
        self.totals = [total_parameters(name) for name in self.names]
        self.drawn = architectures.draw(self.names, self.totals, guess)
        self.picture = self.drawn.picture

    def counts(self, rank, which) -> list[int]:
        """Numbers that train in each model."""
        return [rank * trainable_per_rank(name, which) for name in self.names]

    def __call__(self, rank, layers):
        """Show one rank on one choice of layers."""
        counts = self.counts(rank, layers)
        self.drawn.update(self.totals, counts, f"r = {rank} on {layers}")
        smaller, larger = counts[-1] / counts[0], self.totals[-1] / self.totals[0]
        return (
            f"Rank {rank}, {layers}: {_share(counts[0], self.totals[0])} of {self.names[0]}'s numbers train, and "
            f"{_share(counts[-1], self.totals[-1])} of {self.names[-1]}'s. The model is {larger:,.0f} times as large, "
            f"the adapter {smaller:,.0f} times: {readable(BYTES * counts[-1])} on disk."
        )

    def twin(self) -> Still:
        """Three choices of layers at three ranks."""
        counts = {which: {rank: self.counts(rank, which) for rank in TWIN_RANKS} for which in CHOICES}
        small, large = (_share(self.counts(8, "q v")[at], self.totals[at]) for at in (0, -1))
        return show(
            architectures.draw_kinds(self.totals, counts, TWIN_RANKS),
            f"{len(self.names)} models, {self.names[0]} at the left, {self.names[-1]} at the right. At r = 8 on q and "
            f"v an adapter is {small} of the smallest and {large} of the largest: a model grows with the square of its "
            "width, an adapter with the width.",
        )

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """Return the explorer as notebook 10 shows it."""
        view = cls(guess)
        return explore(view, rank=(1, 64, 8), layers=list(CHOICES), twin=view.twin())


def _share(count, total):
    """A share in percent with two digits."""
    percent = 100 * count / total
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"
