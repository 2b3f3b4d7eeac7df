"""Without a network and with an empty cache: a sentence in place of a traceback, a skip in place of a failure."""

import os
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from nbformat import v4

ROOT = Path(__file__).resolve().parents[2]
LOADING = "from lora_teach.bases.smollm2 import load_smollm2\n\nmodel, tokenizer = load_smollm2()"


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """An empty cache, and an index that nobody serves."""
    monkeypatch.setenv("LORA_TEACH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)


def write(path, *sources):
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources]), path)


def test_pytest_skips_what_needs_smollm2_and_says_why_in_one_sentence(tmp_path):
    write(tmp_path / "needs_it.ipynb", "1 + 1", LOADING)
    write(tmp_path / "plain.ipynb", "unused = 'SmolLM2'")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n\n@pytest.mark.smollm2\ndef test_needs_it():\n    raise AssertionError\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "conftest", "-n0", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped" in done.stdout
    reasons = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert reasons and all("SmolLM2 is not in" in reason and "Connect to the network" in reason for reason in reasons)


def test_a_notebook_shows_one_sentence_where_smollm2_is_missing(tmp_path):
    notebook = v4.new_notebook(cells=[v4.new_code_cell(LOADING)])
    nbclient.NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3").execute()
    (error,) = [output for output in notebook.cells[0].outputs if output.output_type == "error"]
    assert error.ename == "NotFetched" and error.traceback == [error.evalue]
    assert "could not be fetched" in error.evalue and "\n" not in error.evalue
