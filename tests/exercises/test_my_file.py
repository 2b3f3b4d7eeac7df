"""What a learner wrote is kept as plain Python: with what it needs, replaced alone, and never lost without a word."""

import importlib.util
import linecache

from lora_teach.exercises import my_file
from lora_teach.exercises.my_file import NotKept, blocks, code_lines, keep

import pytest

PIECES = {"MyLayer", "adapt", "fit"}
IMPORTS = "import math\nimport torch.nn.functional as F\nfrom torch import nn\n"


class Notebook:
    """Cells that are run one after the other, with what IPython keeps of them."""

    def __init__(self):
        self.space = {"__name__": "__main__", "In": [""]}

    def run(self, source):
        name = f"cell {len(self.space['In'])} of {id(self)}"
        linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
        self.space["In"].append(source)
        exec(compile(source, name, "exec"), self.space)
        return self.space


def kept(file, source, *names, before=IMPORTS, notebook="03"):
    cells = Notebook()
    cells.run(before)
    space = cells.run(source)
    return keep(file, names, notebook, [space[name] for name in names], PIECES)


def imported(file):
    spec = importlib.util.spec_from_file_location("my_lora", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def file(tmp_path):
    return tmp_path / "my_lora.py"


def test_a_function_is_kept_with_its_imports_helpers_and_constants(file):
    before = f"{IMPORTS}\nHALF = 0.5\n\n\ndef helper(x):\n    return math.sqrt(x) * HALF\n"
    assert kept(file, "def adapt(x):\n    return F.relu(helper(x))  # a comment\n", "adapt", before=before) == ""
    text = file.read_text(encoding="utf-8")
    for line in ("import math", "import torch.nn.functional as F", "HALF = 0.5", "# a comment", "notebook 03"):
        assert line in text
    assert "nn\n" not in text.split("# %%")[1]  # only what it needs
    module = imported(file)
    assert module.helper(16) == 2 and module.adapt.__module__ == "my_lora"


CLASS = """class MyLayer(nn.Module):
    def __init__(self):
        super().__init__()

    def name(self):
        return "mine"
"""


def test_a_class_is_kept_and_the_librarys_pieces_are_there_until_ones_own_are(file):
    kept(file, "def adapt():\n    return MyLayer\n", "adapt")
    assert imported(file).adapt().__name__ == "LoRALayer"
    kept(file, CLASS, "MyLayer", notebook="02")
    assert imported(file).adapt()().name() == "mine"


def test_passing_again_replaces_that_piece_alone(file):
    kept(file, "def adapt():\n    return 1\n", "adapt")
    kept(file, "def fit():\n    return 2\n", "fit", notebook="04")
    own = file.read_text(encoding="utf-8") + "\nMINE = 'a note'\n"
    file.write_text(own, encoding="utf-8")
    assert kept(file, "def adapt():\n    return 3\n", "adapt") == ""
    module = imported(file)
    assert (module.adapt(), module.fit(), module.MINE) == (3, 2, "a note")
    new = file.read_text(encoding="utf-8")
    assert [line for line in own.splitlines() if line not in new.splitlines()] == [
        line for line in own.splitlines() if "adapt ·" in line or line == "    return 1"
    ]
    assert {path.name for path in file.parent.iterdir()} - {"__pycache__"} == {"my_lora.py"}


def test_the_same_again_writes_nothing(file):
    kept(file, "def adapt():\n    return 1\n", "adapt")
    before = file.stat().st_mtime_ns
    assert kept(file, "def adapt():\n    return 1\n", "adapt") == "" and file.stat().st_mtime_ns == before


def test_an_edit_by_hand_is_put_aside_and_told(file):
    kept(file, "def adapt():\n    return 1\n", "adapt")
    edited = file.read_text(encoding="utf-8").replace("return 1", "return 'by hand'")
    for number in (1, 2):
        file.write_text(edited, encoding="utf-8")
        said = kept(file, f"def adapt():\n    return {number + 1}\n", "adapt")
        assert f"my_lora_{number}.py" in said
        assert file.with_name(f"my_lora_{number}.py").read_text(encoding="utf-8") == edited
    assert imported(file).adapt() == 3


def test_without_its_end_mark_a_piece_is_an_edited_one_and_nothing_is_lost(file):
    kept(file, "def adapt():\n    return 1\n", "adapt")
    text = file.read_text(encoding="utf-8").replace("# %% end", "NOTE = 1")
    file.write_text(text, encoding="utf-8")
    assert "you had edited it" in kept(file, "def adapt():\n    return 2\n", "adapt")
    assert file.with_name("my_lora_1.py").read_text(encoding="utf-8") == text


def test_a_name_that_the_learner_put_there_is_left_alone(file):
    file.write_text("def adapt():\n    return 'my own'\n", encoding="utf-8")
    with pytest.raises(NotKept, match="another adapt of your own, which stays as it is"):
        kept(file, "def adapt():\n    return 1\n", "adapt")
    assert imported(file).adapt() == "my own"


def test_two_helpers_of_one_name_are_refused_and_the_same_one_twice_is_not(file):
    helper = IMPORTS + "\n\ndef helper():\n    return {}\n"
    kept(file, "def adapt():\n    return helper()\n", "adapt", before=helper.format(1))
    with pytest.raises(NotKept, match="another helper in the piece adapt"):
        kept(file, "def fit():\n    return helper()\n", "fit", before=helper.format(2))
    assert kept(file, "def fit():\n    return helper() + 1\n", "fit", before=helper.format(1)) == ""
    assert imported(file).fit() == 2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "def made():\n    def adapt():\n        return made\n    return adapt\n\n\nadapt = made()\n",
            "plain def or class",
        ),
        ("import functools\nadapt = functools.partial(print, 1)\n", "plain def or class"),
        ("if True:\n    def adapt():\n        return 1\n", "plain def or class"),
        ("values = [1, 2]\n\n\ndef adapt():\n    return values\n", "it uses values, a list of this notebook's"),
    ],
)
def test_what_no_file_can_hold_is_refused_with_a_reason(file, source, words):
    with pytest.raises(NotKept, match=words):
        kept(file, source, "adapt")
    assert not file.exists()


def test_a_file_that_is_no_python_is_left_alone(file):
    file.write_text("def (:\n", encoding="utf-8")
    with pytest.raises(NotKept, match="line 1 of my_lora.py is not Python"):
        kept(file, "def adapt():\n    return 1\n", "adapt")
    assert file.read_text(encoding="utf-8") == "def (:\n"


def test_lambdas_and_other_names_and_pairs_are_kept(file):
    kept(file, "adapt = lambda model: model * 2\n", "adapt")
    assert imported(file).adapt(2) == 4
    cells = Notebook()
    space = cells.run("def mine(x):\n    return x\n")
    keep(file, ("fit",), "04", [space["mine"]], PIECES)
    assert imported(file).fit(3) == 3
    kept(file, "def merge():\n    return 1\n\n\ndef unmerge():\n    return -1\n", "merge", "unmerge", notebook="06")
    module = imported(file)
    assert module.merge() + module.unmerge() == 0
    assert list(blocks(file.read_text(encoding="utf-8"))) == [("adapt",), ("fit",), ("merge", "unmerge")]


def test_a_crash_leaves_the_old_file(file, monkeypatch):
    kept(file, "def adapt():\n    return 1\n", "adapt")
    before = file.read_text(encoding="utf-8")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        kept(file, "def adapt():\n    return 2\n", "adapt")
    assert file.read_text(encoding="utf-8") == before and [p.name for p in file.parent.iterdir()] == ["my_lora.py"]


def test_lines_are_counted_without_blanks_comments_docstrings_and_imports():
    function = 'def f(x):  # one\n    """Doc."""\n    y = (x +\n         1)\n\n    return """a\nb"""\n'
    text = '"""Doc.\n\nMore."""\nimport math\n\n\n# comment\n' + function
    assert code_lines(text) == 5
    assert my_file.digest("a\n") == my_file.digest("a")
