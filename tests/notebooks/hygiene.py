"""The hygiene of a saved notebook: executed in order, free of what breaks pages, its pictures readable by everyone.

Each rule takes a `Lesson` and yields one sentence for each thing that is not as it should be, with the cure in it.
"""

import base64
import io
import re
from collections.abc import Iterator

from lora_teach.plots.picture import caption
from tests.notebooks.reading import Lesson, dead_links
from tests.notebooks.save import NotClean, is_clean

import matplotlib
import numpy as np
from PIL import Image

FILE_BYTES = 500_000
PICTURE_WIDTH = 1200
TAGS = {"nbval-ignore-output", "raises-exception"}
MACHINE = re.compile(r"(?<![\w.:/-])/(?:root|home|tmp|Users|usr|opt|var|mnt|work)/\w|\b[A-Z]:\\\w|site-packages")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


def saved_by_the_script(lesson: Lesson) -> Iterator[str]:
    """The file is what save.py writes: no widget state, fixed metadata, unique ids, merged streams."""
    try:
        if not is_clean(lesson.path):
            yield f"it is not as save.py writes it; run python tests/notebooks/save.py notebooks/{lesson.name}"
    except NotClean as reason:
        yield str(reason)


def executed_in_order(lesson: Lesson) -> Iterator[str]:
    """Execution counts are 1, 2, 3, …: the notebook was run from a clean kernel, top to bottom."""
    counts = [cell.execution_count for _, cell in lesson.code]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the execution counts are {counts}; execute it with save.py"


def errors_are_meant(lesson: Lesson) -> Iterator[str]:
    """A cell shows an error exactly if it is tagged so; nothing is written to stderr; tags are known ones."""
    for index, cell in lesson.code:
        tags = set(cell.metadata.get("tags", []))
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in tags:
            yield f"cell {index}: shows {errors[0]} without the tag raises-exception"
        if "raises-exception" in tags and not errors:
            yield f"cell {index}: is tagged raises-exception and shows no error"
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"cell {index}: has output on stderr (a warning, or tqdm); strict nbval compares it, so avoid it"
        if tags - TAGS:
            yield f"cell {index}: unknown tags {sorted(tags - TAGS)}; known are {sorted(TAGS)}"
        if re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"cell {index}: use the tag nbval-ignore-output in place of the comment"
        if "nbval-ignore-output" in tags and not re.search(r"^\s*assert\b", cell.source, re.MULTILINE):
            yield f"cell {index}: its output is not compared (nbval-ignore-output), so it asserts what the text claims"


def pictures_can_be_read(lesson: Lesson) -> Iterator[str]:
    """Every picture is opaque, not too wide, and has a visible sentence."""
    for index, cell in lesson.code:
        for place, output in enumerate(cell.outputs):
            png = output.get("data", {}).get("image/png")
            if not png:
                continue
            picture = Image.open(io.BytesIO(base64.b64decode(png)))
            if np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
                yield f"cell {index}: a picture is transparent in places; use lora_teach.plots.figure, which is opaque"
            if picture.width > PICTURE_WIDTH:
                yield f"cell {index}: a picture is {picture.width} px wide; make it {PICTURE_WIDTH} at most"
            sentence = output.data.get("text/plain", "")
            if not _is_sentence(sentence):
                yield (
                    f"cell {index}: a picture's text/plain is {sentence[:60]!r}, not a sentence of four words or more; "
                    "end the cell in show(figure, sentence)"
                )
            elif not (_is_drawn(sentence, picture) or _is_said(sentence, cell.outputs[place + 1 :])):
                yield f"cell {index}: a picture's sentence can't be seen; show(figure, sentence) draws it under it"


def nothing_of_a_machine(lesson: Lesson) -> Iterator[str]:
    """No absolute path and no memory address, in sources or in outputs."""
    for index, cell in enumerate(lesson.cells):
        texts = {"source": cell.source}
        for output in cell.get("outputs", []):
            shown = [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
            shown += [text for mime, text in output.get("data", {}).items() if mime.startswith("text/")]
            texts["output"] = texts.get("output", "") + "\n".join(shown)
        for where, text in texts.items():
            for match in [*MACHINE.finditer(text), *(ADDRESS.finditer(text) if where == "output" else ())]:
                start = max(0, match.start() - 10)
                around = text[start : match.end() + 30]
                yield f"cell {index}: its {where} has a path or an address of one machine: {around!r}; leave it out"


def small_and_connected(lesson: Lesson) -> Iterator[str]:
    """The file is small, its links lead somewhere, its images have a text."""
    size = lesson.path.stat().st_size
    if size > FILE_BYTES:
        yield f"the file has {size / 1000:.0f} KB; at most {FILE_BYTES / 1000:.0f}: fewer or smaller pictures"
    for index, cell in lesson.markdown:
        yield from (f"cell {index}: {dead}" for dead in dead_links(lesson.path, cell.source))
        if "![](" in cell.source:
            yield f"cell {index}: an image has no text; write ![what is to be seen](…)"
        if "](attachment:" in cell.source:
            yield f"cell {index}: an attached image; put the file into data/ and link to it"


def _is_sentence(text: str) -> bool:
    return len(text.split()) >= 4 and text.rstrip().endswith((".", "!", "?")) and not text.startswith("<")


def _is_said(sentence: str, outputs) -> bool:
    """Tell whether the next outputs say the sentence in text that is shown."""
    texts = [output.get("text", "") for output in outputs]
    for output in outputs:
        if "image/png" not in output.get("data", {}):
            texts += [output.get("data", {}).get(mime, "") for mime in ("text/markdown", "text/plain")]
    words = " ".join(sentence.split())
    return any(words in " ".join(text.replace("*", "").split()) for text in texts)


def _is_drawn(sentence: str, picture: Image.Image) -> bool:
    """Tell whether the picture's foot holds as much ink as the sentence drawn there would; fonts differ in details."""
    pixels = np.asarray(picture.convert("RGB"))
    older = matplotlib.__version_info__ < (3, 11)  # its letters are narrower: what was saved may have one line more
    for width in (picture.width, round(0.95 * picture.width))[: 1 + older]:
        expected = caption(sentence, width)
        ink, wanted = (255.0 - pixels[-len(expected) :]).sum(), (255.0 - expected).sum()
        if len(expected) < len(pixels) and 0.7 * wanted < ink < 1.4 * wanted:
            return True
    return False


RULES = [
    saved_by_the_script,
    executed_in_order,
    errors_are_meant,
    pictures_can_be_read,
    nothing_of_a_machine,
    small_and_connected,
]
