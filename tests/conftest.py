"""What holds for every test: xdist's workers must all collect the same tests in the same order."""

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        for name, value in parameters.items():
            if isinstance(value, (set, frozenset)) and len(value) > 1:
                raise pytest.UsageError(
                    f"{item.nodeid}: {name} is a set, whose order differs from process to process, and so would the "
                    "test's name. Write a test of its own, or give the case a name: pytest.param(…, id=…)."
                )
