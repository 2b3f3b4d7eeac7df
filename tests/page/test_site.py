"""The course as a page: what is written, what is refused, and that nothing of anybody else's is lost."""

import json
import re
import sys
from dataclasses import replace
from io import BytesIO

from lora_teach import cli
from lora_teach.page import site
from lora_teach.page.heroes import HEROES, webp
from lora_teach.page.site import MANIFEST, ROOT, build, hero_cell
from lora_teach.page.writing import style
from tests.page.reading import contrast, dead_links, foreign
from tests.page.small import HERO, course

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return course(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """A small site, and what was said of it."""
    out = tmp_path_factory.mktemp("built") / "site"
    return out, build(out, root, [HERO])


@pytest.fixture(scope="module")
def page(built):
    return BeautifulSoup((built[0] / "00_small.html").read_text(encoding="utf-8"), "html.parser")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_told_is_what_lies_there(built):
    out, told = built
    files = [path for path in out.rglob("*") if path.is_file()]
    assert told.frames == 3 == len(list((out / "frames").rglob("*.webp")))  # two places, and where the slider starts
    assert told.pages == 5 == len(list(out.glob("*.html")))  # two notebooks, the contents, two linked files
    assert told.size == sum(path.stat().st_size for path in files if path.name != MANIFEST)
    assert str(told).startswith("5 pages, 3 frames, 0.")


def test_every_link_leads_somewhere_and_nothing_comes_from_another_host(built):
    assert dead_links(built[0]) == [] and foreign(built[0]) == []


def test_a_dead_or_foreign_link_would_be_noticed(built, tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html"></a><a href="#x"></a><img src="https://example.org/a.png"><script src="//cdn.org/x.js">',
        encoding="utf-8",
    )
    assert dead_links(tmp_path)[:2] == ["a.html → b.html", "a.html → #x"] and len(foreign(tmp_path)) == 2


def test_text_code_formulas_and_outputs_of_a_notebook_are_there(page):
    assert page.html["lang"] == "en" and page.title.text == "Is this small?"
    assert [heading.text for heading in page.find_all(re.compile("h[1-6]"))] == ["Is this small?"]
    assert len(page.find_all("math")) == 3 and page.find("math", display="block").find("mfrac")
    assert "$" not in page.find("section").text
    assert page.details.find("pre").text.strip() == 'print("folded")'
    outputs = [output.text.strip() for output in page.select(".output pre")]
    assert outputs == ["a < b", "E: no"]
    assert page.select_one(".answer img")["alt"] == 'A picture of "nothing" & <no more>.'
    assert page.select_one(".answer img")["width"] == "30"
    assert [cell.name for cell in page.select("thead tr > *")] == ["td", "th"] and page.find("th").find("math")


def test_every_frame_is_the_live_picture_pixel_for_pixel_with_its_sentence(built, page):
    explorer = HERO.explorer()
    stops = HERO.stops(explorer)["strength"]
    assert stops == [0.0, 0.75, 1.0]
    sentences = json.loads(page.select_one(".hero script").text)
    for place, strength in enumerate(stops):
        assert sentences[str(place)] == explorer.move(strength=strength)
        frame = Image.open(built[0] / "frames" / "00_small" / f"{place}.webp")
        assert (np.array(frame.convert("RGB")) == explorer.picture.whole()).all()
    assert page.select_one(".hero figcaption").text == sentences["1"]
    assert page.select_one(".hero input")["max"] == "2" and page.select_one(".hero output").text == "0.75"
    assert page.select_one(".hero img")["src"] == "frames/00_small/1.webp"


def test_frames_lose_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert (np.array(Image.open(BytesIO(webp(pixels)))) == pixels).all()


def test_building_again_replaces_the_page_and_gives_the_same(built, root):
    before = contents(built[0])
    build(built[0], root, [HERO])
    assert contents(built[0]) == before
    assert [path.name for path in built[0].parent.iterdir()] == ["site"]


def test_what_is_not_ours_is_refused_and_kept(root, tmp_path, built):
    for name, make, words in (
        ("file", lambda path: path.write_text("x"), "is a file"),
        ("full", lambda path: (path.mkdir(), (path / "thesis.txt").write_text("x")), "no page of this command"),
        ("link", lambda path: path.symlink_to(tmp_path), "is a link"),
        ("listed", lambda path: (path.mkdir(), (path / MANIFEST).write_text("7")), "no page of this command"),
        ("added", lambda path: (build(path, root, [HERO]), (path / "thesis.txt").write_text("x")), "has thesis.txt"),
    ):
        out = tmp_path / name
        make(out)
        before = contents(tmp_path)
        with pytest.raises(ValueError, match=words):
            build(out, root, [HERO])
        assert contents(tmp_path) == before
    (tmp_path / "empty").mkdir()
    build(tmp_path / "empty", root, [HERO])
    assert (tmp_path / "empty" / "index.html").is_file()


@pytest.mark.parametrize(
    ("hero", "words"),
    [
        (replace(HERO, notebook="07_none"), "07_none has no cell"),
        (replace(HERO, view="Mix", picture="mix"), r"no cell with explore\(Mix"),
        (replace(HERO, axes={"rank": None}), "has the sliders strength; the page names rank"),
        (replace(HERO, axes={}), "and can have 1 to 2"),
    ],
    ids=["notebook", "view", "slider", "axes"],
)
def test_a_hero_that_can_not_be_shown_is_an_error(hero, words, root, tmp_path):
    with pytest.raises(ValueError, match=words):
        build(tmp_path / "site", root, [hero])
    assert list(tmp_path.iterdir()) == []


def test_a_site_too_large_or_a_dead_link_leaves_the_old_page(built, root, tmp_path, monkeypatch):
    before = contents(built[0])
    with monkeypatch.context() as patched:
        patched.setattr(site, "LIMIT", 1000)
        with pytest.raises(ValueError, match=r"bytes, at most 1,000: give a hero fewer places"):
            build(built[0], root, [HERO])
    broken = course(tmp_path)
    (broken / "lora_teach" / "layer.py").unlink()
    with pytest.raises(ValueError, match="layer.py, linked in .* is no file of the repository"):
        build(built[0], broken, [HERO])
    with pytest.raises(ValueError, match="has no notebooks"):
        build(built[0], tmp_path / "nowhere", [HERO])
    assert contents(built[0]) == before


def test_the_ten_heroes_stand_in_their_notebooks():
    opened = {path: nbformat.read(path, as_version=4) for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert len(HEROES) == 10 == len({hero_cell(hero, opened) for hero in HEROES})
    assert [hero.notebook for hero in HEROES] == sorted(path.stem for path in opened if path.stem[0] == "0")


def test_colours_are_told_apart_by_everybody():
    text = style()
    modes = re.findall(r":root \{([^}]*)\}", text)[:2]
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", mode)) for mode in modes)
    for mode in (light, dark):
        for ink in ("ink", "quiet", "link"):
            for ground in ("paper", "box"):
                assert contrast(mode[ink], mode[ground]) >= 7, (ink, ground)
        assert contrast(mode["line"], mode["paper"]) >= 3
    own, dark_code = text.rsplit("@media (prefers-color-scheme: dark)", 1)
    for mode, code in ((light, own[own.index(".highlight .hll") :]), (dark, dark_code)):
        for rule, colour in re.findall(r"^(\.highlight \S+) \{[^}]*?(?<!-)color: (#\w+)", code, re.MULTILINE):
            if rule == ".highlight .w":
                continue  # blanks have no ink
            assert contrast(colour, mode["box"]) >= 4.5, (rule, colour)


def test_the_command_says_what_it_built_and_refuses_in_a_line(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(site, "build", lambda out, say: build(out, root, [HERO], say))
    assert cli.main(["page", str(tmp_path / "site")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'site' / 'index.html'}\n"
    assert "00_small: 3 frames of TurnItDown" in said.err and "5 pages, 3 frames" in said.err
    (tmp_path / "site" / "mine.txt").touch()
    assert cli.main(["page", str(tmp_path / "site")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lora_teach page: OUT: {tmp_path / 'site'} has mine.txt, which this command did not write")


def test_the_command_names_what_is_not_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lora_teach.page.site", None)
    assert cli.main(["page", str(tmp_path / "site")]) == 2
    assert "is not installed: pip install -r requirements.txt" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
