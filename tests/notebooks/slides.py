"""Slides of notebooks 00, 02 and 04, for a class: headings, pictures and numbers; the prose is the speaker's notes.

    python -m tests.notebooks.slides OUT [--reveal URL]

Open a file in a browser: right goes to the next section, down to its pictures, S shows the notes. The slides move by
reveal.js, which nbconvert's page fetches, with its helpers, from public addresses: the class needs a network.
``--reveal`` takes another address for it.
"""

import argparse
import re
import sys
from pathlib import Path

from tests.notebooks.reading import DETAILS, IMAGE, NOTEBOOKS

import nbformat
from nbconvert import SlidesExporter

CHOSEN = ("00", "02", "04")
HEADING = re.compile(r"^#{1,2} .+$", re.MULTILINE)
NOT_SHOWN = re.compile(r"^## (Exercise|References|The map|Your environment)", re.IGNORECASE)


def sections(cells):
    """Yield ``(heading or "", cell)`` of every cell; a Markdown cell with several headings is cut at each."""
    heading = ""
    for cell in cells:
        if cell.cell_type != "markdown":
            yield heading, cell
            continue
        ends = [*(found.start() for found in HEADING.finditer(cell.source)), len(cell.source)]
        if cell.source[: ends[0]].strip():
            yield heading, nbformat.v4.new_markdown_cell(cell.source[: ends[0]])
        for start, end in zip(ends, ends[1:], strict=False):
            text = cell.source[start:end]
            heading = text.splitlines()[0]
            yield heading, nbformat.v4.new_markdown_cell(text)


def as_slides(notebook):
    """Return a copy in which each section is a slide, each picture or printed answer one below, and prose a note."""
    shown = []
    for heading, cell in sections(notebook.cells):
        if NOT_SHOWN.match(heading):
            continue
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("data") != {}]  # what hides a folded answer
            if cell.outputs:
                shown.append(_as(cell, "subslide"))
            continue
        text = DETAILS.sub("", cell.source).strip()
        title, _, prose = text.partition("\n") if HEADING.match(text) else ("", "", text)
        picture, predict = IMAGE.search(prose), prose.find("**Predict.**")
        for part, kind in (
            (title, "slide"),
            (picture[0] if picture else "", "subslide"),
            (prose[predict:] if predict >= 0 else "", "subslide"),
            (prose, "notes"),
        ):
            if part.strip():
                shown.append(_as(nbformat.v4.new_markdown_cell(part.strip()), kind))
    return nbformat.v4.new_notebook(cells=shown, metadata=notebook.metadata)


def _as(cell, kind):
    cell = cell.copy()
    cell.metadata = nbformat.from_dict({"slideshow": {"slide_type": kind}})
    return cell


def main(arguments=None):
    """Write the slides and their names."""
    parser = argparse.ArgumentParser(description="Slides of notebooks 00, 02 and 04.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--reveal", help="where reveal.js lies: an address, or a folder beside the slides")
    options = parser.parse_args(arguments)
    exporter = SlidesExporter(
        exclude_input=True, embed_images=True, **({"reveal_url_prefix": options.reveal} if options.reveal else {})
    )
    options.out.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS:
        if path.name[:2] in CHOSEN:
            slides, folder = as_slides(nbformat.read(path, as_version=4)), {"metadata": {"path": str(path.parent)}}
            html, _ = exporter.from_notebook_node(slides, folder)
            file = options.out / f"{path.stem}.slides.html"
            file.write_text(html, encoding="utf-8")
            print(file)


if __name__ == "__main__":
    sys.exit(main())
