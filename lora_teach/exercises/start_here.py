"""The check of notebook 00: turn an adapter up until its names tip over from English to Finnish."""

from functools import lru_cache

from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt
from lora_teach.exercises.check import attempt, cases, check, compare
from lora_teach.measure.judging import STRENGTHS, TEMPERATURE, Jury
from lora_teach.measure.writing import write_names

NAMES = 12
SEEDS = (2, 1)  # of the noise: two sets of names that tip over at different strengths, the first well before its floor


@check
def check_tipping_point(tipping_point):
    """Check a function that finds the lowest strength at which the Finnish judge is less surprised than the English."""
    model = load_language_adapter(load_name_gpt(), "Finnish")
    model.set_adapter(None)
    for seed in cases(SEEDS):
        got = attempt(tipping_point, model=model, noise=_noise(seed))
        compare(got, *_answer(seed))
    points = [_answer(seed)[0] for seed in SEEDS]
    return f"two sets of {NAMES} names tip over at ×{points[0]:g} and at ×{points[1]:g}."


def _noise(seed):
    return TEMPERATURE * gumbel_noise(NAMES, seed)  # (names, letters, alphabet)


@lru_cache
def _answer(seed):
    """Return the tipping point and the usual wrong answers, each with what to say to it."""
    model, jury = load_language_adapter(load_name_gpt(), "Finnish"), Jury("Finnish")
    surprises = [jury.surprise(write_names(model, "Finnish", strength, _noise(seed))) for strength in STRENGTHS]
    place = next(place for place, (english, finnish) in enumerate(surprises) if finnish < english)
    happiest = min(range(len(STRENGTHS)), key=lambda index: surprises[index][1])
    return STRENGTHS[place], [
        (
            None,
            "No strength was returned. Does the loop set the strength, model.set_adapter({'Finnish': strength}), "
            "before it writes the names? The model comes in with its adapter off.",
        ),
        (
            0.0,
            "At ×0 the English judge is less surprised. Is the comparison the wrong way round? Or was the adapter on "
            "at full strength? It needs the number too: model.set_adapter({'Finnish': strength}).",
        ),
        (STRENGTHS[place - 1], "One step early: there the English judge is still the less surprised one."),
        (STRENGTHS[place + 1], "One step late: set the strength before the model writes the names."),
        (STRENGTHS[happiest], "There the Finnish judge is happiest; asked is where it overtakes the English one."),
        (STRENGTHS[-1], "That is the end of the slider: return from within the loop, at the first that will do."),
        (place, "That is the number of the step. Return its strength, a tenth of it."),
    ]
