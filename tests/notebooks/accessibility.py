"""What a reader needs who sees little, or hears the notebook read: headings, words for pictures, links and tables.

The rules are those of jupyterlab-a11y-checker 0.2.9 (after WCAG 2.1 AA) that Markdown can keep; Markdown has no way to
write a table's caption or scope. Each takes a `Lesson` and yields one sentence for each thing that is not as it should
be, with the cure in it, as in anatomy.py.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from tests.notebooks.reading import FENCE, IMAGE, LINK, Lesson, blank, called, calls

WORDS = 5  # at least, for what a picture shows
SAYS_NOTHING = {"here", "this", "link", "click here", "this link", "more", "read more", "source", "page", "details"}
RULE = re.compile(r"^\s*\|?\s*:?-{3,}:?\s*(\|\s*:?-{3,}:?\s*)*\|?\s*$")


def headings_go_down_step_by_step(lesson: Lesson) -> Iterator[str]:
    """A heading is at most one level below the one before it, and says something."""
    for before, after in pairwise(lesson.headings):
        if after.level > before.level + 1:
            yield f"cell {after.cell}: {after.text!r} skips a level; make it an H{before.level + 1}"
    for index, cell in lesson.markdown:
        if re.search(r"^#{1,6}[ \t]*$", blank(cell.source, FENCE), re.MULTILINE):
            yield f"cell {index}: a heading without words; take it out"


def headings_differ(lesson: Lesson) -> Iterator[str]:
    """No two headings of a notebook read alike: whoever jumps from heading to heading hears nothing else."""
    seen = {}
    for heading in lesson.headings:
        text = heading.text.lower()
        if text in seen:
            yield f"cell {heading.cell}: the heading {heading.text!r} is in cell {seen[text]} already; rename one"
        seen.setdefault(text, heading.cell)


def pictures_have_words(lesson: Lesson) -> Iterator[str]:
    """Each picture in the text has an alternative text, and each that code shows its sentence as plain text."""
    for index, cell in lesson.markdown:
        text = blank(cell.source, FENCE)
        for image in IMAGE.finditer(text):
            if len(image["alt"].split()) < WORDS:
                yield f"cell {index}: say in the picture's alternative text what is to be seen; it is {image['alt']!r}"
        for tag in re.findall(r"<img\b[^>]*>", text):
            if not re.search(r"alt=[\"'][^\"']+", tag):
                yield f"cell {index}: an <img> without alt; write ![what is to be seen](…)"
    for index, cell in lesson.code:
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                words = output.data.get("text/plain", "")
                if len(words.split()) < WORDS or words.startswith("<"):
                    yield f"cell {index}: its picture has {words!r} as plain text; show it by show(figure, sentence)"


def links_say_where_they_lead(lesson: Lesson) -> Iterator[str]:
    """A link's text makes sense on its own, and is no address."""
    for index, cell in lesson.markdown:
        for link in LINK.finditer(blank(cell.source, FENCE)):
            text = re.sub(r"[*_`]", "", link["text"]).strip().lower()
            if not text or text in SAYS_NOTHING or re.match(r"https?://", text):
                yield f"cell {index}: the link {link[0]!r} does not say where it leads; name what is there"


def tables_have_headers(lesson: Lesson) -> Iterator[str]:
    """Each column of a table has a header; above the rows' own names it may be empty."""
    for index, cell in lesson.markdown:
        lines = blank(cell.source, FENCE).splitlines()
        for header, rule in pairwise(lines):
            if "|" in header and RULE.match(rule) and "|" in rule:
                cells = [text.strip() for text in re.split(r"(?<!\\)\|", header.strip().strip("|"))]
                if not all(cells[1:]):
                    yield f"cell {index}: a table has a column without header: {header.strip()}"


def colours_are_not_the_only_cue(lesson: Lesson) -> Iterator[str]:
    """A cell draws in the course's style, whose lines differ in more than colour; it sets no colour of its own."""
    for index, cell in lesson.code:
        for call in calls(cell.source):
            if any(word.arg in ("color", "c", "cmap", "facecolor") for word in call.keywords):
                yield f"cell {index}: {called(call)}(…) sets a colour; take a role of lora_teach.plots instead"


RULES = [
    headings_go_down_step_by_step,
    headings_differ,
    pictures_have_words,
    links_say_where_they_lead,
    tables_have_headers,
    colours_are_not_the_only_cue,
]
