"""Thousands of broken adapter folders: each is refused in words or loads, and the model is as it was.

LORA_TEACH_MUTATIONS=10000 pytest -n0 tests/peft_format/test_hostile_adapters.py  runs more of them than the usual 300.
"""

import os
import shutil
import sys
import warnings

from lora_teach import LoRAModel
from lora_teach.peft_format.folder import CONFIG_FILE, WEIGHTS_FILE
from lora_teach.peft_format.xray import lint, xray
from tests.peft_format.folders import adapted, base
from tests.peft_format.hostile import mutate
from tests.toy import bits, filled, picture, same_bits, same_picture

import pytest

resource = pytest.importorskip("resource")  # which Windows lacks
MUTATIONS = int(os.environ.get("LORA_TEACH_MUTATIONS", "300"))
CHUNK = 50
KINDS = ("saved_head", "patterns", "dora", "learnable", "embedding")
REFUSALS = (ValueError, FileNotFoundError)
# What Python tells of before it does it; none of it belongs into reading an adapter.
FORBIDDEN = {"pickle.find_class", "os.system", "os.remove", "os.rename", "os.mkdir", "socket.connect", "os.putenv"}
seen = None


def watch(event, args):
    """Audit hook, which stays for good: notes what is forbidden while ``seen`` is a list."""
    if seen is not None and event in FORBIDDEN:
        seen.append((event, args))


sys.addaudithook(watch)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folders = []
    for kind in KINDS:
        folders.append(tmp_path_factory.mktemp(kind))
        adapted(kind).save_adapter(folders[-1])
    return folders


def attempts(folder, plain, model):
    """Everything that reads a folder."""
    return (
        lambda: LoRAModel.from_pretrained(plain, folder).remove(),
        lambda: model.load_adapter(folder, "wrong"),
        lambda: str(xray(folder, plain)),
        lambda: lint(folder),
    )


@pytest.mark.filterwarnings("ignore")  # a folder may be worth a warning, and load
@pytest.mark.parametrize("first", range(0, MUTATIONS, CHUNK))
def test_a_hostile_folder_is_refused_or_loads_and_changes_nothing(good, tmp_path, first, monkeypatch):
    global seen
    monkeypatch.setattr("lora_teach.utils.patterns.SECONDS", 0.5)
    plain, model = base(), filled(LoRAModel(base(), target_modules=["v_proj"]))
    before, before_model, secret = picture(plain), picture(model), good[1]
    outcomes = []
    room = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(first, min(first + CHUNK, MUTATIONS)):
        folder = shutil.copytree(good[seed % len(good)], tmp_path / str(seed))
        what = f"mutation {seed}: {', '.join(mutate(folder, secret, seed))}"
        listing = sorted(path.name for path in folder.iterdir())
        for attempt in attempts(folder, plain, model):
            seen = []
            try:
                attempt()
                outcomes.append("read")
            except REFUSALS as error:
                assert str(error), what
                outcomes.append("refused")
            except BaseException as error:  # a panic in Rust is no Exception
                raise AssertionError(f"{what}: {type(error).__name__}: {str(error)[:500]}") from error
            finally:
                forbidden, seen = seen, None
            assert not forbidden, f"{what}: {forbidden}"
            if "wrong" in model.adapter_names:
                model.delete_adapter("wrong")
            assert same_bits(before["bits"], bits(plain)), what
            assert same_bits(before_model["bits"], bits(model)), what
        assert same_picture(before, picture(plain)), what
        assert same_picture(before_model, picture(model)), what
        assert sorted(path.name for path in folder.iterdir()) == listing, what
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if (folder / name).is_symlink() and (folder / name).exists():
                with pytest.raises(REFUSALS):
                    LoRAModel.from_pretrained(plain, folder)
        shutil.rmtree(folder)
    assert {"read", "refused"} == set(outcomes)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - room) / 1024  # MiB on Linux
    assert grown < 400 or sys.platform != "linux", f"{grown:.0f} MiB more than before"


def test_the_good_folders_load(good):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for folder in good:
            LoRAModel.from_pretrained(base(), folder)
            assert lint(folder) == []
