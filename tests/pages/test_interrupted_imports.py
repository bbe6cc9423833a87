"""Explore data: imports that were ended before they were whole."""

import time

import pytest

from lib.data.importing import import_folder
from lib.data.interrupted import interrupted_imports
from lib.errors import Stopped
from pages.common import background, folder_import
from tests.data.folders import write_classes
from tests.pages.scene import open_page, words


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """An import that was stopped at 90 of 100 images."""
    monkeypatch.setenv("TRANSFERSCOPE_ALLOWED_ROOTS", str(tmp_path))

    def stop(done, total, what):
        if (done, what) == (90, "decoding images"):
            raise Stopped

    with pytest.raises(Stopped):
        import_folder(write_classes(tmp_path / "pets", {"cat": 50, "dog": 50}), progress=stop)
    return interrupted_imports()[0]


def test_an_interrupted_import_goes_on_from_the_page(stopped):
    at = open_page("explore_data")
    assert "Interrupted: **pets** goes on from 64 of 100 images (" in words(at)
    at.button(key=f"continue_{stopped.key}").click().run()
    task = background.find(folder_import.TASK)
    while task is not None and not task.is_over:
        time.sleep(0.005)
    at.run()
    assert not at.exception
    assert "Imported pets: 100 images, no file left out." in words(at)
    assert interrupted_imports() == []


def test_what_was_stored_can_be_removed(stopped):
    at = open_page("explore_data")
    at.button(key=f"drop_{stopped.key}").click().run()
    assert "Interrupted:" not in words(at)
    assert interrupted_imports() == []
