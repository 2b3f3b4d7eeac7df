"""What the README and CONTRIBUTING say is so: commands, links, code, times and counts."""

import re
from pathlib import Path

from tests.notebooks.anatomy import field
from tests.notebooks.reading import NOTEBOOKS, Lesson, dead_links

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path for path in [*ROOT.glob("*.md"), *ROOT.glob("data/**/*.md")] if path.is_file()]


@pytest.mark.parametrize(
    "command",
    [
        "pip install -r requirements.txt && jupyter lab notebooks/00_start_here.ipynb",
        "pip install -r requirements.txt && pytest",
    ],
)
def test_both_commands_stand_on_a_line_of_their_own(command):
    assert README.splitlines().count(command) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_files_lead_somewhere(page):
    text = page.read_text(encoding="utf-8").replace("](../../deployments/github-pages)", "")  # GitHub's, of any fork
    assert list(dead_links(page, text)) == []


def test_python_in_the_readme_runs(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert "['" in capsys.readouterr().out  # the names that the example prints


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_map_has_every_notebook_with_its_question_and_times(path):
    row = next((line for line in README.splitlines() if f"(notebooks/{path.name})" in line), "")
    lesson = Lesson(path)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == [lesson.headings[0].text, field(lesson, "Read"), field(lesson, "Exercises")], (
        f"the README's row for {path.name} says {cells[1:]}; its title and its card say otherwise"
    )


def test_the_method_is_three_files_of_the_length_given():
    said = int(re.search(r"fewer than (\d+) lines together", README)[1])
    files = [ROOT / "lora_teach" / name for name in ("layer.py", "model.py", "training.py")]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert said - 100 <= lines < said, f"the three files have {lines} lines; the README says fewer than {said}"


def test_torch_is_bounded_the_same_everywhere_and_the_readme_names_the_tested_one():
    bounds = {
        name: set(re.findall(r"torch(>=[\d.]+,<[\d.]+)", (ROOT / name).read_text(encoding="utf-8")))
        for name in ("requirements.txt", "pyproject.toml")
    }
    assert len(set.union(*bounds.values())) == 1 and all(bounds.values()), bounds
    tested = re.findall(r"^torch==([\d.]+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"pip install torch==([\d.]+) ", README) == tested


def test_every_requirement_is_pinned_within_its_range():
    """For the Python and system that run this test; constraints.txt has the others beside."""
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            one = Requirement(line)
            assert str(one.specifier).startswith("=="), line
            if one.marker is None or one.marker.evaluate():
                assert one.name not in pinned, f"{one.name} is pinned twice"
                pinned[one.name] = one.specifier
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "-c constraints.txt" in lines
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines += project["dependencies"] + project["optional-dependencies"]["dev"]
    for wanted in (Requirement(line) for line in lines if line[:1].isalpha()):
        if wanted.marker is None or wanted.marker.evaluate():
            (version,) = pinned[wanted.name]
            assert wanted.specifier.contains(version.version), f"{wanted} is pinned to {version}: run .ci/pin"
