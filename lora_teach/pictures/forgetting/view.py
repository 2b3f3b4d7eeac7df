"""Learning against forgetting: scale each contender's update, and see who has kept more English for as much learned.

What is drawn lies in ``data/forgetting.json``; `lora_teach.pictures.forgetting.numbers` says what a path is, and
`lora_teach.pictures.forgetting.equal_learning` what stands at equal learning.
"""

from lora_teach.live.explore import View
from lora_teach.measure.results import load_result
from lora_teach.pictures.forgetting.equal_learning import WAYS, equal_learning, finished, lies
from lora_teach.plots.die import aloud, die_axis
from lora_teach.plots.picture import Picture, show
from lora_teach.plots.style import COLOURS, MARKERS, diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_guess

import numpy as np
from matplotlib.ticker import MultipleLocator

ROLES = {"1": "fourth", "4": "lora", "16": "third", "64": "best"}  # by rank; rsLoRA's marks are hollow, lines dashed
DONE = {"strength": "scaled", "training": "trained"}  # how equal learning was reached, in the panels' order
NAMED = (0, 0.5, 1, 1.5)  # strengths that are written beside the path
SIDES = (6, 7, 8, 10, 12, 15, 20, 30, 40, 60, 80)


class Forgetting(View):
    """Language buttons, and a strength for every contender's finished update.

    Args:
        guess: The learner's loss on English for the first contender, in the first language, where all are scaled to
            have learned equally much; in nats a letter.
        yours: A run of the learner's own, from `lora_teach.pictures.forgetting.numbers.own_run`; its language is shown
            first.
        result: What ``load_result("forgetting")`` gives; None loads it.

    Raises:
        TypeError: A guess that is no number.
        ValueError: A guess outside 0 to 10; a run in a language without results.
    """

    def __init__(self, guess=None, yours=None, result=None):
        self.guess, self.yours = check_guess(guess, 0, 10, "a loss in nats"), yours
        result = result or load_result("forgetting")
        self.strengths = result["settings"]["strengths"]
        self.entries = {name: entry for name, entry in result["results"].items() if "full" in finished(entry)}
        if yours is not None and yours["language"] not in self.entries:
            raise ValueError(
                f"your run is on {yours['language']}, and the results are on {', '.join(self.entries)}. Train on one "
                "of these."
            )
        self.first, self._language, self._drawn = next(iter(self.entries)), None, []  # the language's artists
        start = yours["language"] if yours else self.first
        self.sliders = {"language": (list(self.entries), start), "strength": (self.strengths, 1.0)}
        self.equal = {  # language -> way -> (level, {contender: Band of losses on English there})
            name: {way: equal_learning(finished(entry), way) for way in WAYS} for name, entry in self.entries.items()
        }
        self._draw(list(self.paths(self.first)))

    @styled
    def _draw(self, contenders):
        """Make the picture, without what belongs to a language."""
        fig = figure(12, 4.8)
        left, middle, right = self.axes = panels(
            fig, columns=3, width_ratios=[2.4, 1, 1]
        )  # paths, then one for each way
        right.sharey(middle)
        left.set(xlabel="loss on the new language", ylabel="loss on English (nats a letter)", xlim=(2, 3), ylim=(2, 5))
        left.annotate("down and to the left is better", (0.02, 0.03), xycoords="axes fraction", size=9)
        left.yaxis.set_major_locator(MultipleLocator(0.5))  # labels of one width, whatever the language
        die_axis(left, SIDES, top=True)
        for one in (middle, right):
            one.set_yticks(range(len(contenders)), contenders)
            one.set(ylim=(len(contenders) - 0.5, -0.5), xlabel="loss on English", title="English")
            one.grid(axis="y", visible=False)
        right.tick_params(labelleft=False)
        self.contender = contenders[0]  # whom the guess is about
        self.dots = {  # contender, or "yours" -> Line2D: where it stands at the strength
            name: left.plot([], [], **look(name, marker=True), markersize=9, zorder=4)[0] for name in contenders
        }
        (self.dots["yours"],) = left.plot([], [], "x", color=COLOURS["ink"], ms=10, markeredgewidth=2, zorder=5)
        self.mark = diamond(middle, self.guess, 0)
        self.picture = Picture(fig, [self.dots])

    @styled
    def _enter(self, language):
        """Replace what belongs to one language."""
        for artist in self._drawn:
            artist.remove()
        left, *others = self.axes
        yours = self.yours["strength"] if self._yours(language) else None
        self._drawn = _draw_paths(left, self.paths(language), self.strengths, yours)
        left.set(xlabel=f"loss on {language} (nats a letter)")
        left.set_title("The finished update, scaled: down and left is better")
        for axes, way in zip(others, DONE, strict=True):
            level, bands = self.equal[language][way]
            self._drawn += _draw_rows(axes, bands, list(self.dots))
            axes.set_title(f"English, {DONE[way]} to {level:.2f}", fontsize=10)
        if self.mark is not None:
            self.mark.set_visible(language == self.first)
        self._language = language
        self.picture.background_changed()

    def paths(self, language):
        """``{contender: (seeds, strengths, 2)}``: the losses on the new language and on English."""
        groups = finished(self.entries[language])
        return {name: np.array([run["strength"] for run in runs]) for name, runs in groups.items()}

    def losses(self, language, strength):
        """``{contender: (new language, English)}`` at a strength, the means of the seeds, in nats a letter."""
        at = self.strengths.index(strength)
        losses = {name: tuple(path.mean(0)[at].tolist()) for name, path in self.paths(language).items()}
        if self._yours(language):
            losses["yours"] = tuple(self.yours["strength"][at])
        return losses

    def move(self, language, strength):
        """Stand at this strength in this language; tell where all stand, and who forgets least at equal learning."""
        if language != self._language:
            self._enter(language)
        losses = self.losses(language, strength)
        for name, dot in self.dots.items():
            dot.set_data([[value] for value in losses[name]] if name in losses else ([], []))
        new, english = losses["full"]
        a_die = "a die with "
        said = f"×{strength:g}: full fine-tuning {aloud(new, a_die)} on {language}, English {aloud(english, a_die)}"
        others = {name: pair for name, pair in losses.items() if name not in ("full", "yours")}
        if others:
            near = min(others, key=lambda name: others[name][1])
            new, english = others[near]
            said += f"; of the others {near} has kept most English, {english:.2f}, with {language} at {new:.2f}"
        if "yours" in losses:
            said += "; your own run {:.2f} and {:.2f}".format(*losses["yours"])
        guessed = self.your_guess(about=f" for {self.contender}", shown=language == self.first)
        return f"{said}. {self._equal_learning(language, 'strength')}.{guessed}"

    def static_figure(self):
        """Return a row a language, a panel a contender, and the verdicts in words."""
        words = "".join(f" {self._equal_learning(name, 'strength', numbers=False)}." for name in self.entries)
        return show(
            self.draw_all(),
            "Solid: the finished update from ×0, the base, to ×1.5, with a mark a seed at ×1. Dotted: the way through "
            "training. + (its height is in the title): English where all are scaled to have learned equally much."
            + words,
        )

    @styled
    def draw_all(self):
        """Draw small multiples: a row a language, a column a contender, the others in grey; returns the figure."""
        columns = max(len(self.paths(language)) for language in self.entries)
        fig = figure(12, 0.6 + 2.2 * len(self.entries))
        grid = panels(fig, rows=len(self.entries), columns=columns, squeeze=False, sharex="row", sharey="row")
        for row, language in zip(grid, self.entries, strict=True):
            paths, training = self.paths(language), finished(self.entries[language])
            level, bands = self.equal[language]["strength"]
            for axes, name in zip(row, paths, strict=False):
                for other in paths.values():
                    axes.plot(*other.mean(0).T, **line("ghost", marker="", linewidth=1))
                for run in training[name]:
                    axes.plot(*np.array(run["training"]).T, color=look(name)["color"], linewidth=0.9, linestyle=":")
                axes.plot(*paths[name].mean(0).T, **look(name), linewidth=1.8)
                ends = paths[name][:, self.strengths.index(1)]  # (seeds, 2)
                axes.plot(*ends.T, **look(name, marker=True), markersize=5)
                if name in bands:
                    english = bands[name].mean
                    axes.plot([level], [english], "+", color=COLOURS["ink"], markersize=9, markeredgewidth=1.5)
                    axes.set_title(f"{name}: + {english:.2f}", size=10)
                else:
                    axes.set_title(name, size=10)
            for axes in row[len(paths) :]:
                axes.set_visible(False)
            if language == self.first:
                diamond(row[0], level, self.guess)
            row[0].set_ylabel(f"English, after {language}")
            row[(len(paths) - 1) // 2].set_xlabel(f"loss on {language} (nats a letter)")
        return fig

    def _equal_learning(self, language, way, numbers=True):
        """Who has kept more English than full fine-tuning where all have learned equally much; see `lies`."""
        level, bands = self.equal[language][way]
        full, groups = bands["full"], {"below": [], "above": [], "undecided": []}
        for name in sorted(bands.keys() - {"full"}, key=lambda name: bands[name].mean):
            groups[lies(bands[name], full)].append(f"{name} {bands[name].mean:.2f}" if numbers else name)
        said = {"below": "less is forgotten by", "above": "more by", "undecided": "undecided:"}
        listed = [f"{said[word]} {', '.join(names) or 'nobody'}" for word, names in groups.items()]
        if not groups["undecided"]:
            listed.pop()
        elif not numbers:
            listed[-1] = f"{len(groups['undecided'])} undecided"
        done = DONE[way].capitalize()
        return f"{done} to {level:.2f} on {language}, full has English at {full.mean:.2f}; {'; '.join(listed)}"

    def _yours(self, language):
        return self.yours is not None and self.yours["language"] == language


def look(name, marker=False):
    """How a contender ("full", or a name that ends in its rank) is drawn: its line, or its mark alone."""
    role = "full" if name == "full" else ROLES.get(name.rpartition("=")[2], "other")
    if not marker:
        dashes = {"full": "--"}.get(role, (0, (3, 1.5)) if name.startswith("rs") else "-")
        return {"color": COLOURS[role], "linestyle": dashes}
    fill = "white" if name.startswith("rs") else COLOURS[role]
    return {
        "color": COLOURS[role], "marker": MARKERS[role] or "d", "markerfacecolor": fill, "linestyle": "",
        "markeredgewidth": 1.5,
    }  # fmt: skip


def _draw_paths(axes, paths, strengths, yours):
    """Each contender's mean path, its point at ×1 with the seeds' band both ways; returns the artists."""
    drawn, at = [], strengths.index(1)
    means = {name: seeds.mean(0) for name, seeds in paths.items()}  # (strengths, 2)
    for name, mean in means.items():
        drawn += axes.plot(*mean.T, **look(name), linewidth=1.3)
        (x, y), ends = mean[at], paths[name][:, at]  # ends: (seeds, 2)
        (left, low), (right, high) = ends.min(0), ends.max(0)
        bar = {"color": look(name)["color"], "linewidth": 1, "alpha": 0.8}
        drawn += axes.plot([left, right], [y, y], **bar)
        drawn += axes.plot([x, x], [low, high], **bar)
    every = list(means.values())
    if yours is not None:
        every.append(np.array(yours))
        drawn += axes.plot(*every[-1].T, color=COLOURS["ink"], linewidth=1, linestyle="-")
    for strength, point in zip(strengths, means["full"], strict=True):
        if strength in NAMED:
            offset = {"xytext": (14, -5), "va": "top"} if strength else {"xytext": (0, 8), "ha": "center"}
            drawn.append(axes.annotate(f"×{strength:g}", point, textcoords="offset points", size=9, **offset))
    low, high = np.concatenate(every).min(0), np.concatenate(every).max(0)
    room = 0.06 * (high - low)
    axes.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
    keys = [axes.plot([], [], **look(name, marker=True), label=name)[0] for name in paths]
    if yours is not None:
        keys += axes.plot([], [], "x", color=COLOURS["ink"], label="your own run")
    return [*drawn, *keys, legend(axes, loc="upper right", handles=keys)]


def _draw_rows(axes, bands, names):
    """English at equal learning: a row a contender, its mean as a mark with its number, its band as a bar."""
    drawn = []
    for row, name in enumerate(names):
        if name not in bands:
            continue
        middle, low, high = bands[name]
        drawn += axes.plot([low, high], [row, row], color=look(name)["color"], linewidth=2.5, solid_capstyle="butt")
        drawn += axes.plot([middle], [row], **look(name, marker=True), markersize=7)
        above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "size": 9}
        drawn.append(axes.annotate(f"{middle:.2f}", (middle, row), **above))
    drawn.append(axes.axvspan(*bands["full"][1:], color=COLOURS["full"], alpha=0.15, lw=0, zorder=0))
    low, high = min(one.low for one in bands.values()), max(one.high for one in bands.values())
    room = max(0.1 * (high - low), 0.05)
    axes.set_xlim(low - room, high + room)
    return drawn
