"""Subspace: how far training comes in d random directions, beside LoRA and full fine-tuning.

Li and others 2018 call the d that is enough the intrinsic dimension of a task. `lora_teach.measure.random_subspace`
says how it is trained, ``data/subspace.json`` holds what came out.
"""

from statistics import mean

from lora_teach.live.explore import View
from lora_teach.pictures.subspace.numbers import ENOUGH, LORA, enough, lora_lines, subspace_lines
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, figure, legend, line, panels, styled

import numpy as np

SCRATCH = "turned by 30°, from scratch"
TICKS = [8, 64, 512, 4096, 32768, 262144]


class Subspace(View):
    """A slider over how many random directions may move, buttons for the task.

    Args:
        result: What ``load_result("subspace")`` gives; None loads it.
    """

    def __init__(self, result=None):
        self._lines, self._lora = subspace_lines(result), lora_lines()
        self.tasks = [task for task in self._lines if task in LORA]
        first = self._lines[self.tasks[0]]
        self.sliders = {"directions": (sorted(first), 64), "task": self.tasks}
        self._draw()

    @styled
    def _draw(self):
        fig = figure(8.6, 3.9)
        axes = panels(fig)
        _dress(axes)
        self.curves = {
            "random": axes.plot([], [], **line("best", marker="d", label="d random directions"))[0],
            "lora": axes.plot([], [], **line("lora", label="LoRA, a mark a rank"))[0],
        }
        (self.dot,) = axes.plot([], [], "d", color=COLOURS["best"], markersize=12)
        (self.here,) = axes.plot([], [], color=COLOURS["ink"], linewidth=1, transform=axes.get_xaxis_transform())
        self.title = axes.set_title("digits")
        legend(axes, loc="lower right")
        self.picture = Picture(fig, [self.curves, self.dot, self.here, self.title])

    def move(self, directions, task):
        """Stand at this many directions, or the nearest that was tried, on this task."""
        random, lora = self._lines[task], self._lora[task]
        size = min(random, key=lambda tried: abs(np.log(tried / directions)))
        for key, by_size in (("random", random), ("lora", lora)):
            self.curves[key].set_data(list(by_size), [mean(seeds) for seeds in by_size.values()])
        self.dot.set_data([size], [mean(random[size])])
        self.here.set_data([size, size], [0, 1])
        self.title.set_text(_title(task))
        seeds = ", ".join(f"{share:.0%}" for share in random[size])
        few = min(lora)
        return (
            f"{_title(task)}: {size:,} random directions have {mean(random[size]):.0%} of full fine-tuning's gain "
            f"(seeds: {seeds}); 90 % takes {enough(random):,}. LoRA of rank 1, {few:,} numbers: {mean(lora[few]):.0%}."
        )

    @styled
    def static_figure(self):
        """The four tasks side by side, in the first also a network that had learned nothing before."""
        fig = figure(11.6, 3.5)
        grid = panels(fig, columns=len(self.tasks), sharey=True)
        said = []
        for axes, task in zip(grid, self.tasks, strict=True):
            _dress(axes)
            drawn = [("best", "random directions", self._lines[task]), ("lora", "LoRA by rank", self._lora[task])]
            if SCRATCH.startswith(task):
                drawn.append(("base", "… from scratch", self._lines[SCRATCH]))
            for role, label, by_size in drawn:
                look = line(role, label=label) | ({"marker": "d"} if role == "best" else {})
                for size, seeds in by_size.items():
                    few = look | {"linestyle": "", "markersize": 2.5, "alpha": 0.5, "label": "_"}
                    axes.plot([size] * len(seeds), seeds, **few)
                axes.plot(list(by_size), [mean(seeds) for seeds in by_size.values()], **look | {"markersize": 5})
            needed = enough(self._lines[task])
            axes.set_title(f"{_title(task)}\n90 % with {needed:,}", size=10)
            axes.set_xlabel("numbers that train", size=9)
            said.append(f"{_title(task)} {needed:,}")
            if axes is not grid[0]:
                axes.set_ylabel("")
        legend(grid[0], loc="lower right", fontsize=8)
        scratch = enough(self._lines[SCRATCH])
        return show(
            fig,
            f"Random directions that are enough for 90 % of full fine-tuning's gain (three seeds): {'; '.join(said)}. "
            f"The same digits, from a network that had learned nothing: {scratch:,}.",
        )


def _title(task):
    return {"inverted": "Black paper"}.get(task, task[0].upper() + task[1:])


def _dress(axes):
    """Axes of gain against a number of numbers."""
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:,}" if tick < 10_000 else f"{tick // 1024}k" for tick in TICKS])
    axes.set_xticks([], minor=True)
    axes.set(xlim=(6, 550_000), ylim=(-0.05, 1.1), xlabel="numbers that train", ylabel="share of full's gain")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.axhline(1, color=COLOURS["full"], linestyle="--", linewidth=1.4)
    axes.axhline(ENOUGH, color=COLOURS["ghost"], linewidth=1.2, zorder=0)
