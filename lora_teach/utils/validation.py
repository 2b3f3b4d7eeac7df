"""Options are checked where they are given: each error names the value, the limit and the cure."""

import numbers

import torch


def check_count(name, value):
    """Return ``value`` if it is a whole number from 1 to 2⁶³ − 1; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is not a whole number. Use an integer of at least 1.")
    if value < 1:
        raise ValueError(f"{name}={_shown(value)} is too small. Use an integer of at least 1.")
    if value >= 2**63:  # no tensor can have such a size, and from about 2**1024 on no float is so large
        raise ValueError(f"{name}={_shown(value)} is too large. Use an integer below 2**63.")
    return int(value)


def check_rank(rank, owner=None, limit=None):
    """Return ``rank`` if it is a whole number in 1..limit; ``owner`` is the layer that the message names."""
    rank = check_count("rank", rank)
    if limit is not None and rank > limit:
        raise ValueError(
            f"rank={rank} is too large for {owner}: an update of that layer has rank at most {limit}. Use 1..{limit}."
        )
    return rank


def check_alpha(alpha):
    """Return ``alpha`` as an int or float if float32 can hold it; TypeError or ValueError otherwise."""
    cure = "Use a finite number, such as the rank, or twice the rank."
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real):
        raise TypeError(f"alpha={alpha!r} is not a number. {cure}")
    if not abs(alpha) <= torch.finfo(torch.float32).max:  # nan too
        raise ValueError(f"alpha={_shown(alpha)} is not finite in float32. {cure}")
    return int(alpha) if isinstance(alpha, numbers.Integral) else float(alpha)


def check_dropout(dropout):
    """Return ``dropout`` if it is a probability in [0, 1)."""
    if isinstance(dropout, bool) or not isinstance(dropout, numbers.Real):
        raise TypeError(f"dropout={dropout!r} is not a number. Use a probability from 0 up to, but not including, 1.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} is outside [0, 1). Use 0 for none; 0.05 and 0.1 are usual.")
    return float(dropout)


def check_above_zero(name, value, cure):
    """Return ``value`` if it is a number (or tensor) above 0; ``cure`` ends the message, "Use {cure}."."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real | torch.Tensor):
        raise TypeError(f"{name}={value!r} is not a number. Use {cure}.")
    if not value > 0:  # nan too
        raise ValueError(f"{name}={value} is not above 0: parameters would not move, or climb the loss. Use {cure}.")
    return value


def check_seed(seed):
    """Return ``seed`` if it is a whole number of 64 bits; ValueError otherwise."""
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not -(2**63) <= seed < 2**63:
        raise ValueError(f"seed={seed!r} is no whole number of 64 bits. Use one such as 0.")
    return int(seed)


def check_callable(name, value, example):
    """Return ``value`` if it can be called; the TypeError names an ``example``."""
    if not callable(value):
        raise TypeError(f"{name}={value!r} is no function. Give one, such as {example}.")
    return value


def check_choice(name, value, choices):
    """Return ``value`` if it is one of ``choices``; the ValueError lists them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}={value!r} is unknown. Use one of: {', '.join(map(repr, choices))}.")
    return value


class WrongGuess(TypeError, ValueError):
    """A guess that can't be drawn. A notebook shows its sentence alone, without a traceback."""

    def _render_traceback_(self):  # asked for by IPython
        return [str(self)]


def check_guess(guess, low, high, what):
    """Return a learner's guess as a float if it is a number in low..high, and None for None.

    >>> check_guess("14", 1, 64, "a rank")
    Traceback (most recent call last):
    lora_teach.utils.validation.WrongGuess: guess='14' is not a number. Give a rank from 1 to 64, or None.
    """
    if guess is None:
        return None
    cure = f"Give {what} from {low:g} to {high:g}, or None."
    if isinstance(guess, bool) or not isinstance(guess, numbers.Real):
        raise WrongGuess(f"guess={_shown(guess)} is not a number. {cure}")
    if not low <= guess <= high:  # nan too
        raise WrongGuess(f"guess={_shown(guess)} lies outside the picture. {cure}")
    return float(guess)


def check_guesses(guess, count, low, high, what):
    """Return a learner's list of guesses as floats if they are ``count`` numbers in low..high, and None for None."""
    if guess is None:
        return None
    cure = f"Give {count} numbers in a list, each {what} from {low:g} to {high:g}, or None."
    listed = guess.tolist() if hasattr(guess, "tolist") else guess  # an array
    if not isinstance(listed, (list, tuple)):
        raise WrongGuess(f"guess={_shown(guess)} is not a list of numbers. {cure}")
    if len(listed) != count:
        raise WrongGuess(f"guess={_shown(guess)} holds {len(listed)} numbers. {cure}")
    try:
        return [float(check_guess(part, low, high, what)) for part in listed]
    except TypeError:  # a WrongGuess, or a None
        raise WrongGuess(f"guess={_shown(guess)} is not right. {cure}") from None


def _shown(value):
    """Return a value's repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:79] + "…"
