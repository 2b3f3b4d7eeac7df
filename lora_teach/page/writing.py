"""From a notebook, a source file or Markdown to HTML: nbconvert with a small template, formulas as MathML.

Nothing that is written asks another host for anything: no script, font or style sheet of one is named.
"""

import html
import re
from io import BytesIO
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import ExtractOutputPreprocessor
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename

TEMPLATES = Path(__file__).parent
STYLES = ("default", "github-dark")  # of code: light, dark


class Links:
    """Where the notebooks' links lead on the page, and what has to lie there.

    Attributes:
        sources: Files of the repository that are linked, each to be shown as a page of its own.
        pictures: Files that are shown, each to be copied.
    """

    def __init__(self, root, notebooks):
        self.root, self.notebooks = Path(root).resolve(), {path.name for path in notebooks}
        self.sources, self.pictures = set(), set()

    def href(self, url, beside):
        """Return a link's address on the page; ``beside`` is the folder of the file that it stands in.

        Raises:
            ValueError: It leads to no file of the repository.
        """
        target, hash_mark, anchor = url.partition("#")
        if re.match(r"[a-z]+:", url) or not target:
            return url
        file = self._file(target, beside)
        if file.name in self.notebooks:
            return f"{file.stem}.html{hash_mark}{anchor}"
        if file == self.root / "README.md":
            return "index.html"
        self.sources.add(file)
        return f"{place(file.relative_to(self.root))}{hash_mark}{anchor}"

    def src(self, url, beside):
        """Return a picture's address on the page."""
        file = self._file(url, beside)
        self.pictures.add(file)
        return f"pictures/{file.name}"

    def _file(self, target, beside):
        file = (Path(beside) / target).resolve()
        if not file.is_file() or not file.is_relative_to(self.root):
            raise ValueError(f"{target}, linked in {beside}, is no file of the repository. Mend the link.")
        return file


def place(file):
    """Return where a source file's page lies: all in one folder, so that no link needs to climb."""
    return f"source-{'-'.join(file.parts)}.html"


class Renderer(IPythonRenderer):
    """Markdown to HTML: formulas as MathML, headings with an id, links as the page has them."""

    def __init__(self, links, beside):
        super().__init__(escape=False)
        self._links, self._beside = links, beside

    def heading(self, text, level, **attrs):
        """Write a heading that a link can name as JupyterLab does: spaces as hyphens."""
        name = html.unescape(re.sub(r"<[^>]+>", "", text)).replace(" ", "-")
        return f'<h{level} id="{html.escape(name)}">{text}</h{level}>\n'

    def link(self, text, url, title=None):
        """Write a link to where its target lies on the page."""
        return super().link(text, self._links.href(url, self._beside), title)

    def image(self, text, url, title=None):
        """Write a picture that lies on the page."""
        return super().image(text, self._links.src(url, self._beside), title)

    def table_cell(self, text, align=None, head=False):
        """Write a cell; a header without words, above the rows' names, is none."""
        tag = "th" if head and text.strip() else "td"
        return f"<{tag}{f' style=text-align:{align}' if align else ''}>{text}</{tag}>\n"

    def inline_math(self, body):
        """Write a formula within a line."""
        return convert(body)

    def block_math(self, body):
        """Write a formula on a line of its own."""
        return convert(body, display="block")


class Writer:
    """Writes the pages of one site.

    Attributes:
        links: What the pages written so far link to.
    """

    def __init__(self, root, notebooks):
        self.links = Links(root, notebooks)
        self._exporter = HTMLExporter(extra_template_basedirs=[str(TEMPLATES)], template_name="template")
        self._exporter.register_preprocessor(ExtractOutputPreprocessor(), enabled=True)
        self._exporter.register_filter("markdown2html", lambda source: self.markdown(source, self._beside))
        self._exporter.register_filter("size", _size)

    def markdown(self, source, beside):
        """Return Markdown, which stands in a file of the folder ``beside``, as HTML."""
        return MarkdownWithMath(renderer=Renderer(self.links, beside)).render(source)

    def notebook(self, notebook, path, **resources):
        """Return a notebook's page and ``{address: bytes}`` of its saved pictures."""
        self._beside = path.parent
        resources |= {"unique_key": path.stem, "output_files_dir": "pictures"}
        page, resources = self._exporter.from_notebook_node(notebook, resources)
        return page, resources.get("outputs", {})

    def source(self, file):
        """Return a file of the repository as a page: Markdown as text, anything else as code."""
        name, text = file.relative_to(self.links.root).as_posix(), file.read_text(encoding="utf-8")
        if file.suffix == ".md":
            return self.render("source", title=name, body=self.markdown(text, file.parent), listing=False)
        body = highlight(text, get_lexer_for_filename(file.name), HtmlFormatter())
        return self.render("source", title=name, body=body, listing=True)

    def render(self, template, **values):
        """Return another page of the site, by its template."""
        return self._exporter.environment.get_template(f"{template}.html.j2").render(**values)


def _size(file, resources):
    return Image.open(BytesIO(resources["outputs"][file])).size


def style():
    """Return the style sheet: the page's own, then the colours of code, in light and in dark."""
    own = (TEMPLATES / "template" / "style.css").read_text(encoding="utf-8")
    light, dark = (HtmlFormatter(style=name, nobackground=True).get_style_defs(".highlight") for name in STYLES)
    return f"{own}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
