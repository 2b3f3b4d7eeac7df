"""Odd machines and settings, each in a process of its own: what a user does works there, or is refused in words."""

import os
import subprocess
import sys

from tests.faults.at_work import ROOT
from tests.faults.lap import SETTINGS

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there settings are others")
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# What differs in the process's environment; None takes a variable away.
ENVIRONMENTS = {
    "another backend of matplotlib": {"MPLBACKEND": "svg"},
    "an ASCII locale": ASCII,
    "the encoding cp1252": ASCII | {"PYTHONIOENCODING": "cp1252"},
    "no home": {"HOME": None, "XDG_CACHE_HOME": None},
    "a home that is not there": {"HOME": "/nowhere/at/all", "XDG_CACHE_HOME": None},
}


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


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name, tmp_path):
    lap(tmp_path, ENVIRONMENTS[name])


def test_a_folder_with_spaces_and_accents(tmp_path):
    place = tmp_path / "mes données à moi 日本"
    place.mkdir()
    (place / "checkout").symlink_to(ROOT)
    lap(place, {"TMPDIR": str(place)}, cwd=place / "checkout")


def test_a_read_only_checkout(tmp_path):
    place = tmp_path / "checkout"
    place.mkdir()
    bound = os.geteuid() == 0 and not subprocess.run(["mount", "--bind", ROOT, place], capture_output=True).returncode
    if not bound:
        pytest.skip("a read-only view of the checkout can't be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        lap(tmp_path, {}, cwd=place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_two_gigabytes_of_memory(tmp_path):
    # Of data, by the limit on which malloc fails: what torch's libraries map without using it counts in RLIMIT_AS.
    lap(tmp_path, {}, command=["sh", "-c", 'ulimit -d 2000000 && exec "$@"', "sh"])
