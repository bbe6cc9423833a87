"""Explore data, view "Label": labels for a folder that came without."""

import numpy as np
import pytest

from lib.data.edits import add_edit
from lib.data.importing import import_from
from lib.data.library import open_dataset
from pages.common import clicks
from pages.data import label
from tests.data.folders import picture
from tests.pages.scene import html_of, make_dataset, open_page, words


@pytest.fixture
def walk(tmp_path, monkeypatch):
    (tmp_path / "walk").mkdir()
    for number in range(12):
        picture(number).save(tmp_path / "walk" / f"{number}.png")
    monkeypatch.setattr(clicks, "DOUBLE_CLICK_S", 0.0)  # a test clicks faster than a person
    return import_from("unlabelled", {"path": tmp_path / "walk", "classes": "*cat*,dog"})


def test_images_are_labelled_one_by_one_taken_back_skipped_and_left_out(walk):
    at = open_page("explore_data", dataset="walk")
    assert not at.exception
    assert "0 of 12 images** labelled" in words(at)
    assert "Not enough to train yet" in words(at)
    assert at.button(key="label_class_0").label == r"1 · \*cat\*"
    assert at.button(key="label_back").disabled
    at.button(key="label_class_1").click().run()
    assert "1 of 12 images** labelled" in words(at)
    assert open_dataset("walk").class_labels.tolist().count("dog") == 1
    at.button(key="label_skip").click().run()
    at.button(key="label_out").click().run()
    found = open_dataset("walk")
    assert [edit.kind for edit in found.edits] == ["relabel", "exclude"]
    assert len({edit.image_ids for edit in found.edits}) == 2
    at = open_page("explore_data", dataset="walk")  # a reload: everything but what was passed over is kept
    assert "1 left out" in words(at)
    at.button(key="label_back").click().run()
    at.button(key="label_back").click().run()
    assert not open_dataset("walk").has_exclusion.any()
    assert "0 of 12 images** labelled" in words(at)
    assert not at.exception


def test_neighbours_suggest_and_labelled_images_can_train(walk, monkeypatch):
    ids = walk.table["image_id"].to_numpy()
    angles = np.radians(np.where(np.arange(12) < 6, 0, 80) + np.arange(12) % 6)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    monkeypatch.setattr(label, "kept_features", lambda dataset: features)
    add_edit("walk", "relabel", ids[:5].tolist(), "*cat*")
    add_edit("walk", "relabel", ids[6:11].tolist(), "dog")
    at = open_page("explore_data", dataset="walk")
    assert not at.exception
    assert "5 of the 5 nearest labelled images are of it" in words(at)
    assert html_of(at).count("<img ") == 5  # the neighbours
    assert "Not enough to train yet" not in words(at)


def test_a_set_with_classes_has_no_such_view():
    make_dataset()
    at = open_page("explore_data", tab="label")
    assert not at.exception
    assert "Label" not in at.segmented_control(key="explore_view").options
