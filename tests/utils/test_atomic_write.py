"""Files that are whole or not there."""

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
