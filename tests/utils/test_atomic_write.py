"""Files that are whole or not there."""

import os
import subprocess
import sys

from lora_teach.utils.atomic_write import replace_file

import pytest


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    place = tmp_path / "file.txt"
    replace_file(place, lambda file: file.write_text("old"))

    def fails(file):
        file.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(place, fails)
    assert place.read_text() == "old" and list(tmp_path.iterdir()) == [place]


@pytest.mark.skipif(os.name == "nt", reason="there nobody can ask whether a process runs without risk")
@pytest.mark.parametrize("name", ["file.txt", "a[1]*.txt"])
def test_what_a_dead_process_was_writing_is_cleared_away_and_nothing_else(name, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".{name}-{ended.pid}-{'0' * 32}"
    living = tmp_path / f".{name}-{os.getppid()}-{'1' * 32}"
    others = [tmp_path / name for name in (".file.txt-notes", ".other.txt-1-2", f"file.txt-{ended.pid}-{'0' * 32}")]
    for scratch in (dead, living, *others):
        scratch.mkdir()
        (scratch / "file.txt").write_text("half")
    replace_file(tmp_path / name, lambda file: file.write_text("new"))
    assert set(tmp_path.iterdir()) == {tmp_path / name, living, *others}
