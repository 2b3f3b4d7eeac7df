"""The course as a page, as a person meets it: each slider by keyboard, beside the live view; without a network.

The site is built here with the ends of each slider; `LORA_TEACH_PAGE=folder` tests a whole one that
`python -m lora_teach page folder` has built.
"""

import os
from dataclasses import replace
from pathlib import Path

from lora_teach.page.heroes import HEROES
from lora_teach.page.site import build
from tests.notebooks.reading import NOTEBOOKS
from tests.page.reading import dead_links, foreign

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser
PAGES = [path.stem for path in NOTEBOOKS]
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
GIVEN = os.environ.get("LORA_TEACH_PAGE")


def thin(hero):
    """The same hero with the ends of each slider, which is drawn in a tenth of the time."""
    return replace(hero, axes={name: places and [places[0], places[-1]] for name, places in hero.axes.items()})


SHOWN = {hero.notebook: hero if GIVEN else thin(hero) for hero in HEROES}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    if GIVEN:
        return Path(GIVEN).resolve()
    out = tmp_path_factory.mktemp("page") / "site"
    build(out, heroes=list(SHOWN.values()))
    return out


class Visit:
    """A browser without a network; what the pages ask for outside the site is kept in ``asked``."""

    def __init__(self, browser, site, **options):
        self.site, self.asked, self.errors = site, [], []
        self.context = browser.new_context(offline=True, viewport={"width": 1100, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self._is_ours(request.url) or self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _is_ours(self, url):
        return url.startswith((self.site.as_uri(), "data:"))

    def open(self, stem):
        self.page.goto((self.site / f"{stem}.html").as_uri())
        return self.page

    def close(self):
        self.context.close()
        assert self.asked == [] and self.errors == []


@pytest.fixture
def visit(browser, site):
    visit = Visit(browser, site)
    yield visit
    visit.close()


def shows(page, key):
    """Wait until the hero shows the frame of this key, whole; return what it says and where its picture lies."""
    page.wait_for_function("key => document.querySelector('.hero').dataset.shown === key", arg=key, timeout=20_000)
    hero = page.locator(".hero").first
    width = hero.locator("img").evaluate("img => img.complete && img.naturalWidth")
    assert width == int(hero.locator("img").get_attribute("width"))
    return hero.locator("figcaption").inner_text(), hero.locator("img").evaluate("img => img.src")


@pytest.mark.parametrize("hero", SHOWN.values(), ids=SHOWN)
def test_every_slider_shows_the_live_frame_and_its_sentence(hero, visit):
    page, explorer = visit.open(hero.notebook), hero.explorer()
    stops = hero.stops(explorer)
    names, at = list(stops), [places.index(explorer.values[name]) for name, places in stops.items()]
    seen = set()

    def agree():
        said, source = shows(page, "-".join(map(str, at)))
        explorer.view.forget()
        assert said == explorer.move(**{name: stops[name][place] for name, place in zip(names, at, strict=True)})
        file = visit.site / source.removeprefix(visit.site.as_uri() + "/")
        assert (np.array(Image.open(file).convert("RGB")) == explorer.picture.whole()).all(), (hero.view, at)
        seen.add((said, file.read_bytes()))

    agree()
    controls = page.locator(".hero").first.locator("input[type=range], select")
    assert controls.count() == len(names)
    for axis in range(len(names)):
        control, last, before = controls.nth(axis), len(stops[names[axis]]) - 1, set(seen)
        control.focus()
        for key, place in (("Home", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("End", last)):
            control.press(key)  # a menu that has the focus takes the same keys
            at[axis] = place
            agree()
            if control.get_attribute("type") == "range":
                text = control.get_attribute("aria-valuetext")
                assert text == control.locator("xpath=following-sibling::output").inner_text() != ""
        assert len(seen - before) >= 1 and len(seen) >= 2, f"{hero.view}: {names[axis]} changes nothing"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate("document.querySelector('.hero').scrollIntoView({block: 'center'})")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"page_{hero.notebook}_{scheme}.png")


def test_every_link_leads_somewhere_and_nothing_comes_from_another_host(site):
    assert dead_links(site) == [] and foreign(site) == []


def test_no_page_asks_another_host_or_hops_sideways(visit):
    for stem in ("index", *PAGES):
        page = visit.open(stem)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{stem}: wider than the window by {wide} pixels"


def test_pages_can_be_read_without_javascript(browser, site):
    visit = Visit(browser, site, java_script_enabled=False)
    for stem in PAGES:
        page = visit.open(stem)
        assert len(page.locator("main").inner_text().split()) > 100
        assert page.locator(".hero").count() == (stem in SHOWN)
        assert not any(hero.is_visible() for hero in page.locator(".hero").all())
        assert all(picture.is_visible() for picture in page.locator(".still img").all())
        assert page.locator(".still").count() == (stem in SHOWN)
    assert visit.open("index").get_by_text("The sliders need JavaScript").is_visible()
    visit.close()


def test_on_paper_the_saved_picture_stands_for_the_sliders(visit):
    page = visit.open("00_start_here")
    assert page.locator(".hero").is_visible() and not page.locator(".still").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".hero").is_visible() and page.locator(".still img").is_visible()


def test_a_frame_that_is_lost_is_told_and_the_last_one_stays(browser, site):
    visit = Visit(browser, site)
    visit.context.route(f"**/frames/06_*/{20 if GIVEN else 2}.webp", lambda route: route.abort())
    page = visit.open("06_merge_switch_share")
    page.locator(".hero input").press("End")
    page.get_by_text("This picture could not be loaded").wait_for()
    assert page.locator(".hero img").evaluate("img => img.naturalWidth") > 0
    visit.close()
