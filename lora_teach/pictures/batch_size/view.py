"""Batch size: LoRA and full fine-tuning with small and large batches, at equally many examples and at equal steps.

What is drawn lies in ``data/batch_size.json``; the command that it names says how it was trained.
"""

from statistics import mean

from lora_teach.measure.results import load_result
from lora_teach.plots.style import COLOURS, figure, legend, line, panels, styled

SHOWN = {  # panel's title: task, budget
    "90°: equally many examples": ("turned by 90°", "equal examples"),
    "90°: equally many steps": ("turned by 90°", "equal steps"),
    "Black paper: equal examples": ("inverted", "equal examples"),
}
ROLES = {"LoRA r=4": "lora", "LoRA r=64": "other", "full": "full"}
CHANCE = 2.302585092994046  # nats: guessing among ten digits
LIMITS = (0.1, 6)


@styled
def draw_batch_sizes(result=None):
    """Draw test loss by batch size, a panel a comparison, and return the Figure.

    Large marks are means of three seeds (small marks), each batch size at its own learning rate; hollow ones have the
    rate of batch 64, carried over.

    Args:
        result: What ``load_result("batch_size")`` gives; None loads it.
    """
    result = result or load_result("batch_size")
    sizes = result["settings"]["batch_sizes"]
    fig = figure(11.4, 3.9)
    grid = panels(fig, columns=len(SHOWN), sharey=True)
    for axes, (title, (task, budget)) in zip(grid, SHOWN.items(), strict=True):
        found = result["results"][task][budget]
        for name, role in ROLES.items():
            entries = [found[name][str(size)] for size in sizes]
            look = line(role, markersize=7)
            for size, entry in zip(sizes, entries, strict=True):
                seeds = look | {"linestyle": "", "markersize": 3, "alpha": 0.5}
                axes.plot([size] * len(entry["test"]), entry["test"], **seeds)
                if entry["carried over"] != entry["test"]:
                    hollow = look | {"linestyle": "", "fillstyle": "none"}
                    axes.plot(size, min(mean(entry["carried over"]), LIMITS[1] * 0.9), **hollow)
            axes.plot(sizes, [mean(entry["test"]) for entry in entries], **look, label=name)
        axes.axhline(CHANCE, color=COLOURS["base"], linestyle=(0, (1, 3)), linewidth=1.1)
        steps = [found["full"][str(size)]["steps"] for size in sizes]
        axes.set(xscale="log", yscale="log", ylim=LIMITS, xlim=(sizes[0] / 1.5, sizes[-1] * 1.5))
        axes.set_xticks(sizes, [f"{size}\n{count} steps" for size, count in zip(sizes, steps, strict=True)])
        axes.set_xticks([], minor=True)
        axes.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
        axes.set_yticks([], minor=True)
        axes.set(title=title, xlabel="examples in a batch")
    look = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right", "size": 9}
    grid[1].annotate("chance", (1, CHANCE), (-2, 2), color=COLOURS["base"], **look)
    grid[0].set_ylabel("loss on test digits (nats)")
    legend(grid[0], loc="upper left")
    return fig


def gap(result, task, budget, name, size, carried=False):
    """Return how much higher a contender's mean test loss is than full fine-tuning's, in nats.

    With ``carried`` the contender keeps the learning rate of batch 64; full fine-tuning always has its own.
    """
    found = result["results"][task][budget]
    key = "carried over" if carried else "test"
    return mean(found[name][str(size)][key]) - mean(found["full"][str(size)]["test"])
