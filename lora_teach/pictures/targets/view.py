"""Where the adapters go: which of NameGPT's linear layers are adapted, and how many numbers that trains."""

from lora_teach.bases.name_gpt import LAYER_GROUPS, NameGPT
from lora_teach.config import LoRAConfig
from lora_teach.layers.build import sizes
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.overlay.targets import choose
from lora_teach.pictures.targets import drawing as plots
from lora_teach.plots import Still, show


class Targets(View):
    """NameGPT's weight matrices to scale, adapters on those that are chosen, and the count of what trains.

    Args:
        base: A NameGPT; only its layers' names and sizes are read.
        guess: How many times as many numbers the MLP trains as attention does, at the same rank; None draws no guess.
    """

    def __init__(self, base, guess=None):
        self.guess = guess
        self.adapted = {label: _layers(base, target_modules) for label, target_modules in LAYER_GROUPS.items()}
        self.weights = {label: sum(i * o for i, o in layers.values()) for label, layers in self.adapted.items()}
        self.total = sum(parameter.numel() for parameter in base.parameters())
        self.drawn = plots.draw(self.adapted["all"], self.weights, guess is not None)
        self.picture = self.drawn.picture

    def __call__(self, targets, rank):
        """Put adapters of this rank on the chosen layers and count."""
        trainable = self.trainable(rank)
        guess = None if self.guess is None else self.guess * trainable["attention"]
        self.drawn.update(self.adapted[targets], rank, trainable, targets, guess)
        count, layers, weights = trainable[targets], len(self.adapted[targets]), self.weights[targets]
        return (
            f"{targets} at rank {rank}: {count:,} numbers train, beside {weights:,} frozen weights in {layers} layers; "
            f"{count / (self.total + count):.1%} of all parameters."
        )

    def trainable(self, rank):
        """``{choice: numbers that train at this rank}``: r times the sum of each adapted layer's two sizes."""
        return {label: rank * sum(i + o for i, o in layers.values()) for label, layers in self.adapted.items()}

    def twin(self) -> Still:
        """The four choices side by side at two ranks, with the sentence that can be read off them."""
        first = {name: size for name, size in self.adapted["all"].items() if name.startswith("blocks.0.")}
        drawn = plots.draw_choices(first, self.adapted, self.weights, {rank: self.trainable(rank) for rank in (8, 48)})
        area = self.weights["MLP"] / self.weights["attention"]
        edges = self.trainable(1)["MLP"] / self.trainable(1)["attention"]
        return show(
            drawn,
            "One of three equal blocks to scale, in_features down and out_features across. Dark: A on the left of a "
            "matrix and B on top. The counts are for all three blocks. The MLP's matrices have "
            f"{area:.2f} times attention's area, which is frozen, and {edges:.2f} times its edges, along which A and "
            "B stand. At rank 48 attention's adapter is as large as what it adapts.",
        )

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """The explorer of notebook 03."""
        view = cls(NameGPT(), guess)
        return explore(view, targets=list(LAYER_GROUPS), rank=(1, 48, 8), twin=view.twin())


def _layers(base, target_modules):
    adapted = choose(base, LoRAConfig(rank=1, target_modules=target_modules)).adapted
    return {name: sizes(module) for name, module in adapted.items()}  # {name: (in_features, out_features)}
