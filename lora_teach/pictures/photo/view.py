"""A photo's singular value decomposition: what the largest r outer products show of it, and what they cost."""

import torch

from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.spectrum import energy_lost, factors, spectrum
from lora_teach.pictures.keyhole.view import pagoda
from lora_teach.pictures.photo import drawing as plots
from lora_teach.plots import Still, show

SHOWN = (1, 2, 4, 8, 16, 48)  # ranks of the small multiples


class Photo(View):
    """A photo at rank r.

    Args:
        values: The photo, ``(rows, columns)``, with its mean grey as zero; None takes the pagoda.
    """

    def __init__(self, values=None) -> None:
        self.values = pagoda() if values is None else values
        self.sigma = spectrum(self.values)  # (k,)
        self.A, self.B = factors(self.values, len(self.sigma))  # (rows, k), (k, columns): largest outer product first
        self.lost = 100 * energy_lost(self.values)  # (k + 1,), %
        self.stored = 100 * torch.arange(len(self.lost)) * sum(self.values.shape) / self.values.numel()  # (k + 1,), %
        self.drawn = plots.draw(*self._numpy(self.values, self.sigma, self.lost, self.stored))
        self.picture = self.drawn.picture

    def __call__(self, rank):
        """Show the photo at this rank."""
        last = self.A[:, [rank - 1]] @ self.B[[rank - 1]]  # (rows, columns)
        self.drawn.update(*self._numpy(self.best(rank), last, self.sigma), rank)
        numbers, whole = rank * sum(self.values.shape), self.values.numel()
        return (
            f"Rank {rank} loses {self.lost[rank]:.1f} % of the squared values and stores {numbers:,} numbers where the "
            f"photo has {whole:,}{': a saving no longer' if numbers >= whole else ''}."
        )

    def best(self, rank):
        """Return the sum of the largest ``rank`` outer products: ``(rows, columns)``."""
        return self.A[:, :rank] @ self.B[:rank]

    def twin(self) -> Still:
        """Six ranks side by side, and lost against stored for all."""
        bests = {rank: self.best(rank).numpy() for rank in SHOWN}
        listed = ", ".join(f"{self.lost[rank]:.0f} %" for rank in SHOWN[:-1])
        even = int((self.stored < 100).sum())
        return show(
            plots.draw_ranks(self.values.numpy(), bests, *self._numpy(self.lost, self.stored)),
            f"Rank {', '.join(map(str, SHOWN[:-1]))} lose {listed} of the squared values. From rank {even} on, the "
            "factors hold at least as many numbers as the photo.",
        )

    @staticmethod
    def _numpy(*tensors):
        return [tensor.numpy() for tensor in tensors]

    @classmethod
    def example(cls) -> Explorer:
        """Return the explorer as notebook 01 shows it."""
        view = cls()
        return explore(view, rank=(1, 96, 8), twin=view.twin())
