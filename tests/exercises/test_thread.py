"""The learner's own pieces are used where they are kept and still pass; nothing is kept outside a notebook."""

from lora_teach.cli import main
from lora_teach.exercises import check_layer, mine, ready_made, receipt, thread
from lora_teach.exercises.thread import FILE, OF, THREAD, load
from lora_teach.layer import LoRALayer

import pytest
import torch

LAYER = """from lora_teach.layer import LoRALayer


class MyLayer(LoRALayer):
    def __init__(self, in_features, out_features, rank, alpha):
        super().__init__(in_features, out_features, rank, alpha)
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / FILE


def written(file, source, names=("MyLayer",), notebook="02"):
    block = f"# %% {', '.join(names)} · notebook {notebook} · 00000000\n{source}# %% end\n"
    file.write_text(block, encoding="utf-8")


def test_each_piece_has_a_check_and_a_piece_of_the_librarys():
    import lora_teach.exercises as exercises

    for piece in THREAD:
        assert callable(getattr(exercises, piece.check))
        assert all(name in ready_made.__all__ for name in piece.names)
    assert sorted(OF) == sorted(ready_made.__all__)


def test_the_librarys_own_are_used_where_nothing_is_kept(file, capsys):
    assert load(file)["MyLayer"] == (LoRALayer, "")
    assert mine("MyLayer") is LoRALayer and mine("adapt", "fit") == (ready_made.adapt, ready_made.fit)
    assert capsys.readouterr().out == "MyLayer: the library's\nadapt: the library's · fit: the library's\n"


def test_what_is_kept_and_passes_is_used_also_by_the_librarys_adapt(file, monkeypatch, capsys):
    written(file, LAYER)
    monkeypatch.setattr(thread, "place", lambda: file)
    layer, adapt = mine("MyLayer", "adapt")
    assert "MyLayer: yours, from my_lora.py · adapt: the library's" in capsys.readouterr().out
    layers = adapt(torch.nn.Sequential(torch.nn.Linear(8, 8)), rank=2, alpha=4)
    assert isinstance(layers["0"], layer) and layer.__module__ == "my_lora" and layers["0"].scaling == 2
    receipt()
    said = capsys.readouterr().out
    assert "02  MyLayer           yours,   3 lines" in said and "1 of 7 pieces are yours" in said


def test_what_no_longer_passes_is_told_and_the_librarys_is_used(file):
    written(file, LAYER.replace("rank, alpha)\n", "rank, 2 * alpha)\n"))
    one, why = load(file)["MyLayer"]
    assert one is LoRALayer and "no longer passes" in why


@pytest.mark.parametrize("source", ["def (:\n", "raise RuntimeError('no')\n", "import no_such_module\n"])
def test_a_file_that_does_not_run_is_told_and_the_librarys_is_used(file, source):
    written(file, source)
    one, why = load(file)["MyLayer"]
    assert one is LoRALayer and "can't be read" in why


def test_outside_a_notebook_nothing_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LORA_TEACH_KEEP")
    assert check_layer(LoRALayer).passed and list(tmp_path.iterdir()) == []
    assert "kept" not in capsys.readouterr().out


def test_a_notebook_under_test_keeps_nothing_and_uses_nothing(monkeypatch):
    class Shell:
        kernel = object()

    monkeypatch.setattr("IPython.get_ipython", Shell)
    assert thread.place() is None  # conftest.py sets LORA_TEACH_KEEP
    monkeypatch.delenv("LORA_TEACH_KEEP")
    assert thread.place().name == FILE


def test_a_failure_to_write_is_told_and_the_check_stays_passed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(thread, "place", lambda: tmp_path / "missing" / FILE)

    class MyLayer(LoRALayer):
        pass

    MyLayer.__module__ = "__main__"
    assert check_layer(MyLayer).passed
    assert f"not kept in {FILE}: write it as a plain def or class" in capsys.readouterr().out


def test_progress_shows_the_same_on_the_command_line(file, capsys):
    written(file, LAYER)
    assert main(["progress", str(file.parent)]) == 0
    said = capsys.readouterr().out
    assert "02  MyLayer           yours,   3 lines" in said and "04  fit               the library's" in said
    assert main(["progress", str(file.parent / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("contents", "words"),
    [(b"import sys; sys.exit(0)", "SystemExit"), (b"\xff\xfe", "UnicodeDecodeError"), (b"1 / 0", "ZeroDivisionError")],
)
def test_progress_tells_of_a_file_that_can_not_be_read(contents, words, file, capsys):
    file.write_bytes(contents)
    assert main(["progress", str(file.parent)]) == 0
    assert f"02  MyLayer           the library's ({FILE} can't be read: {words}" in capsys.readouterr().out


def test_the_librarys_loop_takes_a_function_around_a_frozen_model_too():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    layers = ready_made.adapt(model, rank=2, alpha=2)
    batch = torch.ones(5, 4), torch.zeros(5, 3)
    args = [batch], torch.nn.functional.mse_loss, batch, 0.05, 8, 2
    first = torch.nn.functional.mse_loss(model(batch[0]), batch[1]).item()
    assert ready_made.fit(lambda inputs: model(inputs), layers, *args) < first
