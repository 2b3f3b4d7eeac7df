"""How the tests read a notebook: its cells, headings, sections, links and words."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)
DETAILS = re.compile(r"<details\b.*?</details>", re.DOTALL | re.IGNORECASE)
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<target>[^)\s]+)[^)]*\)")
LINK = re.compile(r"(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)[^)]*\)")


@dataclass(frozen=True)
class Heading:
    """A heading, the cell it stands in and where in that cell's text it begins."""

    cell: int
    start: int
    level: int
    text: str


class Lesson:
    """A notebook as the rules see it."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.name
        self.number = path.name[:2]
        self.cells = nbformat.read(path, as_version=4).cells

    @property
    def teaches(self) -> bool:
        """Whether this is one of the numbered notebooks; the playground asks for nothing and sums up nothing."""
        return self.number.isdigit()

    @property
    def code(self) -> list[tuple[int, nbformat.NotebookNode]]:
        """The code cells, each with its place among all cells."""
        return [(index, cell) for index, cell in enumerate(self.cells) if cell.cell_type == "code"]

    @property
    def markdown(self) -> list[tuple[int, nbformat.NotebookNode]]:
        """The Markdown cells, each with its place among all cells."""
        return [(index, cell) for index, cell in enumerate(self.cells) if cell.cell_type == "markdown"]

    @cached_property
    def headings(self) -> list[Heading]:
        """All headings in order; a ``#`` inside a code block is none."""
        return [
            Heading(index, match.start(), len(match[1]), match[2].strip())
            for index, cell in self.markdown
            for match in re.finditer(r"^(#{1,6})[ \t]+(.+)$", blank(cell.source, FENCE), re.MULTILINE)
        ]

    def section(self, heading: Heading) -> tuple[str, list[tuple[int, nbformat.NotebookNode]]]:
        """What stands under a heading, up to the next one of its level or above: its Markdown, and its code cells."""
        after = self.headings[self.headings.index(heading) + 1 :]
        end = next((h for h in after if h.level <= heading.level), Heading(len(self.cells), 0, 0, ""))
        texts = []
        for index, cell in self.markdown:
            if heading.cell <= index <= end.cell:
                start = heading.start if index == heading.cell else 0
                texts.append(cell.source[start : end.start if index == end.cell else None])
        return "\n\n".join(texts), [(index, cell) for index, cell in self.code if heading.cell < index < end.cell]

    def words(self) -> int:
        """Words of prose: not code blocks, folded parts, formulas, link targets, HTML tags or the references."""
        text = "\n\n".join(cell.source for _, cell in self.markdown)
        for heading in self.headings:
            if heading.level == 2 and heading.text.lower() == "references":
                text = text.replace(self.section(heading)[0], "")
        for unread in (FENCE, DETAILS, IMAGE, re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$|<[^>\n]+>", re.DOTALL)):
            text = unread.sub(" ", text)
        text = LINK.sub(lambda link: link["text"], text)
        return len(re.findall(r"[^\W_][\w'’./-]*", text))


def blank(text: str, pattern: re.Pattern) -> str:
    """Replace what matches by spaces, so that places in the text stay what they are."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def card(lesson: Lesson) -> list[str]:
    """Return the lines of the first paragraph under the title, markers of a line's end taken off."""
    paragraphs = re.split(r"\n[ \t]*\n", lesson.cells[0].source.strip())
    lines = paragraphs[1].splitlines() if len(paragraphs) > 1 else []
    return [line.rstrip("\\ ") for line in lines]


def field(lesson: Lesson, name: str) -> str:
    """Return what the card says after ``**name**``."""
    match = re.search(rf"\*\*{name}:?\*\*:?([^·|]*)", "\n".join(card(lesson)[:1]), re.IGNORECASE)
    return match[1].strip() if match else ""


def parsed(source: str) -> list[ast.stmt]:
    """Return a cell's statements; none for a cell that is not Python (a syntax error shown on purpose)."""
    try:
        return compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).body
    except SyntaxError:
        return []


def calls(source: str) -> Iterator[ast.Call]:
    """Yield the function calls in a cell."""
    for statement in parsed(source):
        yield from (node for node in ast.walk(statement) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    """Return the name of the function that is called, without what stands before its last dot."""
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def calls_check(source: str) -> bool:
    """Tell whether a cell calls a check of an exercise."""
    return any(called(call).startswith("check_") for call in calls(source))


def printed(cell: nbformat.NotebookNode) -> str:
    """Return the text among a code cell's outputs: what it printed, and what it showed as text or Markdown."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif "data" in output:
            texts.append(output.data.get("text/markdown", output.data.get("text/plain", "")))
    return "\n".join(texts)


def dead_links(path: Path, text: str) -> Iterator[str]:
    """Yield each link from ``text``, which stands in ``path``, to a file or a heading that is not there."""
    for link in (*LINK.finditer(blank(text, FENCE)), *IMAGE.finditer(blank(text, FENCE))):
        target, _, anchor = link["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue  # the web is not looked at
        file = (path.parent / target).resolve() if target else path
        if not file.exists():
            yield f"{path.name} links to {link['target']}, which does not exist"
        elif anchor and file.suffix == ".ipynb":
            anchors = {heading.text.replace(" ", "-") for heading in Lesson(file).headings}
            if anchor not in anchors:
                yield f"{path.name} links to {link['target']}; the headings there are {sorted(anchors)}"
