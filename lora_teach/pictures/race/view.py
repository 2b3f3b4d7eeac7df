"""Race: choose a language, stop everybody at one step, and compare with stopping each at its own best."""

from bisect import bisect
from statistics import mean

from lora_teach.live.explore import View, explore
from lora_teach.measure.results import load_result
from lora_teach.pictures.race import drawing as plots
from lora_teach.plots import show


def own_best(entries: dict) -> dict[str, float]:
    """The mean test loss of each contender, each at its own best checkpoint: ``{contender: nats a letter}``."""
    return {name: mean(run["test"] for run in entry["runs"]) for name, entry in entries.items()}


def stopped_at(entries: dict, step: int) -> dict[str, float]:
    """The mean validation loss of each contender at the last look up to ``step``: ``{contender: nats a letter}``."""
    losses = {}
    for name, entry in entries.items():
        last = [bisect(run["steps"], step) - 1 for run in entry["runs"]]  # one look a seed
        losses[name] = mean(run["validation"][look] for run, look in zip(entry["runs"], last, strict=True))
    return losses


class Race(View):
    """Language buttons and a step at which everybody stops.

    Args:
        guess: The learner's test loss for the first contender on the first language.
        result: What ``load_result("race")`` gives; None loads it.
    """

    def __init__(self, guess=None, result=None):
        self.guess = guess
        self.languages = (result or load_result("race"))["results"]
        self.first = next(iter(self.languages))
        self.drawn = plots.draw(self.languages[self.first]["contenders"], guess)
        self.picture = self.drawn.picture
        self._language = None

    def __call__(self, language, stop_at):
        """Draw the language, and where everybody stands at ``stop_at``."""
        entries = self.languages[language]["contenders"]
        if language != self._language:
            self.drawn.enter(language, entries, guessed=language == self.first)
            self._language = language
        stopped = stopped_at(entries, stop_at)
        self.drawn.stop(stop_at, stopped)
        return self.sentence(language, stop_at)

    def sentence(self, language, stop_at):
        """Who leads when all stop at one step, on validation names; who leads at their own best, on test names."""
        entries = self.languages[language]["contenders"]
        stopped, own = stopped_at(entries, stop_at), own_best(entries)
        guessed = (
            f" Your guess for {next(iter(own))}: {self.guess:.2f}." if self.guess and language == self.first else ""
        )
        return (
            f"{language}, everybody stopped at step {stop_at}: {_ranking(stopped)} on validation names. "
            f"Each stopped at its own best: {_ranking(own)} on test names.{guessed}"
        )

    def twin(self):
        """The picture for a saved notebook: the first language's curves, every language's results."""
        results = [f"{language}: {_ranking(own_best(r['contenders']))}." for language, r in self.languages.items()]
        return show(
            plots.draw_twin(self.languages, self.first),
            "Three seeds: bands, bars, and a mark at each one's best step. On test names, best first. "
            + " ".join(results),
        )

    @classmethod
    def example(cls, guess=None):
        """The explorer as notebook 04 shows it."""
        view = cls(guess)
        return explore(view, language=list(view.languages), stop_at=(20, 400, 400, 20), twin=view.twin())


def _ranking(losses: dict) -> str:
    return ", ".join(f"{name} {losses[name]:.2f}" for name in sorted(losses, key=losses.get))
