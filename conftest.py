"""What holds for every test and every notebook under test."""

import functools
import os

import pytest

# Each worker, and the kernel of each notebook, computes in one thread: the workers fill the cores already, and threads
# that wait for each other on a busy machine make a run of a second take a minute. A notebook that trains SmolLM2 takes
# all cores where no other worker wants them.
GIVEN = "OMP_NUM_THREADS" in os.environ
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A notebook under test keeps nothing and uses nothing that somebody who took the course here has kept.
os.environ.setdefault("LORA_TEACH_KEEP", "no")


def pytest_collection_modifyitems(items):
    """Refuse what would make xdist's workers collect different tests."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        for name, value in parameters.items():
            if isinstance(value, (set, frozenset)) and len(value) > 1:
                raise pytest.UsageError(
                    f"{item.nodeid}: {name} is a set, whose order differs from process to process, and so would the "
                    "test's name. Write a test of its own, or give the case a name: pytest.param(…, id=…)."
                )


def pytest_runtest_setup(item):
    """Skip what needs SmolLM2 where it can't be had: tests that are marked so, and notebooks whose code names it."""
    cells = getattr(item.parent, "nb", {"cells": []})["cells"]  # of nbval's file
    names_it = any(cell["cell_type"] == "code" and "smollm2" in cell["source"] for cell in cells)
    if names_it or item.get_closest_marker("smollm2"):
        why = _no_smollm2()
        if why:
            pytest.skip(why)
    if not GIVEN:
        alone = "PYTEST_XDIST_WORKER" not in os.environ
        os.environ["OMP_NUM_THREADS"] = str(os.cpu_count() if names_it and alone else 1)  # for the kernel's start


@functools.cache
def _no_smollm2():
    """Return why SmolLM2 is not here, once it has been tried to fetch it; nothing if it is."""
    from lora_teach.bases.smollm2 import NotFetched, fetch

    try:
        fetch(say=lambda line: None)
    except NotFetched as error:
        return str(error)
