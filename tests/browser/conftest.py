from tests.browser.chromium import chromium

import pytest


@pytest.fixture(scope="session")
def browser():
    """A real Chromium without a window; the tests fail, not skip, where there is none."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser):
    """A browser window that has never been used."""
    context = browser.new_context()
    yield context
    context.close()
