from tests.notebooks import toy

import pytest


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """The path of a small notebook that keeps every rule, executed and saved, among its neighbours."""
    return toy.course(tmp_path_factory.mktemp("course"))
