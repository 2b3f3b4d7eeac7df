"""The slides of a class have the notebook's headings and pictures, and neither its code nor its solutions."""

import re

from tests.notebooks.reading import NOTEBOOKS, Lesson
from tests.notebooks.slides import CHOSEN, as_slides, main

import nbformat
import pytest

PATHS = [path for path in NOTEBOOKS if path.name[:2] in CHOSEN]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_section_is_a_slide_and_each_picture_stands_below(path):
    lesson = Lesson(path)
    slides = as_slides(nbformat.read(path, as_version=4)).cells
    kinds = {kind: [c for c in slides if c.metadata["slideshow"]["slide_type"] == kind] for kind in ("slide", "notes")}
    left_out = ("exercise", "references", "the map", "your environment")
    wanted = [h.text for h in lesson.headings if h.level < 3 and not h.text.lower().startswith(left_out)]
    assert [cell.source.lstrip("# ") for cell in kinds["slide"]] == wanted
    pictures = sum("image/png" in str(cell.outputs) for _, cell in lesson.code)
    assert sum("image/png" in str(cell.get("outputs")) for cell in slides) == pictures > 0
    assert kinds["notes"] and not re.search(r"<details|check_|## Exercise", " ".join(cell.source for cell in slides))


def test_the_command_writes_three_files_without_code_and_asks_the_named_place_for_reveal(tmp_path, capsys):
    main([str(tmp_path), "--reveal", "reveal.js-here"])
    files = sorted(tmp_path.iterdir())
    assert [file.name[:2] for file in files] == list(CHOSEN) and capsys.readouterr().out.count("slides.html") == 3
    for file in files:
        html = file.read_text(encoding="utf-8")
        assert "reveal.js-here/dist/reveal.js" in html and "guess = None" not in html and "<aside" in html
