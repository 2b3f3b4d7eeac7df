"""Icons: eight tiles and how many outer products each is made of."""

from numbers import Real

from lora_teach.datasets.icons import SIZE, icons
from lora_teach.live.explore import Explorer, View, explore
from lora_teach.measure.spectrum import numerical_rank, truncate
from lora_teach.pictures.icons import drawing as plots
from lora_teach.plots import Still, show

SHOWN = (1, 2, 4, 8)  # numbers of outer products in the small multiples


class Icons(View):
    """Eight tiles, rebuilt from as many outer products as the slider says; what is complete gets a thick frame.

    Args:
        guess: The rank of each tile, A to H, as the learner predicts it: eight numbers from 1 to 16.

    Raises:
        ValueError: ``guess`` is something else, and not None.
    """

    def __init__(self, guess=None) -> None:
        self.tiles = icons()
        self.guess = _checked(guess, len(self.tiles))
        self.ranks = {name: numerical_rank(tile) for name, tile in self.tiles.items()}
        self.drawn = plots.draw_icons({name: tile.numpy() for name, tile in self.tiles.items()}, self.guess)
        self.picture = self.drawn.picture

    def __call__(self, outer_products):
        """Show what this many outer products make of each tile."""
        self.drawn.update(
            [tile.numpy() for tile in self.rebuilt(outer_products).values()], self.ranks.values(), outer_products
        )
        done = [name for name, rank in self.ranks.items() if rank <= outer_products]
        if not done:
            return f"With {outer_products} outer products each, no tile is complete."
        if len(done) == len(self.tiles):
            return "All eight tiles are complete; the numbers over the bars are their ranks." + self._verdict()
        amount = f"{outer_products} outer product{'' if outer_products == 1 else 's'} each"
        return f"With {amount}, {len(done)} of 8 tiles are complete: {', '.join(done)}."

    def rebuilt(self, outer_products):
        """Return ``{name: the best that this many outer products make of the tile}``."""
        return {name: truncate(tile, outer_products) for name, tile in self.tiles.items()}

    def twin(self) -> Still:
        """The tiles by rank, each rebuilt from 1, 2, 4 and 8 outer products, and the numbers that they need."""
        rebuilt = {used: {name: tile.numpy() for name, tile in self.rebuilt(used).items()} for used in SHOWN}
        tiles = {name: tile.numpy() for name, tile in self.tiles.items()}
        listed = ", ".join(f"{name} {rank}" for name, rank in sorted(self.ranks.items(), key=lambda item: item[1]))
        return show(
            plots.draw_sorted(tiles, rebuilt, self.ranks, self.guess),
            f"Outer products needed: {listed}. A thick frame marks a tile that is exact. The bare diagonal costs as "
            "much as noise: none of its rows can be made from the others." + self._verdict(),
        )

    def _verdict(self) -> str:
        if self.guess is None:
            return ""
        right = sum(round(guess) == rank for guess, rank in zip(self.guess, self.ranks.values(), strict=True))
        return f" You had {right} of 8 right."

    @classmethod
    def example(cls, guess=None) -> Explorer:
        """Return the explorer as notebook 01 shows it."""
        view = cls(guess)
        return explore(view, outer_products=(0, SIZE, 0), twin=view.twin())


def _checked(guess, count):
    if guess is None:
        return None
    try:
        numbers = list(guess)
    except TypeError:
        numbers = []
    if len(numbers) != count or not all(isinstance(number, Real) and 0 <= number <= SIZE for number in numbers):
        raise ValueError(f"guess={guess!r}: give {count} numbers from 1 to {SIZE}, for A to H, such as [1, 1, 2, …].")
    return numbers
