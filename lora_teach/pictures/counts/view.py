"""Counts: what a rank costs, in one layer and in a whole model."""

from lora_teach.bases import NameGPT
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.counting import break_even_rank, layer_parameters, lora_parameters
from lora_teach.pictures.counts import drawing as counts
from lora_teach.plots import Still, show

LAYER = "blocks.0.attention.q_proj"
RANKS = tuple(range(1, 65))
TWIN_RANKS = (1, 4, 16, 48, 64)


class Counts(View):
    """The numbers that A and B hold at each rank, for one layer of NameGPT and for all of them.

    Args:
        model: A NameGPT; only its sizes are read.
        guess: The rank at which the learner thinks that A and B are as large as the layer's weight.
    """

    def __init__(self, model=None, guess: float | None = None) -> None:
        model = NameGPT() if model is None else model
        layer = model.get_submodule(LAYER)
        self.sizes = layer.in_features, layer.out_features
        self.weights = layer.weight.numel()
        self.total = sum(parameter.numel() for parameter in model.parameters())
        self.of_layer = {rank: layer_parameters(*self.sizes, rank) for rank in RANKS}
        one = lora_parameters(model, rank=1)
        self.of_model = {rank: rank * one for rank in RANKS}
        self.drawn = counts.draw(
            *self.sizes, RANKS, list(self.of_layer.values()), list(self.of_model.values()), self.weights, self.total,
            break_even_rank(*self.sizes), guess,
        )  # fmt: skip
        self.picture = self.drawn.picture

    def __call__(self, rank):
        """Show one rank."""
        layer, model = self.of_layer[rank], self.of_model[rank]
        self.drawn.update(rank, *self.sizes, layer, model)
        return (
            f"Rank {rank}: {layer:,} numbers beside a weight of {self.weights:,} ({layer / self.weights:.0%}), and "
            f"{model:,} in all of NameGPT, {model / self.total:.1%} of its {self.total:,}."
        )

    def twin(self) -> Still:
        """The same layer at several ranks."""
        even = break_even_rank(*self.sizes)
        return show(
            counts.draw_ranks(*self.sizes, {rank: self.of_layer[rank] for rank in TWIN_RANKS}, self.weights),
            f"A (orange) and B (blue) to scale beside a weight of {self.weights:,} numbers, with their count and their "
            f"share of it. At r = {even:g} the two hold as many numbers as the weight: above that rank, training the "
            "weight itself is the smaller job.",
        )

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """Return the explorer as notebook 02 shows it."""
        view = cls(guess=guess)
        return explore(view, rank=(1, 64, 4), twin=view.twin())
