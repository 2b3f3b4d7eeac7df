"""The whole site in one folder: pages, pictures, frames, and a list of all that lies there."""

import json
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lora_teach.page import cheat_sheet
from lora_teach.page.heroes import HEROES, draw_frames
from lora_teach.page.writing import TEMPLATES, Writer, place, style
from lora_teach.utils.outputs import try_folder

import nbformat

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "page.json"  # what the command has written, and so may replace
LIMIT = 12_000_000  # bytes of a whole site
COMMAND = "pip install -r requirements.txt && jupyter lab notebooks/00_start_here.ipynb"


@dataclass(frozen=True)
class Page:
    """A notebook's page as the others name it."""

    file: str
    name: str
    question: str
    read: str
    sliders: str  # of its hero, nothing without one


@dataclass(frozen=True)
class Built:
    """What was built: pages, frames, bytes and seconds."""

    pages: int
    frames: int
    size: int
    seconds: float

    def __str__(self):
        return f"{self.pages} pages, {self.frames} frames, {self.size / 1e6:.1f} MB, {self.seconds:.0f} s"


def build(out, root=ROOT, heroes=HEROES, say=lambda line: None):
    """Write the site of the notebooks in ``root/notebooks`` into the folder ``out`` and return what was `Built`.

    A site that is there is replaced, once the new one is whole.

    Raises:
        ValueError: ``out`` has what this did not write; no notebooks; a hero without a cell in its notebook; a dead
            link; a site larger than 12 MB.
    """
    started, out = time.monotonic(), Path(out)
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    if not notebooks:
        raise ValueError(f"{root / 'notebooks'} has no notebooks: run this in a clone of the repository.")
    check_own(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        new = Path(scratch) / out.name
        new.mkdir()
        pages, frames = _write(new, root, notebooks, heroes, say)
        files = sorted(file.relative_to(new).as_posix() for file in new.rglob("*") if file.is_file())
        size = sum((new / file).stat().st_size for file in files)
        if size > LIMIT:
            raise ValueError(f"the site has {size:,} bytes, at most {LIMIT:,}: give a hero fewer places in heroes.py.")
        (new / MANIFEST).write_text(json.dumps(files, indent=0), encoding="utf-8")
        check_own(out)  # again: minutes have passed
        if out.exists():
            out.replace(Path(scratch) / "old")
        new.replace(out)
    return Built(pages, frames, size, time.monotonic() - started)


def check_own(out):
    """Raise ValueError if ``out`` can't be written, or has anything that `build` did not write."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file. Name a folder that is not there yet.")
    if out.is_symlink():
        raise ValueError(f"{out} is a link, and would be replaced. Name the folder that it leads to.")
    found = {file.relative_to(out).as_posix() for file in out.rglob("*") if not file.is_dir() or file.is_symlink()}
    if found:
        try:
            listed = set(json.loads((out / MANIFEST).read_text(encoding="utf-8"))) | {MANIFEST}
        except (OSError, ValueError, TypeError):
            raise ValueError(f"{out} is not empty, and no page of this command. Name another folder.") from None
        if found - listed:
            raise ValueError(
                f"{out} has {min(found - listed)}, which this command did not write, and the folder would be replaced. "
                "Move it away, or name another folder."
            )
    try_folder(out)


def _write(out, root, notebooks, heroes, say):
    """Write everything into an empty folder; return the numbers of pages and of frames."""
    opened = {path: nbformat.read(path, as_version=4) for path in notebooks}
    for cell in (cell for notebook in opened.values() for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [
            one for one in cell.outputs if one.get("data") != {}
        ]  # what hides a folded answer in JupyterLab
    placed = {hero.notebook: hero_cell(hero, opened) for hero in heroes}  # before the minutes that drawing takes
    frames = {}
    for hero in heroes:
        frames[hero.notebook] = draw_frames(hero, out)
        say(f"{hero.notebook}: {len(frames[hero.notebook].sentences)} frames of {hero.view}")
    pages = [_page(path, notebook, frames.get(path.stem)) for path, notebook in opened.items()]
    writer = Writer(root, notebooks)
    for index, (path, notebook) in enumerate(opened.items()):
        text, pictures = writer.notebook(
            notebook,
            path,
            title=pages[index].question,
            heroes={placed[path.stem]: frames[path.stem]} if path.stem in placed else {},
            previous=pages[index - 1] if index else None,
            next=pages[index + 1] if index + 1 < len(pages) else None,
        )
        (out / pages[index].file).write_text(text, encoding="utf-8")
        for name, content in pictures.items():
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(content)
    shown = list(frames.values())
    (out / "index.html").write_text(
        writer.render("contents", pages=pages, heroes=shown, first=shown[0], command=COMMAND), encoding="utf-8"
    )
    sources = _write_sources(out, writer)
    (out / "style.css").write_text(style(), encoding="utf-8")
    shutil.copy(TEMPLATES / "template" / "heroes.js", out)
    cheat_sheet.write(out)
    return len(pages) + 1 + sources, sum(len(hero.sentences) for hero in shown)


def _write_sources(out, writer):
    """Write a page for each file that is linked, and for each that those link to; return how many."""
    written = set()
    while todo := writer.links.sources - written:
        for file in sorted(todo):
            (out / place(file.relative_to(writer.links.root))).write_text(writer.source(file), encoding="utf-8")
            written.add(file)
    (out / "pictures").mkdir(exist_ok=True)
    for picture in writer.links.pictures:
        shutil.copy(picture, out / "pictures" / picture.name)
    return len(written)


def hero_cell(hero, notebooks):
    """Return the id of the cell that shows a hero: the first in its notebook that makes the view and explores it.

    Raises:
        ValueError: There is none in ``{path: notebook}``.
    """
    for path, notebook in notebooks.items():
        for cell in notebook.cells if path.stem == hero.notebook else []:
            if cell.cell_type == "code" and "explore(" in cell.source and f"{hero.view}(" in cell.source:
                return cell.id
    raise ValueError(f"{hero.notebook} has no cell with explore({hero.view}(…)): change lora_teach/page/heroes.py.")


def _page(path, notebook, frames):
    """Read a notebook's title and card, and the names of its hero's sliders."""
    first = notebook.cells[0].source
    read = re.search(r"\*\*Read\*\* (\d+ min)", first)
    number, _, words = path.stem.partition("_")
    name = f"{number} {words.replace('_', ' ').capitalize()}" if number.isdigit() else path.stem.capitalize()
    question = first.splitlines()[0].lstrip("# ")
    sliders = ", ".join(label for _, label, *_ in frames.controls) if frames else ""
    return Page(f"{path.stem}.html", name, question, read[1] if read else "", sliders)
