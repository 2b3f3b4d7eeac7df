"""The exercises of a notebook: complete, with stars, with minutes by rule, with hints.

Each rule takes a `Lesson` and yields one sentence for each thing that is not as it should be, with the cure in it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from math import ceil

from tests.notebooks.reading import DETAILS, Heading, Lesson, calls_check, field, printed

HINTS = 2  # at least
SUMMARY = re.compile(r"<summary>(?:<\w+>)?\s*(\w+)(: \w)?")
UNCOUNTED = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


def exercises(lesson: Lesson) -> list[Heading]:
    """Return the headings of a notebook's exercises."""
    return [h for h in lesson.headings if h.level in (2, 3) and re.match(r"exercise\b", h.text, re.IGNORECASE)]


def exercises_are_complete(lesson: Lesson) -> Iterator[str]:
    """At least one exercise; each with minutes, a stub, a check that says TODO, a folded hint and a folded solution."""
    if not lesson.teaches:
        return
    asked = exercises(lesson)
    if not asked:
        yield "there is no exercise: a heading `## Exercise 1: … (★, N min)`"
    total = 0
    for heading in asked:
        where = f"cell {heading.cell}, {heading.text!r}"
        minutes = re.search(r"\((?:★+, )?(\d+) min\)$", heading.text)
        if minutes:
            total += int(minutes[1])
        else:
            yield f"{where}: the heading ends in (N min)"
        text, code = lesson.section(heading)
        if not any(re.search(r"\bTODO\b", cell.source) for _, cell in code):
            yield f"{where}: no code cell in it has a stub that returns TODO"
        checks = [cell for _, cell in code if calls_check(cell.source)]
        if not checks:
            yield f"{where}: no code cell in it calls a check_…"
        elif not any(re.search(r"^TODO", printed(cell), re.MULTILINE) for cell in checks):
            yield f"{where}: its check printed no TODO; publish it unsolved, and execute it with save.py"
        if len(checks) > 1:
            yield f"{where}: {len(checks)} cells in it call a check_…; one is enough"
        summaries = [summary[1] for summary in SUMMARY.finditer(text)]
        if "Hint" not in summaries or summaries.count("Solution") != 1:
            yield f"{where}: fold a hint and one solution, <details><summary>Hint</summary> …; folded are {summaries}"
        for folded in DETAILS.findall(text):
            if not re.search(r"</summary>[ \t]*\n[ \t]*\n", folded):
                yield f"{where}: leave a blank line after </summary>, or its Markdown is not rendered"
    if asked and f"{total} min" != field(lesson, "Exercises"):
        yield f"the exercises' minutes add up to {total}; the card says {field(lesson, 'Exercises')}"
    for index, cell in lesson.code:
        if calls_check(cell.source) and "NOT YET" in printed(cell):
            yield f"cell {index}: a check is published with NOT YET; return TODO in its stub"


def exercises_have_stars_and_minutes(lesson: Lesson) -> Iterator[str]:
    """A heading ends in one to three stars and the minutes that follow from these and from the solution."""
    for heading in exercises(lesson):
        where = f"cell {heading.cell}, {heading.text!r}"
        found = re.search(r"\((★{1,3}), (\d+) min\)$", heading.text)
        if not found:
            yield f"{where}: the heading ends in one to three stars and the minutes: (★★, 8 min)"
            continue
        lines, stars = solution_lines(lesson.section(heading)[0]), len(found[1])
        if minutes(stars, lines) != int(found[2]):
            yield f"{where}: {stars} stars and a solution of {lines} lines make {minutes(stars, lines)} min"


def exercises_have_two_hints(lesson: Lesson) -> Iterator[str]:
    """Each exercise folds two hints or more, and each hint says what about."""
    for heading in exercises(lesson):
        hints = [found[2] for found in SUMMARY.finditer(lesson.section(heading)[0]) if found[1] == "Hint"]
        if len(hints) < HINTS or not all(hints):
            yield (
                f"cell {heading.cell}, {heading.text!r}: fold two hints, <details><summary>Hint: what about</summary>; "
                f"it has {len(hints)}, of which {sum(map(bool, hints))} say what about"
            )


def minutes(stars: int, lines: int) -> int:
    """Minutes that an exercise takes: two to read it, two for each star, half of one for each line to write."""
    return 2 + 2 * stars + ceil(lines / 2)


def solution_lines(text: str) -> int:
    """Lines of the folded solution's code that are neither blank nor comment nor docstring."""
    folded = next((part for part in DETAILS.findall(text) if re.search(r"<summary>(?:<\w+>)?\s*Solution", part)), "")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", folded, re.DOTALL | re.MULTILINE))
    counted = set()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type not in UNCOUNTED:
            counted.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(code)):
        body = getattr(node, "body", [])
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            counted -= set(range(first.lineno, first.end_lineno + 1))
    return len(counted)


RULES = [exercises_are_complete, exercises_have_stars_and_minutes, exercises_have_two_hints]
