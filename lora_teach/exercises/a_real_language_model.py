"""Checks of notebook 07: which tokens of a conversation count, and from when on an adapter is the cheaper help."""

from math import ceil

from lora_teach.exercises.check import Draw, attempt, cases, check, compare, describe, expect
from lora_teach.exercises.compare import as_tensor

IGNORED = -100
NEVER_STOPS = (
    "The answer's own end mark doesn't count, perhaps because the padding is the same token. A model that is never "
    "shown an end learns to answer and never to stop. Find the first end mark at or after prompt_length and count it."
)
PROMPTS_END = "It looks for the end mark from the row's beginning. Look for the first one at or after prompt_length."
SHIFTED = (
    "The labels are shifted by one. transformers' models shift them by themselves: the label of a token is that token."
)


@check
def check_completion_labels(labels):
    """Check ``labels(ids, prompt_length, end)``: which tokens of a padded conversation the loss counts."""
    for prompt_ends, answer, padding, end in cases(
        [(1, 2, 4, 2), (1, 3, 0, 2), (2, 3, 2, 2), (0, 4, 1, 7), (3, 1, 3, 0), (1, 0, 2, 50256)]
    ):
        ids, prompt_length = _row(prompt_ends, answer, padding, end)
        got = attempt(labels, ids=ids, prompt_length=prompt_length, end=end)
        tensor = None if isinstance(got, (list, tuple)) else as_tensor(got)
        got = list(got) if isinstance(got, (tuple, range)) else got if tensor is None else tensor.tolist()
        expect(isinstance(got, list), f"Return a list of labels; came: {describe(got)}")
        expect(
            len(got) == len(ids),
            f"came:     {len(got)} labels\n  expected: {len(ids)}, one for each token"
            + (f"\n  {PROMPTS_END}" if got in _sliced(ids, prompt_length, end) else ""),
        )
        compare(got, _labels(ids, prompt_length, end), _wrong_labels(ids, prompt_length, end))
    return "the answer and its end mark count, the prompt and the padding don't."


@check
def check_break_even(break_even):
    """Check ``break_even(training, with_examples, with_adapter)``: after how many sheets training has paid."""
    pays = [(95, 14, 4), (100, 14, 4), (60, 8, 5), (1, 14, 4), (95.5, 14.25, 4.75), (7.5, 2.75, 2.5), (0.5, 3.5, 0.5)]
    for training, examples, adapter in cases([*pays, (95, 4, 4), (95, 4, 6), (10.5, 1.25, 1.25)]):
        got = attempt(break_even, training=training, with_examples=examples, with_adapter=adapter)
        saved = examples - adapter
        if saved <= 0:
            expect(
                got is None,
                f"came:     {describe(got)}\n  expected: None: the adapter saves nothing, so it never pays for itself",
            )
            continue
        mistakes = [
            (None, f"None is for never: here each sheet by the adapter saves {saved:g} seconds."),
            (ceil(training / examples), "That leaves out that a sheet by the adapter takes time too."),
            (training // saved + 1, "Where the division comes out even, the two cost the same: that is enough."),
            (ceil(training / (examples + adapter)), "What a sheet saves is the difference of the two times."),
            (training // saved, "Rounded down: after so many sheets it has not yet paid for itself. Round up."),
            (training / saved, "A number of sheets is whole: round up, with math.ceil."),
        ]
        compare(got, ceil(training / saved), mistakes)
    return "training pays where a sheet saves time, and never where it doesn't."


def _row(prompt_ends, answer, padding, end):
    """Return ids with so many end marks in the prompt, tokens in the answer and paddings; and the prompt's length."""
    draw = Draw(10 * prompt_ends + answer)
    words = draw.sizes(5 + answer, 10, 99)  # none of them is an end mark
    prompt = words[:1] + [end] * (prompt_ends > 0) + words[1:4] + [end] * (prompt_ends > 1)
    prompt += words[4:5] + [end] * (prompt_ends > 2)
    return prompt + words[5:] + [end] * (1 + padding), len(prompt)


def _labels(ids, prompt_length, end):
    return _counted(ids, prompt_length, ids.index(end, prompt_length) + 1)


def _counted(ids, start, stop):
    """Return labels that count the tokens from start up to stop."""
    return [IGNORED] * start + ids[start:stop] + [IGNORED] * (len(ids) - stop)


def _nth_end(ids, end):
    """Return what lies behind each end mark of the row."""
    return [place + 1 for place, token in enumerate(ids) if token == end]


def _sliced(ids, prompt_length, end):
    return [_counted(ids, prompt_length, stop) for stop in _nth_end(ids, end) if stop <= prompt_length]


def _wrong_labels(ids, prompt_length, end):
    """Pairs (usual wrong labels, what to say to who gave them)."""
    right, stop, size = _labels(ids, prompt_length, end), ids.index(end, prompt_length) + 1, len(ids)
    without_ends = [IGNORED if token == end else token for token in ids]
    nothing = [IGNORED] * size
    return [
        (_counted(ids, prompt_length, stop - 1), NEVER_STOPS),
        (nothing[:prompt_length] + without_ends[prompt_length:], NEVER_STOPS),
        (right[1:] + [IGNORED], SHIFTED),
        ([IGNORED, *right[:-1]], SHIFTED),
        (_counted(ids, prompt_length - 1, stop), "Off by one: the prompt's last token counts."),
        (_counted(ids, prompt_length + 1, stop), "Off by one: the answer's first token doesn't count."),
        (
            _counted(ids, prompt_length, size),
            "The padding counts too: the model would be taught to repeat its end mark.",
        ),
        (without_ends, f"The prompt counts, and no end mark does. {NEVER_STOPS}"),
        (_counted(ids, 0, stop), "The prompt counts too: the model would be taught to ask."),
        (list(ids), "Everything counts, prompt and padding too."),
        ([max(label, 0) for label in right], "0 is a token like any other: what doesn't count is -100."),
        (nothing, f"Nothing counts. {PROMPTS_END}"),
        *((_counted(ids, prompt_length, other), PROMPTS_END) for other in _nth_end(ids, end) if other > prompt_length),
        ([label != IGNORED for label in right], "Yes or no is no label: the token itself where it counts, else -100."),
        (ids[:prompt_length] + nothing[prompt_length:], "The wrong way round: the prompt counts."),
    ]
