"""Whether an output can be written is tried before the work; the command line's tests try the rest."""

from lora_teach.utils.outputs import check_new_file, check_new_folder, try_folder

import pytest


def test_trying_leaves_nothing_behind(tmp_path):
    try_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    try_folder(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


@pytest.mark.parametrize("what", ["file/x", "file", "/proc/x/y", "dangling/x"])
def test_what_can_not_be_made_is_told(what, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    with pytest.raises(ValueError, match="can't be written"):
        try_folder(tmp_path / what)


def test_a_folder_where_a_file_belongs_is_told(tmp_path):
    (tmp_path / "a" / "weights").mkdir(parents=True)
    with pytest.raises(ValueError, match="weights is a folder, where a file"):
        check_new_folder(tmp_path / "a", ["weights"], overwrite=True)
    with pytest.raises(ValueError, match="a is a folder. Name a file"):
        check_new_file(tmp_path / "a", overwrite=True)
