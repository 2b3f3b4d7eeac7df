"""What is installed: each package has a licence that allows its use, and what is fetched is known by its hash."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lora_teach.bases import smollm2

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
LINES += re.findall(r'^    "([\w.-]+[><=].*)",$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
NAMES = sorted({Requirement(line).name for line in LINES if line[:1].isalpha()})
FREE = re.compile(r"MIT|BSD|Apache|MPL|Mozilla|PSF|Python Software|HPND|ISC", re.IGNORECASE)


def licence(name):
    """The words in which a package's metadata tell its licence."""
    told = distribution(name).metadata
    classifiers = [one for one in told.get_all("Classifier") or () if one.startswith("License")]
    return " ".join([told.get("License-Expression") or "", *classifiers, (told.get("License") or "")[:400]]).strip()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_required_has_a_licence_that_allows_its_use(name):
    try:
        words = licence(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    assert FREE.search(words), f"{name} says of its licence: {words!r}"


def test_the_model_is_known_by_version_and_hash():
    assert re.fullmatch(r"[\w-]+==[\d.]+", smollm2.WHEEL)
    assert re.fullmatch(r"[0-9a-f]{64}", smollm2.WHEEL_SHA256)


def test_every_constraint_is_one_exact_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line).specifier for line in lines if not line.startswith("#")]
    assert len(pins) > 100 and all(re.fullmatch(r"==[\w.]+", str(pin)) for pin in pins)
