"""A good adapter folder, and a copy of it to spoil."""

import shutil

from tests.peft_format.folders import adapted

import pytest


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    adapted("saved_head").save_adapter(folder)
    return folder


@pytest.fixture
def folder(tmp_path, good_folder):
    return shutil.copytree(good_folder, tmp_path / "adapter")
