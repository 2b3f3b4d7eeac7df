"""How the tests read a site: its links, what it would ask another host for, its colours."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

LEADS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src", "iframe": "src"}
ABROAD = re.compile(r"(?:https?:)?//\w[^\s'\"]*\.\w+|@import[^;]*|url\([^)]*\)")


class Page(HTMLParser):
    """What a page leads to, and the places that a link can name on it."""

    def __init__(self, path: Path):
        super().__init__()
        self.name, self.leads, self.ids = path.name, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if attrs.get("id") else []
        self.leads += [(tag, attrs[LEADS[tag]])] if attrs.get(LEADS.get(tag)) else []


def pages(site: Path) -> dict[str, Page]:
    """Return all pages of a site by their names."""
    return {path.name: Page(path) for path in sorted(site.glob("*.html"))}


def dead_links(site: Path) -> list[str]:
    """Return each link within the site to a file, or to a place on a page, that is not there."""
    known, dead = pages(site), []
    for page in known.values():
        for _, lead in page.leads:
            url = urlparse(lead)
            target, place = unquote(url.path) or page.name, unquote(url.fragment)
            lost = place and target in known and place not in known[target].ids
            if not url.scheme and (not (site / target).is_file() or lost):
                dead.append(f"{page.name} → {lead}")
    return dead


def foreign(site: Path) -> list[str]:
    """Return whatever a page would load from another host: all but the links that a reader follows."""
    found = [
        f"{page.name}: {lead}"
        for page in pages(site).values()
        for tag, lead in page.leads
        if tag != "a" and (lead.startswith("//") or urlparse(lead).scheme not in ("", "data"))
    ]
    for path in (*site.glob("*.css"), *site.glob("*.js")):
        found += [f"{path.name}: {url}" for url in ABROAD.findall(path.read_text(encoding="utf-8"))]
    return found


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, ``#rrggbb``, as WCAG 2.1 defines it: from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
