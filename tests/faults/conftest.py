"""The process whose forks are killed and interrupted, started once."""

from tests.faults.at_work import Workers

import pytest


@pytest.fixture(scope="session")
def workers():
    with Workers() as started:
        yield started
