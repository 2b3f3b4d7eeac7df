"""Execute notebooks in a clean kernel, clean them, write them back: the same notebook gives the same bytes.

    python tests/notebooks/save.py                                  every notebook in notebooks/
    python tests/notebooks/save.py notebooks/01_low_rank.ipynb      these only
    python tests/notebooks/save.py --check                          executes nothing; names those not clean
    python tests/notebooks/save.py --new-ids notebooks/…            also gives every cell a new id, made from its text

What is kept: sources, tags, printed text, pictures and the sentences that go with them, execution counts. The output
under a prediction is folded: JupyterLab shows three dots in its place and opens it when the cell is run. Beside the
dots JupyterLab puts the first line of the first output, so one without content goes before the answer. What goes:
widget views and their state (they break pages that show notebooks), all other metadata, the frames of an error that lie
outside the notebook. A notebook in which a cell raises without the tag raises-exception is left as it was.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import v4

ROOT = Path(__file__).resolve().parents[2]
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "name": "python",
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "pygments_lexer": "ipython3",
    },
}
VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_REPR = re.compile(r"\A[A-Z]\w*\(.*\)\Z", re.DOTALL)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
GUESS = re.compile(r"^guess(_\w+)? = None\b", re.MULTILINE)  # the line that a reader's prediction goes into
FOLDED = {"outputs_hidden": True}  # what JupyterLab calls a folded output, under the key jupyter
SECONDS_FOR_A_CELL = 300


class NotClean(Exception):
    """A notebook holds something that can't be cleaned away; the message names the cell and the cure."""


def load(path: Path, new_ids: bool = False) -> nbformat.NotebookNode:
    """Read a notebook; cells without an id, or with one that another has, get one made from their place and text."""
    raw = json.loads(path.read_text(encoding="utf-8"))  # nbformat itself would fill missing ids at random
    taken = set()
    for index, cell in enumerate(raw["cells"]):
        own = cell.get("id", "")
        if new_ids or own in taken or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", own):
            text = f"{index}\n{''.join(cell['source'])}"
            cell["id"] = hashlib.sha256(text.encode()).hexdigest()[:8]
        taken.add(cell["id"])
    raw["nbformat"], raw["nbformat_minor"] = 4, 5
    return nbformat.reads(json.dumps(raw), as_version=4)


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in a fresh kernel whose working folder is the notebook's.

    Raises:
        CellExecutionError: a cell raised that doesn't have the tag raises-exception.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook,
        timeout=SECONDS_FOR_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=40"],  # what a kernel logs at its start is not about the notebook
    ).execute()


def clean(notebook: nbformat.NotebookNode) -> None:
    """Take out of an executed notebook what would differ from run to run or break a page.

    Raises:
        NotClean: a cell shows a widget that has no sentence of its own.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    for index, cell in enumerate(notebook.cells):
        cell.source = cell.source.rstrip("\n")
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": list(tags)} if tags else {})
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs = _merged(out for out in map(_cleaned, cell.outputs) if not _is_bare(out, index, tags))
    for index in answers(notebook.cells):
        notebook.cells[index].metadata["jupyter"] = nbformat.from_dict(FOLDED)
        notebook.cells[index].outputs.insert(0, v4.new_output("display_data"))


def answers(cells: list) -> list[int]:
    """Return the places of the cells whose outputs answer a prediction: from the guess down to the next Markdown."""
    found, asked = [], False
    for index, cell in enumerate(cells):
        asked = cell.cell_type == "code" and (asked or bool(GUESS.search(cell.source)))
        if asked and cell.outputs:
            found.append(index)
    return found


def open_answers(cells: list) -> list[int]:
    """Return those places of `answers` that are not folded or whose first line would be read beside the dots."""
    told = [index for index in answers(cells) if cells[index].outputs[0].get("data") != {}]
    return sorted({*told, *(index for index in answers(cells) if cells[index].metadata.get("jupyter") != FOLDED)})


def render(notebook: nbformat.NotebookNode) -> str:
    """Return the text of the notebook's file."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def _cleaned(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an output without its widget view and metadata, an error without what lies outside the notebook."""
    if output.output_type in ("display_data", "execute_result"):
        output.is_widget = VIEW in output.data
        output.data.pop(VIEW, None)
        output.metadata = nbformat.from_dict({})
    if output.output_type == "error":
        parts = [ANSI.sub("", part) for part in output.traceback[:-1]]
        kept = [part for part in parts if "Traceback (most recent call last)" in part or part.startswith("Cell In")]
        output.traceback = [*kept, f"{output.ename}: {output.evalue}"]
        output.pop("transient", None)
    return output


def _is_bare(output, index: int, tags) -> bool:
    """Tell whether nothing is left of an output but a widget's repr; refuse it where its absence would fail nbval."""
    text = output.get("data", {}).get("text/plain", "")
    was_widget = output.pop("is_widget", False)
    if output.get("data") == {}:  # a widget that asked for no place in the saved notebook; what stood before an answer
        return True
    if not (was_widget and set(output.data) <= {"text/plain"} and WIDGET_REPR.match(text)):
        return False
    if "nbval-ignore-output" not in tags:
        raise NotClean(
            f"cell {index} shows a bare widget ({text.split('(')[0]}): show it through explore() or a class with a "
            "_repr_mimebundle_ that gives a picture and a sentence, or tag the cell nbval-ignore-output"
        )
    return True


def _merged(outputs) -> list:
    """Join what was written to one stream in pieces: where it is cut is chance."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def save(path: Path, new_ids: bool = False) -> str:
    """Execute and clean one notebook and write it; return its new text."""
    notebook = load(path, new_ids)
    execute(notebook, path.parent)
    clean(notebook)
    text = render(notebook)
    path.write_text(text, encoding="utf-8", newline="\n")
    return text


def is_clean(path: Path) -> bool:
    """Tell whether cleaning the file as it is, without executing, would leave every byte as it is."""
    notebook = load(path)
    clean(notebook)
    return render(notebook) == path.read_text(encoding="utf-8")


def main(arguments=None) -> int:
    """Run the command; return 0, or 1 if a notebook failed or, with --check, is not clean."""
    parser = argparse.ArgumentParser(description="Execute and clean notebooks.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every notebook in notebooks/")
    parser.add_argument("--check", action="store_true", help="execute and write nothing; exit 1 if one is not clean")
    parser.add_argument("--new-ids", action="store_true", help="give every cell a new id, made from its text")
    options = parser.parse_args(arguments)
    # One thread: sums of floats, and so printed digits, don't depend on how many cores there are.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this Python, not of another
    os.environ["LORA_TEACH_KEEP"] = "no"  # a saved notebook uses the library's pieces, not those of who saves it
    failed = 0
    for path in options.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")):
        started = time.perf_counter()
        try:
            if options.check:
                good, told = is_clean(path), open_answers(load(path).cells)
                reason = f"the output under a prediction is open in cells {told}; " if told else ""
                answer = "clean" if good else f"not clean: {reason}run python tests/notebooks/save.py on it"
                print(f"{path.name}: {answer}")
                failed += not good
            else:
                size = len(save(path, options.new_ids).encode())
                print(f"{path.name}: saved, {time.perf_counter() - started:.1f} s, {size / 1000:.0f} KB", flush=True)
        except (CellExecutionError, DeadKernelError, NotClean, TimeoutError) as error:
            print(f"{path.name}: left as it was: {ANSI.sub('', str(error)).strip()}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
