"""One notation in all notebooks: the symbols of one table, to which every notebook after it links.

Each rule takes a `Lesson` and yields one sentence for each thing that is not as it should be, with the cure in it.
"""

import re
from collections.abc import Iterator

from tests.notebooks.reading import DETAILS, FENCE, LINK, Lesson, blank

TABLE = ("02_the_lora_layer.ipynb", "Notation")  # the notebook and the heading of the table
ORDER = "the course writes x A B; the paper's B A x stands in the table of notebook 03 only"
COMPETING = {  # spelling: what is written in its place
    r"(?:\\Delta ?|Δ)W(?:\^\{?(?:\\top|T|\*)|ᵀ|\*)": "ΔW is (out, in) and has no mark: ΔW = s (A B)ᵀ, a learned one",
    r"\bd(?:elta[ _])?[wW]\b": r"write ΔW, or \Delta W",
    r"\\gamma|γ": "the scaling is s",
    r"(?:\\lambda|λ|\blambda\b)[ $]*(?:=|≈)[ $]*(?:α|\\alpha|\\frac\{\\alpha)": "the scaling is s",
    r"(?:α|\\alpha) ?/ ?(?:R|d|k)\b": "the rank is r",
    r"\bB ?A ?x\b|\+ ?B ?A\b": ORDER,
    r"\bW_\{?(?:\\text\{)?(?:frozen|base|orig)": "the frozen weight is W₀, or W where no other is near",
}


def one_notation(lesson: Lesson) -> Iterator[str]:
    """No symbol competes with those of the table; the rows of a table may translate other people's."""
    for index, cell in lesson.markdown:
        text = re.sub(r"^\|.*$", "", blank(cell.source, FENCE), flags=re.MULTILINE)
        for spelling, cure in COMPETING.items():
            for match in re.finditer(spelling, text):
                yield f"cell {index}: {match[0]!r}: {cure}"


def links_to_the_notation(lesson: Lesson) -> Iterator[str]:
    """From the table's notebook on, each notebook has the table or a link to it outside what is folded."""
    notebook, heading = TABLE
    if lesson.name == notebook and not any(h.level == 2 and h.text == heading for h in lesson.headings):
        yield f"it lacks the heading ## {heading}, with the table of all symbols"
    if not lesson.teaches or lesson.number <= notebook[:2]:
        return
    shown = "\n".join(DETAILS.sub("", cell.source) for _, cell in lesson.markdown)
    if not any(link["target"] == f"{notebook}#{heading}" for link in LINK.finditer(shown)):
        yield f"cell 0: the card's second line has [notation]({notebook}#{heading})"


RULES = [one_notation, links_to_the_notation]
