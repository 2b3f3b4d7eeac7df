"""OwnRate: a variant beside plain LoRA, both at the slider's learning rate, then each at its own."""

from statistics import mean

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.pictures.own_rate.numbers import CONTROLS, at, beside, compare, digit_entries, line_of, spaced, variants
from lora_teach.plots import COLOURS, MARKERS, Picture, diamond, figure, legend, line, panels, show, styled
from lora_teach.utils.validation import check_guess

GROUPS = ("at the slider's rate", "each at its own rate")
RANDOM = "a random update, as large"
LOOKS = {"variant": "other", "plain": "lora", "control": "third"}  # who is drawn in which role


class OwnRate(View):
    """Share of digits read right by learning rate, and beside it the seeds at one rate and at each one's own.

    Args:
        task: "turned by 90°" or "inverted".
        start: The variant on show at first; None takes the first.
        guess: The learning rate at which the learner expects this variant's best.

    Raises:
        TypeError: ``guess`` is no number.
        ValueError: ``guess`` is not from 0.0001 to 1.
    """

    def __init__(self, task="turned by 90°", start=None, guess=None):
        self.guess = check_guess(guess, 1e-4, 1, "a learning rate")
        self.entries, self.base = digit_entries(task)
        self.task, names = task, variants(self.entries)
        self.start = start or names[0]
        rates = line_of(self.entries["LoRA"])[0]
        shared = load_result("variants")["settings"]["shared_rate"]
        self.sliders = {"variant": (names, self.start), "learning_rate": (rates, shared)}
        self._draw(rates)

    @styled
    def _draw(self, rates):
        made = figure(10, 3.9)
        left, right = panels(made, columns=2, width_ratios=[1.5, 1])
        self.lines = {key: left.plot([], [], **line(role, markersize=5))[0] for key, role in LOOKS.items()}
        self.tops = {key: left.plot([], [], **_mark(role, 11))[0] for key, role in LOOKS.items()}
        (self.here,) = left.plot([], [], color=COLOURS["ink"], linewidth=1, transform=left.get_xaxis_transform())
        _rate_axis(left, rates)
        _share_axis(left, self.base)
        left.set(xlabel="learning rate (of A)", ylabel="validation digits read right")
        self.title = left.set_title("variant and LoRA")
        diamond(left, self.guess, 0.98, "your guess")
        self.seeds = {key: right.plot([], [], **_mark(role, 7))[0] for key, role in LOOKS.items()}
        ghost = {"linestyle": "", "marker": "x", "color": COLOURS["base"], "markersize": 7}
        self.random = right.plot([], [], **ghost)[0]
        _share_axis(right, self.base)
        right.set(xticks=[0, 1], xticklabels=GROUPS, xlim=(-0.5, 1.6), title="Test digits, three seeds")
        self.key = legend(left, handles=list(self.lines.values()), labels=list(LOOKS))
        right.annotate(RANDOM, (1.15, 0.14), ha="right", va="center", size=9, color=COLOURS["base"])
        self.picture = Picture(made, [self.lines, self.tops, self.here, self.title, self.seeds, self.random, self.key])

    def move(self, variant, learning_rate):
        """Show this variant beside its plain LoRA."""
        shown = self._shown(variant)
        for key in LOOKS:
            entry = self.entries.get(shown.get(key))
            points = line_of(entry) if entry else ([], [])
            self.lines[key].set_data(*points)
            best = [entry["lr"]] if entry else []
            self.tops[key].set_data(best, [dict(zip(*points, strict=True))[lr] for lr in best])
            places = [*at(entry, learning_rate), *at(entry, entry["lr"])] if entry else []
            offset = {"variant": -0.12, "plain": 0.0, "control": 0.12}[key]
            self.seeds[key].set_data([group + offset for group in (0, 1) for _ in range(len(places) // 2)], places)
        self.random.set_data([1.24] * len(self.entries[variant]["random"]), self.entries[variant]["random"])
        self.here.set_data([learning_rate] * 2, [0, 1])
        self.title.set_text(f"{variant} and {beside(variant)}, digits {self.task}")
        for text, handle, key in zip(self.key.get_texts(), self.key.legend_handles, LOOKS, strict=True):
            text.set_text(shown.get(key, ""))
            handle.set_visible(key in shown)
        return self._said(variant, learning_rate)

    def _said(self, variant, lr):
        own = [f"{entry['lr']:g}" for entry in (self.entries[variant], self.entries[beside(variant)])]
        random = spaced(mean(self.entries[variant]["random"]))
        both = compare(self.entries, variant, lr)
        return (
            f"Both at {lr:g}: {_pair(both, variant)}. At {own[0]} and {own[1]}, each one's own: "
            f"{_pair(compare(self.entries, variant), variant)}. {RANDOM.capitalize()}: {random}."
            + self.your_guess("g", shown=variant == self.start)
        )

    def _shown(self, variant):
        shown = {"variant": variant, "plain": beside(variant)}
        return shown | ({"control": CONTROLS[variant]} if variant in CONTROLS else {})

    def static_figure(self):
        """Every variant's line beside its plain LoRA's, with the best rates marked."""
        names = list(variants(self.entries))
        shared = load_result("variants")["settings"]["shared_rate"]
        words = [
            f"{name}: {spaced(mean(compare(self.entries, name, shared).ours))}, "
            f"{spaced(mean(compare(self.entries, name).ours))}"
            for name in (*dict.fromkeys(map(beside, names)), *names)
        ]
        sentence = (
            f"Test digits {self.task}, read right at {shared:g}, then each at its own rate (large mark): "
            f"{'; '.join(words)}. "
            f"A random update of the same size reads one in ten.{self.your_guess('g', about=f' for {self.start}')}"
        )
        return show(self.draw_lines(names, shared), sentence)

    @styled
    def draw_lines(self, names, shared):
        """Return a Figure: one panel a variant."""
        made = figure(11.6, 3.4)
        grid = panels(made, columns=len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(grid, names, strict=True):
            shown = self._shown(name)
            for key, role in LOOKS.items():
                if key in shown:
                    entry = self.entries[shown[key]]
                    rates, shares = line_of(entry)
                    axes.plot(rates, shares, **line(role, markersize=4, label=shown[key].removeprefix("PiSSA, ")))
                    axes.plot(entry["lr"], dict(zip(rates, shares, strict=True))[entry["lr"]], **_mark(role, 11))
            _rate_axis(axes, rates)
            _share_axis(axes, self.base)
            axes.axvline(shared, color=COLOURS["ink"], linewidth=1)
            axes.set(title=name, xlabel="learning rate")
            diamond(axes, self.guess if name == self.start else None, 0.98)
            legend(axes, loc="lower center", bbox_to_anchor=(0.57, 0.09), fontsize=8)
        grid[0].set_ylabel("validation digits read right")
        return made


def _pair(compared, variant):
    ours, theirs = (spaced(mean(seeds)) for seeds in (compared.ours, compared.theirs))
    return f"{variant} {ours}, {beside(variant)} {theirs} ({compared.verdict})"


def _mark(role, size):
    return {"linestyle": "", "marker": MARKERS[role], "color": COLOURS[role], "markersize": size}


def _rate_axis(axes, rates):
    axes.set_xscale("log")
    ticks = [tick for tick in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1) if rates[0] / 1.2 <= tick <= rates[-1] * 1.2]
    axes.set_xticks(ticks[:: 1 + len(ticks) // 4], [f"{tick:g}" for tick in ticks[:: 1 + len(ticks) // 4]])
    axes.set_xticks([], minor=True)
    axes.set_xlim(rates[0] / 1.3, rates[-1] * 1.3)


def _share_axis(axes, base):
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.axhline(base, color=COLOURS["base"], linestyle=":", linewidth=1.2)
