"""Overlap: do two updates that were trained apart point the same way? φ as heat maps, with chance beside."""

import torch

from lora_teach.live.explore import View, explore
from lora_teach.measure.results import load_result
from lora_teach.measure.subspace import random_similarity, similarity_map
from lora_teach.pictures.overlap import drawing as plots
from lora_teach.plots import show

PAPERS = ("q", "v")  # the layers that the paper's Figures 3 and 4 show
LABELS = {
    "r=8 and r=64": ("i of r = 8", "j of r = 64"),
    "r=64, two seeds": ("i of one seed", "j of the other"),
    "chance": ("i, drawn at random", "j, drawn at random"),
}


class Overlap(View):
    """Buttons for the layers of one block of NameGPT; three heat maps: ranks 8 and 64, two seeds, and chance.

    Args:
        result: What ``load_result("learned")`` gives; None loads it.
    """

    def __init__(self, result=None):
        result = result or load_result("learned")
        mapped = result["settings"]["mapped"]
        self.language = mapped["language"]
        self._similarities = result["results"][self.language]["similarities"]
        self._names = {}
        for name in next(iter(self._similarities["maps"].values())):
            self._names[name.split(".")[-1].removesuffix("_proj")] = name
        self.layers = list(self._names)
        self.drawn = plots.draw({"": self.maps(self.layers[0])}, LABELS)
        self.picture = self.drawn.picture

    def maps(self, layer) -> dict:
        """``{title: φ (i, j)}`` of a layer; the last is of two random subspaces of the same sizes."""
        name = self._names[layer]
        maps = {title: torch.tensor(layers[name]) for title, layers in self._similarities["maps"].items()}
        rows, columns = next(iter(maps.values())).shape
        generator = torch.Generator().manual_seed(len(name))
        inputs = self._similarities["inputs"][name]
        drawn = (torch.randn(inputs, size, generator=generator) for size in (rows, columns))
        return maps | {"chance": similarity_map(*drawn)}

    def __call__(self, layer):
        """Show this layer."""
        maps = self.maps(layer)
        self.drawn.show(maps)
        ranks, seeds = (maps[title] for title in list(LABELS)[:2])
        inputs = self._similarities["inputs"][self._names[layer]]
        rows, columns = ranks.shape
        return (
            f"{self.language}, {layer} of the middle block, {inputs} inputs. The first direction of r = 8 and r = 64: "
            f"φ = {ranks[0, 0]:.2f}; of two seeds: {seeds[0, 0]:.2f}; by chance {random_similarity(inputs, 1, 1):.2f}. "
            f"The first {rows} and {columns}: {ranks[-1, -1]:.2f} and {seeds[-1, -1]:.2f}; by chance "
            f"{random_similarity(inputs, rows, columns):.2f}."
        )

    def twin(self):
        """The paper's two layers, for a saved notebook."""
        rows = {layer: self.maps(layer) for layer in PAPERS}
        first = {layer: [maps[title][0, 0].item() for title in list(LABELS)[:2]] for layer, maps in rows.items()}
        said = "; ".join(f"{layer}: {ranks:.2f} and {seeds:.2f}" for layer, (ranks, seeds) in first.items())
        return show(
            plots.draw(rows, LABELS).picture,
            f"The number in each corner is φ of the first directions. Ranks 8 and 64, and two seeds, in {said}. Chance "
            "grows with the number of directions too, toward the lower right.",
        )

    @classmethod
    def example(cls):
        """The explorer as notebook 11 shows it."""
        view = cls()
        return explore(view, layer=view.layers, twin=view.twin())
