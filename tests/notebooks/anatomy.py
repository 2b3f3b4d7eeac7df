"""The anatomy of a notebook: what every one has, in which order, and how much of it at most.

Each rule takes a `Lesson` and yields one sentence for each thing that is not as it should be, with the cure in it.
"""

import ast
import re
from collections.abc import Iterator

from tests.notebooks.reading import DETAILS, IMAGE, LINK, Lesson, called, calls, calls_check, printed

SET_UP_LINES = 8
CELL_LINES = 25
SLIDERS = 2
PREDICTIONS = 3
WORDS = {"00": 1600, "pl": 400}  # 00 has the map of the course besides; the playground is a place, not a lesson
WORDS_ELSEWHERE = 1500
SECONDS = {"07": 180}  # a real language model
SECONDS_ELSEWHERE = 60
GUESS = re.compile(r"^guess(_\w+)? = None\b", re.MULTILINE)


def card(lesson: Lesson) -> list[str]:
    """Return the lines of the first paragraph under the title, markers of a line's end taken off."""
    paragraphs = re.split(r"\n[ \t]*\n", lesson.cells[0].source.strip())
    lines = paragraphs[1].splitlines() if len(paragraphs) > 1 else []
    return [line.rstrip("\\ ") for line in lines]


def field(lesson: Lesson, name: str) -> str:
    """Return what the card says after ``**name**``."""
    match = re.search(rf"\*\*{name}:?\*\*:?([^·|]*)", "\n".join(card(lesson)[:1]), re.IGNORECASE)
    return match[1].strip() if match else ""


def title_is_a_question(lesson: Lesson) -> Iterator[str]:
    """The first line of the notebook is its only H1 and a question."""
    first = lesson.cells[0]
    if first.cell_type != "markdown" or not re.match(r"# .+\?\s*(\n|\Z)", first.source):
        yield "cell 0: the notebook begins with a Markdown cell whose first line is `# …?`, the title as a question"
    titles = [heading for heading in lesson.headings if heading.level == 1]
    for heading in titles[1:]:
        yield f"cell {heading.cell}: a second H1, {heading.text!r}; begin it with ## instead"


def card_says_what_it_takes(lesson: Lesson) -> Iterator[str]:
    """The card's first line has the times, the needs, the paper's section and the library's file."""
    lines = card(lesson)
    if len(lines) != 2:
        yield f"cell 0: under the title, between blank lines, stands a card of two lines; it has {len(lines)}"
    elif not re.search(r"(\\|  )\n", lesson.cells[0].source.strip()):
        yield "cell 0: the card's first line ends in a backslash, or Markdown joins the two"
    limits = {"Read": (1, 25), "Exercises": (3 if lesson.number == "00" else 10, 25)}
    if not lesson.teaches:
        del limits["Exercises"]
    for name, (least, most) in limits.items():
        minutes = re.fullmatch(r"(\d+) min", field(lesson, name))
        if not minutes or not least <= int(minutes[1]) <= most:
            got = field(lesson, name)
            yield f"cell 0: the card has **{name}** N min with N from {least} to {most}; it says {got!r}"
    runs, limit = (
        re.fullmatch(r"(\d+) (s|min)", field(lesson, "Runs in")),
        SECONDS.get(lesson.number, SECONDS_ELSEWHERE),
    )
    if not runs or int(runs[1]) * {"s": 1, "min": 60}[runs[2]] > limit:
        yield f"cell 0: the card has **Runs in** N s, at most {limit} s; it says {field(lesson, 'Runs in')!r}"
    for name in ("Needs", "Paper", "Library") if lesson.teaches else ("Needs", "Library"):
        if not field(lesson, name):
            yield f"cell 0: the card's first line lacks **{name}** …"
    targets = [link["target"] for link in LINK.finditer(field(lesson, "Library"))]
    if not targets or not all(t.startswith("../lora_teach/") and (lesson.path.parent / t).exists() for t in targets):
        yield f"cell 0: **Library** links to a file that exists under ../lora_teach/; it links to {targets}"


def card_leads_on(lesson: Lesson) -> Iterator[str]:
    """The card's second line leads to the notebooks before and after this one, and to the contents."""
    line = "".join(card(lesson)[1:2])
    row = sorted(lesson.path.parent.glob("[0-9][0-9]_*.ipynb"))
    place = row.index(lesson.path) if lesson.path in row else None
    if place is None:
        return  # the playground stands outside the row
    wanted = {
        "previous": row[place - 1].name if place > 0 else None,
        "next": row[place + 1].name if place + 1 < len(row) else None,
    }
    for word, target in wanted.items():
        match = re.search(rf"{word}:\s*\[[^\]]+\]\(([^)]+)\)", line)
        if (match[1] if match else None) != target:
            should = (
                f"`{word}: […]({target})`"
                if target
                else f"no {word}, this being the {'first' if word == 'previous' else 'last'}"
            )
            yield f"cell 0: the card's second line has {should}; it has {match[1] if match else 'none'}"
    contents = re.search(r"\[contents\]\(([^)#]*)(#[^)]+)?\)", line)
    allowed = ("", "../README.md") if lesson.number == "00" else (row[0].name,)
    if not contents or contents[1] not in allowed:
        target = allowed[0] or "#The-map"
        yield f"cell 0: the card's second line has [contents]({target})"


def one_set_up_cell(lesson: Lesson) -> Iterator[str]:
    """The first code cell, and no other, sets up; it is short."""
    if not lesson.code:
        yield "there is no code cell"
        return
    index, cell = lesson.code[0]
    lines = len(cell.source.splitlines())
    if lines > SET_UP_LINES:
        yield f"cell {index}: the set-up cell has {lines} lines; at most {SET_UP_LINES}: move the rest into lora_teach/"
    if not re.search(r"^(import|from) ", cell.source, re.MULTILINE):
        yield f"cell {index}: the first code cell is the set-up cell and imports what the notebook needs"
    for index, cell in lesson.code[1:]:
        body = _parsed(cell.source)
        if body and all(isinstance(line, (ast.Import, ast.ImportFrom)) for line in body):
            yield f"cell {index}: a second set-up cell; move its imports into the first code cell"


def start_shows_before_it_asks(lesson: Lesson) -> Iterator[str]:
    """00 shows its picture above any code, and its first code cell is the demonstration."""
    if lesson.number != "00" or not lesson.code:
        return
    first, cell = lesson.code[0]
    if not any(IMAGE.search(c.source) for index, c in lesson.markdown if index < first):
        yield "00 shows a saved picture, ![what is to be seen](../data/….png), above the first code cell"
    if not any(called(call) == "names_demo" for call in calls(cell.source)):
        yield f"cell {first}: the first code cell of 00 calls names_demo()"


def predictions_are_asked_for(lesson: Lesson) -> Iterator[str]:
    """One to three predictions, each asked for in words; the answer to the first is shown as a picture."""
    if not lesson.teaches:
        return
    guesses = [index for index, cell in lesson.code if GUESS.search(cell.source)]
    if not 1 <= len(guesses) <= PREDICTIONS:
        where = f" (cells {guesses})" if guesses else ""
        yield f"{len(guesses)} cells have a line `guess = None`{where}; 1 to {PREDICTIONS} are wanted"
    for index in guesses:
        above = [cell.source for place, cell in lesson.markdown if place < index]
        if not above or "predict" not in above[-1].lower() or "?" not in above[-1]:
            yield f"cell {index}: the Markdown above a guess asks for it: the word Predict, and a question"
    pictures = [index for index, cell in lesson.code if any("image/png" in o.get("data", {}) for o in cell.outputs)]
    if guesses and not any(index >= guesses[0] for index in pictures):
        yield f"cell {guesses[0]}: no picture in it or below it answers the first guess; show one"


def exercises_are_complete(lesson: Lesson) -> Iterator[str]:
    """At least one exercise; each with minutes, a stub, a check that says TODO, a folded hint and a folded solution."""
    if not lesson.teaches:
        return
    exercises = [h for h in lesson.headings if h.level in (2, 3) and re.match(r"exercise\b", h.text, re.IGNORECASE)]
    if not exercises:
        yield "there is no exercise: a heading `## Exercise 1: … (N min)`"
    total = 0
    for heading in exercises:
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
        summaries = re.findall(r"<summary>(?:<\w+>)?\s*(\w+)", text)
        if "Hint" not in summaries or summaries.count("Solution") != 1:
            yield f"{where}: fold a hint and one solution, <details><summary>Hint</summary> …; folded are {summaries}"
        for folded in DETAILS.findall(text):
            if not re.search(r"</summary>[ \t]*\n[ \t]*\n", folded):
                yield f"{where}: leave a blank line after </summary>, or its Markdown is not rendered"
    if exercises and f"{total} min" != field(lesson, "Exercises"):
        yield f"the exercises' minutes add up to {total}; the card says {field(lesson, 'Exercises')}"
    for index, cell in lesson.code:
        if calls_check(cell.source) and "NOT YET" in printed(cell):
            yield f"cell {index}: a check is published with NOT YET; return TODO in its stub"


def ends_in_recap_and_references(lesson: Lesson) -> Iterator[str]:
    """The last sections are Recap, three lines from this run, and References; in 00 the map and the check follow."""
    if not lesson.teaches:
        return
    sections = [heading for heading in lesson.headings if heading.level == 2]
    wanted = ["recap", "references", *(["map", "environment"] if lesson.number == "00" else [])]
    last = sections[-len(wanted) :]
    if len(last) < len(wanted) or not all(word in h.text.lower() for word, h in zip(wanted, last, strict=True)):
        yield f"the last H2 headings have the words {wanted}, in that order; they are {[h.text for h in last]}"
        return
    _, code = lesson.section(last[0])
    lines = [line for _, cell in code for line in printed(cell).splitlines() if line.strip()]
    if len(lines) != 3 or not re.search(r"\d", " ".join(lines)):
        yield f"cell {last[0].cell}: under Recap code prints three lines with this run's numbers; printed are {lines}"
    if not re.search(r"^\s*[-*\d]", lesson.section(last[1])[0].partition("\n")[2], re.MULTILINE):
        yield f"cell {last[1].cell}: under References stands a list"


def stays_within_limits(lesson: Lesson) -> Iterator[str]:
    """Words, lines of a cell, and sliders of a view."""
    limit = WORDS.get(lesson.number, WORDS_ELSEWHERE)
    if lesson.words() > limit:
        yield f"{lesson.words()} words of prose; at most {limit}: cut, or move a part into another notebook"
    for index, cell in lesson.code:
        if len(cell.source.splitlines()) > CELL_LINES:
            lines = len(cell.source.splitlines())
            yield f"cell {index}: {lines} lines; at most {CELL_LINES}: split it, or move a part into lora_teach/"
        for call in calls(cell.source):
            sliders = [word.arg for word in call.keywords if called(call) == "explore" and _is_slider(word)]
            if len(sliders) > SLIDERS:
                yield f"cell {index}: explore() has the sliders {sliders}; at most {SLIDERS} a view"


def _is_slider(keyword: ast.keyword) -> bool:
    value = keyword.value
    if isinstance(value, ast.Call):
        return called(value) == "range" or called(value).endswith("Slider")
    if isinstance(value, ast.Tuple) and value.elts and isinstance(value.elts[0], ast.List):
        value = value.elts[0]  # ([…], start)
    if isinstance(value, ast.List):
        return bool(value.elts) and not any(isinstance(getattr(e, "value", None), str) for e in value.elts)
    return isinstance(value, ast.Tuple)


def _parsed(source: str) -> list[ast.stmt]:
    try:
        return compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).body
    except SyntaxError:
        return []


RULES = [
    title_is_a_question,
    card_says_what_it_takes,
    card_leads_on,
    one_set_up_cell,
    start_shows_before_it_asks,
    predictions_are_asked_for,
    exercises_are_complete,
    ends_in_recap_and_references,
    stays_within_limits,
]
