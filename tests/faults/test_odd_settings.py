"""Odd machines and settings, each in a process of its own: what a user does works there, or is refused in words."""

import os
import subprocess
import sys

from tests.faults.at_work import ROOT
from tests.faults.lap import SETTINGS
from tests.faults.mounts import read_only

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there settings are others")
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# What differs in the process's environment; None takes a variable away.
SVG, NO_HOME = {"MPLBACKEND": "svg"}, {"HOME": None, "XDG_CACHE_HOME": None}
HOME_NOWHERE = NO_HOME | {"HOME": "/nowhere/at/all"}


def lap(folder, environment, cwd=ROOT, command=()):
    own = os.environ | {"PYTHONPATH": str(cwd), "OMP_NUM_THREADS": "1"} | environment
    own = {name: value for name, value in own.items() if value is not None}
    command = [*command, sys.executable, "-W", "ignore", "-m", "tests.faults.lap", str(folder)]
    done = subprocess.run(command, env=own, cwd=cwd, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    assert done.stdout.endswith(b"lap done\n") and b"Traceback" not in done.stderr


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_torch_numpy_and_matplotlib(setting, tmp_path, workers):
    assert workers.run("lap", folder=str(tmp_path), setting=setting) >= 0


def test_no_home_and_an_ascii_locale(tmp_path):
    lap(tmp_path, ASCII | NO_HOME)


def test_a_folder_with_spaces_and_accents_two_gigabytes_of_memory_and_another_backend_of_matplotlib(tmp_path):
    place = tmp_path / "mes données à moi 日本"
    place.mkdir()
    (place / "checkout").symlink_to(ROOT)
    # Of data, by the limit on which malloc fails: what torch's libraries map without using it counts in RLIMIT_AS.
    small = ["sh", "-c", 'ulimit -d 2000000 && exec "$@"', "sh"]
    lap(place, SVG | {"TMPDIR": str(place)}, cwd=place / "checkout", command=small)


def test_a_read_only_checkout_a_home_that_is_not_there_and_the_encoding_cp1252(tmp_path):
    place = tmp_path / "checkout"
    place.mkdir()
    with read_only(ROOT, place) as possible:
        lap(tmp_path, ASCII | HOME_NOWHERE | {"PYTHONIOENCODING": "cp1252"}, cwd=place if possible else ROOT)
    if not possible:
        pytest.skip("a read-only view of the checkout can't be mounted here: the rest was tried without it")
