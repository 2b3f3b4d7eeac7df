"""Checks of notebook 07: which tokens of a conversation count, and how sure a share of right answers is."""

import json

from lora_teach.exercises.check import Draw, attempt, cases, check, compare, describe, expect
from lora_teach.exercises.compare import as_tensor
from lora_teach.measure.intervals import Z, share_interval

IGNORED = -100
WHAT = "the share that is right"
NEVER_STOPS = (
    "The answer's own end mark doesn't count, perhaps because the padding is the same token. A model that is never "
    "shown an end learns to answer and never to stop. Find the first end mark at or after prompt_length and count it."
)
PADDING = "It goes on past the answer's own end mark, the first at or after prompt_length. What follows is padding."
PROMPTS_END = "It looks for the end mark from the row's beginning. Look for the first one at or after prompt_length."
SHIFTED = (
    "The labels are shifted by one. transformers' models shift them by themselves: the label of a token is that token."
)


@check
def check_completion_labels(labels):
    """Check ``labels(ids, prompt_length, end)``: which tokens of a padded conversation the loss counts."""
    for prompt_ends, answer, padding, end in cases(
        [(1, 2, 4, 2), (1, 3, 0, 2), (2, 3, 2, 2), (0, 4, 1, 7), (3, 1, 3, 0), (4, 0, 2, 50256)]
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
def check_grade(grade):
    """Check ``grade(answers, wanted)``: the share of answers that are right, and the ends of Wilson's 95 % interval.

    ``answers`` are texts, ``wanted`` as many dicts. An answer is right if it is JSON and equals its dict, whole.
    """
    right, wrong = _papers()
    odd = [(paper, wrong[-1], 1) for paper in right] + [(paper, right[0], 0) for paper in wrong]
    for (*paper, said), (*other, _), good in cases(odd):
        share, *_ = _graded(grade, [paper, *[other] * 3])
        right_share, count = (0.25, 1) if good else (0.75, 3)
        usual = [
            (0.0 if good else 1.0, said),
            (100 * right_share, "A share goes from 0 to 1; that is in percent."),
            (count, f"{count} of these 4 answers {'is' if good else 'are'} right; the share is of all, from 0 to 1."),
        ]
        compare(share, right_share, usual, what=WHAT)
    for good, bad in cases([(24, 0), (0, 24), (17, 7), (1, 0), (0, 1), (5, 95), (3, 3)]):
        share, *ends = _graded(grade, [right[0][:2]] * good + [wrong[0][:2]] * bad)
        n = good + bad
        compare(share, good / n, what=WHAT)
        compare(ends, list(share_interval(good, n)), _wrong_ends(good / n, n), what="the interval", atol=1e-3, rtol=0)
    return "24 right of 24 don't show that it is always right: at least 86 % of the time, says the interval."


def _graded(grade, papers):
    """Return what the learner's function makes of pairs (answer, wanted): share, low, high."""
    answers, wanted = map(list, zip(*papers, strict=True))
    got = attempt(grade, answers=answers, wanted=wanted)
    tensor = None if isinstance(got, (list, tuple)) else as_tensor(got)
    got = got if tensor is None else tensor.tolist()
    expect(isinstance(got, (list, tuple)) and len(got) == 3, f"Return share, low, high; came: {describe(got)}")
    return got


def _papers():
    """Triples (an answer, the dict that is wanted, what to say to who gets it wrong): right ones and wrong ones."""
    one, two = {"who": "Olga Zimmer", "where": "Aarhus", "when": 2}, {"who": "Clara Novak", "where": "Lyon", "when": 5}
    text = json.dumps(one)
    spaces = "Other spaces and another order of the keys are the same JSON: read it with json.loads."
    right = [
        (text, one, "That answer is right: its JSON equals the dict."),
        (f"  {text}\n", one, spaces),
        (json.dumps(dict(reversed(one.items()))), one, spaces),
        (json.dumps(two, indent=2), two, spaces),
    ]
    wrong = [
        (json.dumps(one | {"when": "2"}), one, 'A text, "2", is not the number 2: compare the values as they are.'),
        (json.dumps(one | {"note": ""}), one, "A key too many is not what was asked: compare the whole dict."),
        ('{"who": "Olga Zimmer", "where": "Aarhus"}', one, "A key is missing: compare the whole dict."),
        (text.replace("Aarhus", "aarhus"), one, "'aarhus' is not 'Aarhus': right is right to the letter."),
        (text.replace('"', "'"), one, "Single quotes are Python's, not JSON's: read it with json.loads."),
        (f"The answer: {text}", one, "Text around the JSON makes the answer no JSON."),
        (text, two, "That is JSON, and not what was wanted."),
        ("[2]", one, "A list is JSON, and no dict."),
        (text[:-1], one, "A brace is missing, so it is no JSON."),
        ("", one, "An empty answer is no JSON."),
    ]
    return right, wrong


def _wrong_ends(share, n):
    """Pairs (usual wrong interval, what to say)."""

    def around(middle, half):
        return [middle - half, middle + half]

    def wilson(z, divide=True, root=True):
        middle, half = (
            share + z * z / (2 * n),
            z * (share * (1 - share) / n + z * z / (4 * n * n)) ** (0.5 if root else 1),
        )
        return [end / (1 + z * z / n if divide else 1) for end in around(middle, half)]

    spread = share * (1 - share)
    plain = around(share, Z * (spread / n) ** 0.5)
    low, high = wilson(Z)
    return [
        (
            plain,
            "That is p ± 1.96 √(p(1 − p)/n): where all are right it has no width. Use Wilson's.",
        ),
        (
            [max(plain[0], 0.0), min(plain[1], 1.0)],
            "Cutting p ± 1.96 √(p(1 − p)/n) at 0 and 1 is not Wilson's interval.",
        ),
        (wilson(1.0), "z is 1.96 for 95 %; 1 is for 68 %."),
        (wilson(2.576), "z is 1.96 for 95 %; 2.576 is for 99 %."),
        (wilson(1.645), "z is 1.96 for 95 % in the middle; 1.645 leaves 5 % on each side."),
        (wilson(Z, divide=False), "Both ends are divided by 1 + z²/n."),
        (wilson(Z, root=False), "A root is missing: √(p(1 − p)/n + z²/4n²)."),
        ([high, low], "The lower end comes first."),
        (around(share, (high - low) / 2), "The middle is not p but (p + z²/2n) / (1 + z²/n), nearer to one half."),
        (
            around(share, Z * spread**0.5),
            "That is how far single answers lie apart; the share's error is by √n smaller.",
        ),
        ([100 * low, 100 * high], "The ends are shares, from 0 to 1."),
    ]


def _row(prompt_ends, answer, padding, end):
    """Return ids with so many end marks in the prompt, tokens in the answer and paddings; and the prompt's length."""
    draw = Draw(10 * prompt_ends + answer)
    words = draw.sizes(5 + answer, 10, 99)  # none of them is an end mark
    prompt = words[:1] + [end] * (prompt_ends > 0) + words[1:4] + [end] * (prompt_ends > 1)
    prompt += words[4:5] + [end] * (prompt_ends - 2)
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
        *((_counted(ids, prompt_length, other), PADDING) for other in _nth_end(ids, end) if other > stop),
        ([label != IGNORED for label in right], "Yes or no is no label: the token itself where it counts, else -100."),
        (ids[:prompt_length] + nothing[prompt_length:], "The wrong way round: the prompt counts."),
    ]
