"""What the text under a picture names, the saved picture has: a panel by its title, a word on an axis, a row's name."""

import re

from lora_teach.live import View
from tests.notebooks.reading import NOTEBOOKS, Lesson, called, calls
from tests.pictures.test_every_view import VIEWS

import pytest
from matplotlib.figure import Figure

# A sentence that says where to look; one that says what to drag tells of the moving picture, not of the saved one.
PLACE = re.compile(
    r"\bpanels?\b|\b(?:axis|row|column|bars?|curve) (?:at|on) (?:the )?(?:left|right|top)\b|[^()]* above\)"
)
LIVE = re.compile(r"\b(?:[Dd]rag|[Pp]ress|[Mm]ove the)\b")


def told(text):
    """Yield the sentences that say where to look, in the text right under a picture, up to the next heading."""
    text = re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0]
    for paragraph in re.split(r"\n\s*\n", text):
        live = False
        for sentence in re.split(r"(?<=[.:!?)])\s+", " ".join(paragraph.split())):
            live = live or bool(LIVE.search(sentence))
            if PLACE.search(sentence) and not live:
                yield sentence


def named(sentence):
    """Return what a sentence says in italics or quotes: the words by which a panel is known."""
    return re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)|\"([^\"]+)\"", sentence)


def written(figure: Figure) -> str:
    """Return all that is written in a figure, in one text."""
    texts = [figure.get_suptitle()]
    for axes in figure.axes:
        texts += [axes.get_title(place) for place in ("left", "center", "right")]
        texts += [axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
        texts += axes.get_legend_handles_labels()[1]
    return " ".join(" ".join(texts).split())


def saved_figure(view: View, monkeypatch) -> Figure:
    """Return the figure that a saved notebook shows of this view."""
    kept = []
    module = __import__(type(view).__module__, fromlist=["show"])
    if hasattr(module, "show"):
        shown = module.show
        monkeypatch.setattr(module, "show", lambda picture, sentence: kept.append(picture) or shown(picture, sentence))
    view.static_figure()
    picture = kept[0] if kept else view.picture
    return getattr(picture, "figure", picture) if not isinstance(picture, Figure) else picture


def lacking(text, view, monkeypatch):
    """Yield the sentences that name nothing that is written in the saved picture."""
    sentences = list(told(text))
    if sentences:
        there = written(saved_figure(view(), monkeypatch))
        for sentence in sentences:
            words = ["".join(pair) for pair in named(sentence)]
            if not any(word in there for word in words):
                yield sentence


def explored(path):
    """Yield the name of each view of a notebook and the text under it."""
    lesson = Lesson(path)
    for index, cell in lesson.code:
        for call in calls(cell.source):
            made = call.args[0] if called(call) == "explore" and call.args else None
            name = called(made) if hasattr(made, "func") else _assigned(cell.source, made)
            if name in VIEWS and index + 1 < len(lesson.cells) and lesson.cells[index + 1].cell_type == "markdown":
                yield name, lesson.cells[index + 1].source


def _assigned(source, name):
    found = re.search(rf"^{getattr(name, 'id', '-')} = (\w+)\(", source, re.MULTILINE)
    return found[1] if found else None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_text_under_a_picture_names_what_the_saved_picture_has(path, monkeypatch):
    for name, text in explored(path):
        problems = list(lacking(text, VIEWS[name], monkeypatch))
        cure = "Name a panel by its title, in *italics*, or begin with what to drag"
        assert not problems, f"{path.name}: {name}'s saved picture lacks what the text names: {problems}. {cure}"


def test_a_panel_that_the_saved_picture_lacks_is_noticed(monkeypatch):
    def problems(text):
        return list(lacking(text, VIEWS["Counts"], monkeypatch))

    assert problems("The panel at the right counts.") == ["The panel at the right counts."]
    assert problems("The panel *r = 99* is large.") != []
    assert problems("(The loss above)") != []
    assert problems("The panel *r = 16* is large. So it goes.\n\n## The panel at the right") == []
    assert problems("Drag the rank. The panel at the left follows.") == []
    assert problems("No place is named here.") == []
