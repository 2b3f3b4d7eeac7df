"""Divide examples before anything else: what is asked in the end was never seen, and never will be."""

import hashlib


def hold_out(examples, prompt_of, validation=0.15, test=0.15):
    """Return ``(train, validation, test)``, three lists of ``examples`` in their order.

    A hash of the prompt alone decides, without regard to case and to blanks around it. So a prompt that comes twice is
    on one side; a file that grows, or is sorted, moves none; and every machine divides alike.

    Args:
        examples: Examples of any kind, such as a base's ``read`` gives.
        prompt_of: Returns an example's prompt, such as a base's ``prompt_of``.
        validation: Share of prompts to choose rate, rank and checkpoint by, 0 to 1.
        test: Share of prompts to be asked once, in the end.

    Raises:
        ValueError: Shares below 0, or that leave nothing to train on; a part that stays empty.

    >>> train, validation, test = hold_out(["ada", "bo", "cy", "Ada ", "di", "ed"], str, 0.2, 0.2)
    >>> ("ada" in train) == ("Ada " in train), len(train) + len(validation) + len(test)
    (True, 6)
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ValueError(
            f"validation={validation} and test={test} are no shares that leave something to train on. Use for example "
            "0.15 each."
        )
    parts = [], [], []
    for example in examples:
        place = _place(prompt_of(example))
        parts[2 if place < test else 1 if place < test + validation else 0].append(example)
    for name, wanted, part in zip(("train", "validation", "test"), (1, validation, test), parts, strict=True):
        if wanted and not part:
            raise ValueError(f"{len(examples)} examples leave the part {name!r} empty. Give more, or a larger share.")
    return parts


def _place(prompt):
    """A prompt's place between 0 and 1, by its hash."""
    digest = hashlib.sha256(prompt.strip().casefold().encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
