"""`--base` is looked up in a table: another base is one more line."""

from lora_teach.bases import NameGPT, registry

import pytest


def test_a_name_of_the_table_is_loaded_by_its_loader_which_can_tell_of_progress(monkeypatch):
    assert isinstance(registry.load_base("names").model, NameGPT) and list(registry.BASES) == ["smollm2", "names"]
    monkeypatch.setitem(registry.BASES, "mine", lambda say: say("fetching") or "my base")
    said = []
    assert registry.load_base("mine", said.append) == "my base" and said == ["fetching"]


def test_any_other_name_is_a_folder_or_an_id(tmp_path):
    with pytest.raises(ValueError, match="is a folder without a config.json"):
        registry.load_base(tmp_path)
    assert registry.KNOWN == "smollm2, names, or a Hugging Face folder or id"
