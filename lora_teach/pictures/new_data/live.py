"""Go on training a finished adapter on new names, and watch what becomes of the old ones."""

from lora_teach.bases import load_name_gpt
from lora_teach.datasets import names
from lora_teach.live.watch import watch
from lora_teach.pictures.new_data.numbers import ON, WAYS, looks
from lora_teach.pictures.new_data.view import HIGHEST, LOWEST, ROLES
from lora_teach.plots.picture import Picture
from lora_teach.plots.style import diamond, figure, legend, line, panels, styled
from lora_teach.utils.validation import check_choice, check_guess

LIVE = {"old": "Finnish", "new": "Zulu", "base": "English", "rank": 4, "lr": 0.01, "steps": 120, "looks": 12,
        "batch_size": 32}  # fmt: skip


async def go_on_live(way=ON, guess=None, seed=0, **changes):
    """Go on from the old language's adapter in one of the WAYS and draw the three losses as they change.

    Args:
        way: One of `lora_teach.pictures.new_data.numbers.WAYS`.
        guess: What the old language will cost at the end, in nats a letter; the diamond.
        seed: Decides a new adapter's start, and the batches.
        **changes: Settings to change, such as ``new="Polish"`` or ``steps=200``.

    Returns:
        A Looks: ``losses`` on the old, the new and the base's own test names at each look, nats a letter.

    Raises:
        TypeError, ValueError: A guess that is no number from 0 to 10, an unknown way or language.
    """
    guess = check_guess(guess, 0, 10, "a loss in nats")
    check_choice("way", way, WAYS)
    settings = LIVE | changes
    for which in ("old", "new", "base"):
        names.load(settings[which])
    seen = Looks()
    await watch(
        looks(load_name_gpt(), way, seed, settings),
        seen,
        settings["looks"] + 1,
        lambda: Curves(settings, way, guess),
        "look",
    )
    return seen


class Looks:
    """The losses at each look: a list of ``[old, new, base's own]``, nats a letter."""

    def __init__(self):
        self.losses = []

    def __len__(self):
        return len(self.losses)

    def add(self, losses):
        """Take one more look."""
        self.losses.append(losses)


class Curves:
    """Three losses by step, as `watch` moves them on."""

    @styled
    def __init__(self, settings, way, guess):
        self.guess = check_guess(guess, 0, 10, "a loss in nats")
        self.languages, self.way = [settings[which] for which in ("old", "new", "base")], way
        self.looks = settings["looks"]
        fig = figure(7.6, 3.4)
        axes = panels(fig)
        self.lines = [
            axes.plot([], [], **line(role, markersize=4, label=f"{language} test names"))[0]
            for role, language in zip(ROLES, self.languages, strict=True)
        ]
        diamond(axes, 100, guess)
        axes.set(xlim=(-2, 102), ylim=(LOWEST, HIGHEST), xlabel="% of the run", ylabel="loss (nats a letter)")
        axes.set_title(f"{self.languages[1]} names arrive: {way}")
        legend(axes, loc="upper left", ncols=2)
        self.picture = Picture(fig, self.lines)

    def update(self, seen):
        """Move the curves on."""
        at = [100 * look / self.looks for look in range(len(seen))]
        for drawn, values in zip(self.lines, zip(*seen.losses, strict=True), strict=True):
            drawn.set_data(at, values)

    def sentence(self, seen):
        """Tell where each loss began and where it stands."""
        pairs = zip(self.languages, seen.losses[0], seen.losses[-1], strict=True)
        told = ", ".join(f"{language} {first:.2f} → {last:.2f}" for language, first, last in pairs)
        guessed = f" Your guess for {self.languages[0]}: {self.guess:.2f}." if self.guess is not None else ""
        return f"{self.way[0].upper()}{self.way[1:]}: {told}, nats a letter on test names.{guessed}"
