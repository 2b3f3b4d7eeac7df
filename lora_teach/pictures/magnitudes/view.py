"""Magnitudes: how far a fine-tuning turned the weights' rows, against how much longer or shorter it made them."""

from statistics import mean

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.pictures.magnitudes.numbers import slope, slopes
from lora_teach.plots import COLOURS, Picture, figure, legend, line, panels, show, styled

ROLES = {"full": "full", "LoRA": "lora", "DoRA": "other"}
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5)
LIMITS = (0.012, 0.7), (0.018, 0.9)  # of how far rows turned, and of how much they were stretched


class Magnitudes(View):
    """A dot a layer of NameGPT, trained on Zulu names; crosses are random updates as large."""

    def __init__(self):
        entries = load_result("variants")["results"]["names"]["Zulu"]
        self.runs = {name: entries[name]["magnitudes"] for name in ROLES}  # one dict a seed, by step
        self.steps = [int(step) for step in self.runs["LoRA"][0]]
        self.sliders = {"trained": list(ROLES), "step": (self.steps, self.steps[-1])}
        self._draw()

    @styled
    def _draw(self):
        made = figure(9.6, 3.9)
        left, right = panels(made, columns=2, width_ratios=[1.2, 1])
        _dress(left)
        (self.random,) = left.plot([], [], "x", color=COLOURS["ghost"], label="a random update, as large")
        (self.dots,) = left.plot([], [], **line("lora", linestyle="", label="what was learned"))
        self.title = left.set_title("full, step 160")
        legend(left, handles=[self.random], loc="upper left")
        for name, runs in self.runs.items():
            each = [slopes(runs, str(step)) for step in self.steps]
            right.plot(self.steps, [mean for _, mean in each], **line(ROLES[name], label=name))
            for step, (seeds, _) in zip(self.steps, each, strict=True):
                right.plot([step] * len(seeds), seeds, "_", color=COLOURS[ROLES[name]], markersize=9)
        control = [mean(slopes(runs, str(step), "random")[1] for runs in self.runs.values()) for step in self.steps]
        right.plot(self.steps, control, "x:", color=COLOURS["base"], label="random updates")
        right.axhline(0, color=COLOURS["ink"], linewidth=1)
        right.set(ylim=(-1, 1.05), xlabel="step", ylabel="correlation over 18 layers", title="Do both grow together?")
        right.set_xticks(self.steps)
        legend(right, loc="lower left")
        self.picture = Picture(made, [self.random, self.dots, self.title])

    def move(self, trained, step):
        """Show the layers of this training, all seeds, after so many steps."""
        at = [run[str(step)] for run in self.runs[trained]]
        for artist, which in ((self.dots, "learned"), (self.random, "random")):
            artist.set_data(*zip(*(point for points in at for point in points[which]), strict=True))
        self.dots.set(color=COLOURS[ROLES[trained]], marker=line(ROLES[trained])["marker"])
        self.title.set_text(f"{trained}, step {step}: a mark a layer and seed")
        learned, random = (mean(slope(points[which]) for points in at) for which in ("learned", "random"))
        return (
            f"{trained}, step {step}: the correlation over layers is {learned:.2f}; with random updates of the same "
            f"size it is {random:.2f}."
        )

    def static_figure(self):
        """The three trainings side by side at the last step."""
        step = str(self.steps[-1])
        told = ", ".join(f"{name} {slopes(runs, step)[1]:.2f}" for name, runs in self.runs.items())
        random = mean(slopes(runs, step, "random")[1] for runs in self.runs.values())
        sentence = (
            f"Step {step}: a mark is a layer of one seed; crosses are random updates of the same size. Correlation: "
            f"{told}; random {random:.2f}."
        )
        return show(self.draw_side_by_side(step), sentence)

    @styled
    def draw_side_by_side(self, step):
        """Return a Figure: a panel for each training."""
        made = figure(10.2, 3.5)
        grid = panels(made, columns=len(self.runs), sharex=True, sharey=True)
        for axes, (name, runs) in zip(grid, self.runs.items(), strict=True):
            for which, look in (
                ("random", {"marker": "x", "color": COLOURS["ghost"], "linestyle": "", "label": "random, as large"}),
                ("learned", line(ROLES[name], linestyle="", label="learned")),
            ):
                axes.plot(*zip(*(point for run in runs for point in run[step][which]), strict=True), **look)
            _dress(axes)
            axes.set(title=name)
            legend(axes, loc="upper left")
        for axes in grid[1:]:
            axes.set_ylabel("")
        return made


def _dress(axes):
    axes.set(xscale="log", yscale="log", xlim=LIMITS[0], ylim=LIMITS[1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axis.set_ticks([], minor=True)
    axes.set(xlabel="turned by (1 − cos)", ylabel="stretched by, share of length")
