"""Explore data: a public data set as a source, and so many images of each class."""

import pytest

from lib.data.library import list_datasets
from lib.settings import downloads_dir
from pages.common import background, folder_import
from tests.pages.scene import make_dataset, open_page, words
from tests.pages.test_explore_data import wait_for


@pytest.mark.slow
def test_download_without_a_network_says_what_to_do_and_imports_nothing(monkeypatch):
    monkeypatch.setattr("lib.data.sources.remote_files.require_room", lambda *given, **more: None)
    make_dataset()
    at = open_page("explore_data", form="import", source="food101")
    assert "101,000 images, 101 classes; download of 4.7 GiB" in words(at).replace("\\", "")
    at.text_input(key="explore_food101_classes").input("10")
    at.selectbox(key="explore_draw").select("parts").run()
    at.number_input(key="explore_train_per_class").set_value(75).run()
    command = "datasets import --source food101 --set classes=10 --train-per-class 75 --test-per-class 200"
    assert any(command in code.value for code in at.code)
    at.button(key="explore_import_start").click().run()
    if background.find(folder_import.TASK) is not None:  # it may have ended, and been told, within the same run
        assert wait_for(folder_import.TASK).error
        at.run()
    assert (
        at.error[0]
        .value.replace("\\", "")
        .startswith("Food-101 (food-101.tar.gz) could not be fetched from data.vision.ee.ethz.ch")
    )
    assert f"copy the file to {downloads_dir() / 'food101'}" in at.error[0].value.replace("\\", "")
    assert [summary.name for summary in list_datasets()] == ["tiny"]
    assert background.find(folder_import.TASK) is None or background.find(folder_import.TASK).is_over
