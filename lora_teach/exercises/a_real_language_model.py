"""Checks of notebook 07: which tokens of a conversation count, and from when on an adapter is the cheaper help."""

from lora_teach.exercises.check import check, compare, expect, finished

IGNORED = -100
END = 2  # the end mark of the checks' rows, which also pads them
NEVER_STOPS = (
    "The answer's own end mark doesn't count, perhaps because the padding is the same token. A model that is never "
    "shown an end learns to answer and never to stop. Find the first end mark at or after prompt_length and count it."
)
PROMPTS_END = "The first end mark is the prompt's. Look for one at or after prompt_length."
SHIFTED = (
    "The labels are shifted by one. transformers' models shift them by themselves: the label of a token is that token."
)


@check
def check_completion_labels(labels):
    """Check ``labels(ids, prompt_length, end)``: which tokens of a padded conversation the loss counts."""
    rows = [
        ([5, 6, END, 7, 11, 12, END, END, END, END], 4),  # padded with the end mark
        ([5, 6, END, 7, 11, 12, 13, END], 4),  # not padded
        ([5, 6, 8, 9, END, 7, 11, END, END], 6),
    ]
    for ids, prompt_length in rows:
        given = f"labels({ids}, prompt_length={prompt_length}, end={END})"
        got = finished(labels(list(ids), prompt_length, END))
        got = got.tolist() if hasattr(got, "tolist") else got
        expect(isinstance(got, (list, tuple)), f"{given}: return a list of labels; came: {got!r:.60}")
        early = ids.index(END) + 1  # of the prompt; slicing from there makes a list of another length
        sliced = [IGNORED] * prompt_length + ids[prompt_length:early] + [IGNORED] * (len(ids) - early)
        expect(
            len(got) == len(ids),
            f"{given}\n  came:     {len(got)} labels\n  expected: {len(ids)}, one for each token"
            + (f"\n  {PROMPTS_END}" if list(got) == sliced else ""),
        )
        compare(list(got), _labels(ids, prompt_length), given, _wrong_labels(ids, prompt_length))
    return "the answer and its end mark count, the prompt and the padding don't."


@check
def check_break_even(break_even):
    """Check ``break_even(training, with_examples, with_adapter)``: after how many sheets training has paid."""
    for training, examples, adapter in ((95, 14, 4), (100, 14, 4), (60, 8, 5), (1, 14, 4)):
        given = f"break_even(training={training}, with_examples={examples}, with_adapter={adapter})"
        saved = examples - adapter
        right = -(-training // saved)
        mistakes = [
            (None, f"None is for never: here each sheet by the adapter saves {saved} seconds."),
            (-(-training // examples), "That leaves out that a sheet by the adapter takes time too."),
            (
                training // saved + 1,
                "Where the division comes out even, the two cost the same: that is enough.",
            ),
            (-(-training // (examples + adapter)), "What a sheet saves is the difference of the two times."),
            (max(training // saved, 0), "Rounded down: after so many sheets it has not yet paid for itself. Round up."),
            (training / saved, "A number of sheets is whole: round up, with math.ceil."),
        ]
        compare(break_even(training, examples, adapter), right, given, mistakes)
    for examples, adapter in ((4, 4), (4, 6)):
        given = f"break_even(training=95, with_examples={examples}, with_adapter={adapter})"
        try:
            never = break_even(95, examples, adapter)
        except ZeroDivisionError:
            expect(False, f"{given}\n  came:     ZeroDivisionError\n  expected: None: a sheet saves nothing")
        expect(
            never is None,
            f"{given}\n  came:     {never!r}\n  expected: None: the adapter saves nothing, so it never pays for itself",
        )
    return "training pays where a sheet saves time, and never where it doesn't."


def _labels(ids, prompt_length):
    stop = ids.index(END, prompt_length) + 1
    return [IGNORED] * prompt_length + ids[prompt_length:stop] + [IGNORED] * (len(ids) - stop)


def _wrong_labels(ids, prompt_length):
    """Pairs (usual wrong labels, what to say to who gave them)."""
    right, stop = _labels(ids, prompt_length), ids.index(END, prompt_length) + 1

    def counted(start, end):
        return [IGNORED] * start + ids[start:end] + [IGNORED] * (len(ids) - end)

    return [
        (counted(prompt_length, stop - 1), NEVER_STOPS),
        ([IGNORED if token == END else label for token, label in zip(ids, right, strict=True)], NEVER_STOPS),
        (right[1:] + [IGNORED], SHIFTED),
        ([IGNORED, *right[:-1]], SHIFTED),
        (counted(prompt_length - 1, stop), "Off by one: the prompt's last token counts."),
        (counted(prompt_length + 1, stop), "Off by one: the answer's first token doesn't count."),
        (
            counted(prompt_length, len(ids)),
            "The padding counts too: the model would be taught to go on saying its end mark.",
        ),
        (
            [IGNORED if token == END else token for token in counted(0, len(ids))],
            f"The prompt counts, and no end mark does. {NEVER_STOPS}",
        ),
        (counted(0, stop), "The prompt counts too: the model would be taught to ask."),
        (list(ids), "Everything counts, prompt and padding too."),
        (
            [0 if label == IGNORED else label for label in right],
            "0 is a token like any other: what doesn't count is -100.",
        ),
        (counted(prompt_length, ids.index(END) + 1) if ids.index(END) >= prompt_length else [IGNORED] * len(ids),
         f"Nothing counts. {PROMPTS_END}"),
        ([label != IGNORED for label in right], "Yes or no is no label: the token itself where it counts, else -100."),
        (ids[:prompt_length] + [IGNORED] * (len(ids) - prompt_length), "The wrong way round: the prompt counts."),
    ]  # fmt: skip
