"""Keyhole: a photo that a LoRA layer learns without seeing it, beside the best that its rank could do."""

from dataclasses import dataclass

import matplotlib
import numpy as np

from lora_teach.plots.picture import Picture
from lora_teach.plots.style import COLOURS, CYCLE, PHOTO, diamond, figure, legend, line, panels, styled

# Enough shades for the eye; with 256 the pictures in a saved notebook take nearly twice the bytes.
GREYS = matplotlib.colormaps[PHOTO].resampled(32)
GUESSED_RANK = 2  # the rank whose floor the learner predicts


@dataclass
class Keyhole:
    """The picture, and the artists that `update` moves."""

    picture: Picture
    product: object  # AxesImage, (in_features, out_features)
    best: object  # AxesImage
    titles: tuple  # over these two
    whole: object  # Line2D: the run from end to end
    taken: object  # Line2D: up to the step that is shown
    dot: object  # Line2D: at that step
    floor: object  # Line2D: the loss of the best

    def update(self, product, best, loss, floor, rank: int, step: int) -> None:
        """Show one step of one run.

        Args:
            product: A·B after that step, ``(in_features, out_features)``.
            best: The best matrix of that rank, the same shape.
            loss: In % of the start, at each step of the run, ``(steps + 1,)``.
            floor: The loss of ``best``, in % too.
            rank: The run's.
            step: The step that is shown.
        """
        self.product.set_data(product)
        self.best.set_data(best)
        self.titles[0].set_text(f"A·B, rank {rank}, after step {step}")
        self.titles[1].set_text(f"the best of rank {rank} (SVD)")
        self.whole.set_data(range(len(loss)), loss)
        self.taken.set_data(range(step + 1), loss[: step + 1])
        self.dot.set_data([step], [loss[step]])
        self.floor.set_data([0, len(loss) - 1], [floor, floor])


@styled
def draw(target, steps: int, guess: float | None = None) -> Keyhole:
    """Four panels: the target, the product now, the best of its rank, and the loss by step with the best as its floor.

    Args:
        target: ``(in_features, out_features)``.
        steps: Length of a run.
        guess: The learner's prediction for rank 2 at the last step, in % of the loss at the start; None draws nothing.
    """
    made = figure(12, 3.2)
    left, middle, right, curves = panels(made, columns=4, grid=False, width_ratios=[1, 1, 1, 1.55])
    low, high = float(np.min(target)), float(np.max(target))
    left.set_title("ΔW*, to be learnt")
    photo(left, target, low, high)
    product, best = (photo(axes, np.zeros_like(target), low, high) for axes in (middle, right))
    titles = middle.set_title(f"A·B, rank 00, after step {steps}"), right.set_title("the best of rank 00 (SVD)")
    (whole,) = curves.plot([], [], **line("ghost", linewidth=1.4))
    (taken,) = curves.plot([], [], **line("lora", marker="", label="A·B, trained"))
    (dot,) = curves.plot([], [], **line("lora", linestyle=""))
    (floor,) = curves.plot([], [], **line("best", label="the best of its rank"))
    _loss_axes(curves, steps)
    diamond(curves, steps, guess, f"your guess for rank {GUESSED_RANK}")
    legend(curves, loc="upper right")
    picture = Picture(made, [product, best, *titles, whole, taken, dot, floor])
    return Keyhole(picture, product, best, titles, whole, taken, dot, floor)


@styled
def draw_ranks(target, products: dict, bests: dict, losses: dict, floors: dict, guess: float | None = None):
    """The same at several ranks at once, for a page whose sliders don't move.

    Args:
        target: ``(in_features, out_features)``.
        products: ``{rank: A·B at the run's end}``.
        bests: ``{rank: the best matrix of that rank}``.
        losses: ``{rank: loss in % of the start at each step}``.
        floors: ``{rank: the best one's loss in %}``.
        guess: As in `draw`.

    Returns:
        A Figure.
    """
    made = figure(12, 3.7)
    trained, best = [f"trained {rank}" for rank in products], [f"best {rank}" for rank in products]
    axes = made.subplot_mosaic(
        [["target", *trained, "loss"], ["words", *best, "loss"]], width_ratios=[*[1] * (1 + len(products)), 2.1]
    )
    low, high = float(np.min(target)), float(np.max(target))
    photo(axes["target"], target, low, high)
    axes["target"].set_title("ΔW*", fontsize=10)
    axes["words"].axis("off")
    for rank, role in zip(products, CYCLE, strict=False):
        photo(axes[f"trained {rank}"], products[rank], low, high)
        photo(axes[f"best {rank}"], bests[rank], low, high)
        axes[f"trained {rank}"].set_title(f"rank {rank}", fontsize=10)
        steps = len(losses[rank]) - 1
        axes["loss"].plot(losses[rank], **line(role, marker="", linestyle="-"))
        axes["loss"].axhline(floors[rank], **line(role, marker="", linestyle="--", linewidth=1))
        axes["loss"].annotate(
            f"rank {rank}", (steps, floors[rank]), (4, 0), textcoords="offset points", va="center", fontsize=9,
            color=COLOURS["ink"], annotation_clip=False,
        )  # fmt: skip
    first = next(iter(products))
    axes[f"trained {first}"].set_ylabel("A·B, trained")
    axes[f"best {first}"].set_ylabel("the best (SVD)")
    panel = axes["loss"]
    panel.grid(True)
    _loss_axes(panel, steps)
    panel.set_title("solid: trained; dashed: the best of that rank", fontsize=10)
    if diamond(panel, steps, guess, f"your guess for rank {GUESSED_RANK}"):
        legend(panel, loc="upper right")
    return made


def photo(axes, values, low: float, high: float):
    """A matrix in shades of grey, ``low`` black and ``high`` white; returns the image."""
    image = axes.imshow(np.asarray(values), cmap=GREYS, vmin=low, vmax=high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=COLOURS["ghost"])
    return image


def _loss_axes(axes, steps: int) -> None:
    axes.grid(True)
    axes.set(xlabel="step", ylabel="loss, % of the start", xlim=(0, 1.02 * steps), ylim=(0, 105))
