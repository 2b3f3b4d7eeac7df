"""The teacher's kit: minutes add up and fit the notebook, and what a page names or counts is in the notebook."""

import re

from tests.notebooks.anatomy import field
from tests.notebooks.reading import FENCE, NOTEBOOKS, ROOT, Lesson, blank, dead_links, printed

import pytest

KIT = ROOT / "notebooks" / "teaching"
PAGES = sorted(KIT.glob("[0-9]*.md"))
README = KIT / "README.md"
LESSONS = {path.stem: path for path in NOTEBOOKS if path.stem[:2].isdigit()}
SECTIONS = ["Minutes", "The poll", "On the board", "When time is short", "The question to expect"]
WORDS = 440  # two minutes
NUMBER = re.compile(r"\d+(?:[.,]\d+)+|\d+(?= ?%)")
TIMES = re.compile(r"in class \*\*(\d+) min\*\*, short \*\*(\d+) min\*\*")


def parts(text):
    """Return what stands under each H2."""
    _, *rest = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def rows(text):
    """Return the cells of the first table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def minutes(cell):
    return 0 if cell == "–" else int(cell)


def times(text):
    return tuple(map(int, TIMES.search(text).groups()))


def everything_in(lesson):
    """Return a notebook's text: sources, and what is saved as their output."""
    errors = [o.evalue for _, c in lesson.code for o in c.outputs if o.output_type == "error"]
    return "\n".join([*(cell.source for cell in lesson.cells), *(printed(c) for _, c in lesson.code), *errors])


def problems(text, lesson):
    """Yield one sentence for each thing on a page that is not as it should be."""
    under = parts(text)
    if list(under) != SECTIONS:
        yield f"its sections are {list(under)}; {SECTIONS} are wanted"
        return
    full, short = times(text)
    plan = rows(under["Minutes"])
    for said, column, name in ((full, 0, "full"), (short, 1, "short")):
        found = sum(minutes(row[column]) for row in plan)
        if found != said:
            yield f"the {name} minutes add up to {found}; its head says {said}"
    read, exercises = (int(field(lesson, name).removesuffix(" min")) for name in ("Read", "Exercises"))
    if not 2 / 3 * (read + exercises) <= full <= read + exercises or short >= full:
        yield f"{full} minutes, short {short}; the card has {read} + {exercises}, and two thirds of that at least"
    in_class = sum(minutes(row[0]) for row in plan if row[2].startswith("The exercises"))
    if not 0 < in_class <= exercises:
        yield f"{in_class} minutes for the exercises; the card has {exercises}"

    options = rows(under["The poll"])
    right = [row for row in options if row[2] == "**Right.**" or row[2].startswith("**Right** ")]
    if [row[0].strip("*") for row in options] != list("ABCD") or [row for row in options if "*" in row[0]] != right:
        yield "the poll has the answers A to D; one of them is bold and **Right.**"
    if len(right) != 1 or not all(row[1] and row[2] for row in options):
        yield "every other answer of the poll has a reason"
    if not re.search(r"the\s+cell\s+with\s+`guess", under["The poll"]):
        yield "the poll says which cell shows the answer: → *heading*, the cell with `guess…`"

    prose = re.sub(r"\s+", " ", FENCE.sub("", text))
    headings = {heading.text: heading for heading in lesson.headings}
    named = re.findall(r"→ (?:\*([^*]+)\*)?(?:, the cell with `(guess\w*)`)?", prose)
    for heading, guess in named:
        if heading not in headings:
            yield f"→ {heading}: no such heading; there are {list(headings)}"
        elif guess and not any(
            re.search(rf"^{guess} = None\b", cell.source, re.MULTILINE)
            for _, cell in lesson.section(headings[heading])[1]
        ):
            yield f"→ {heading}: no cell there has {guess} = None"

    told = text.replace(under["The poll"], re.sub(r"^\|.*$", "", under["The poll"], flags=re.MULTILINE))
    missing = set(NUMBER.findall(FENCE.sub("", told))) - set(NUMBER.findall(everything_in(lesson)))
    if missing:
        yield f"{sorted(missing)} stand nowhere in the notebook"
    words = len(re.findall(r"[^\W_][\w'’./-]*", prose))
    if words > WORDS:
        yield f"{words} words; at most {WORDS}, to be read in two minutes"


def schedules(text, pages):
    """Yield one sentence for each sum or minute that is wrong in the schedules; ``pages``: name → (full, short)."""
    for title, said, table in re.findall(
        r"^### ([^\n]+) \((\d+) minutes\)\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE
    ):
        plan = rows(table)
        if sum(int(row[0]) for row in plan) != int(said):
            yield f"{title}: its minutes add up to {sum(int(row[0]) for row in plan)}, not {said}"
        for number, what in plan:
            linked = re.match(r"\[.+\]\((.+)\), (full|short)$", what)
            if ".md" in what and not (linked and linked[1] in pages):
                yield f"{title}: {what!r} is not [name](page), full or short"
            elif linked and int(number) != pages[linked[1]][linked[2] == "short"]:
                yield f"{title}: {what} takes {pages[linked[1]]} minutes on its page, not {number}"


def test_every_notebook_has_a_page_and_no_page_lacks_its_notebook():
    assert [page.stem for page in PAGES] == sorted(LESSONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_fits_its_notebook(page):
    assert list(problems(page.read_text(encoding="utf-8"), Lesson(LESSONS[page.stem]))) == []


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    assert list(dead_links(page, blank(page.read_text(encoding="utf-8"), FENCE))) == []


def test_a_page_links_to_its_own_notebook_and_has_its_name():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        name = re.search(rf"\[(.+?)\]\({page.stem}\.md\)", README.read_text(encoding="utf-8"))[1]
        assert text.startswith(f"# {name}\n") and f"[Notebook](../{page.stem}.ipynb)" in text, page.name


def test_the_readme_has_every_page_with_its_minutes():
    table = rows(README.read_text(encoding="utf-8").partition("## ")[0])
    listed = {re.search(r"\((.+)\)", row[0])[1]: (row[1], row[2]) for row in table}
    assert listed == {page.name: tuple(f"{m} min" for m in times(page.read_text(encoding="utf-8"))) for page in PAGES}


def test_schedules_add_up_and_use_the_pages_minutes():
    text = README.read_text(encoding="utf-8")
    assert len(re.findall(r"^### ", text, re.MULTILINE)) == len(
        re.findall(r"^### .+ \(\d+ minutes\)$", text, re.MULTILINE)
    )
    pages = {page.name: times(page.read_text(encoding="utf-8")) for page in PAGES}
    assert list(schedules(text, pages)) == []
    for wrong in (text.replace("| 10 | Break |", "| 11 | Break |", 1), text.replace("| 17 | [04", "| 16 | [04", 1)):
        assert wrong != text and list(schedules(wrong, pages))
    assert list(schedules(text.replace("| 3 | What fine", "| 3 | [14](14.md), full; what fine", 1), pages))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("| 2 | 1 | Turn", "| 3 | 1 | Turn", "full minutes add up to 16"),
        ("| 2 | 1 | Turn", "| 2 | 2 | Turn", "short minutes add up to 11"),
        ("class **15 min**", "class **26 min**", "the card has"),
        ("| 3 | – | The exercises", "| 3 | – | Practice", "0 minutes for the exercises"),
        ("→ *Off*", "→ *Turned off*", "no such heading"),
        ("→ *Off*", "→ Off", "no such heading"),
        ("cell with `guess`", "cell with `guess_letters`", "no cell there has"),
        ("| **B** |", "| B |", "one of them is bold"),
        ("| D |", "| E |", "answers A to D"),
        ("More adapter sounds like more Zulu.", "", "has a reason"),
        ("20,736", "20,763", "stand nowhere in the notebook"),
        ("to 1.78 nats", "to 1.87 nats", "stand nowhere in the notebook"),
        ("## On the board", "## Board", "its sections are"),
        ("## When time is short", "## When time is short\n" + "word " * WORDS, "read in two minutes"),
    ],
)
def test_a_page_that_does_not_fit_is_told(before, after, said):
    text = (KIT / "00_start_here.md").read_text(encoding="utf-8")
    assert before in text
    assert said in "\n".join(problems(text.replace(before, after), Lesson(LESSONS["00_start_here"])))
