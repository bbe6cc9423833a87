"""Mean images by hand, of all or one part; how a class differs; kept by what it was made of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data import class_means as averaging
from lib.data.class_means import ClassMeans, class_means
from lib.data.dataset import Dataset
from lib.data.dataset_changes import change_dataset
from lib.data.edits import add_edit
from lib.data.importing import import_folder
from lib.data.label_schema import SchemaChange
from lib.disk_cache import list_entries
from lib.errors import Stopped
from tests.data.folders import picture

LEVELS = {"dark": (10, 20, 30, 40, 50), "light": (100, 110, 120, 130, 140)}


@pytest.fixture
def greys(tmp_path: Path) -> Dataset:
    """Even squares of those levels."""
    for name, levels in LEVELS.items():
        (tmp_path / "greys" / name).mkdir(parents=True)
        for level in levels:
            Image.new("RGB", (40, 40), (level, level, level)).save(tmp_path / "greys" / name / f"{level:03}.png")
    return import_folder(tmp_path / "greys")


def test_means_and_deviations_of_classes_and_of_all(greys: Dataset):
    found = class_means(greys, greys.split(0))
    assert found.counts.tolist() == [5, 5]
    assert found.means.shape == (2, 64, 64, 3)
    assert found.means[0] == pytest.approx(30)
    assert found.means[1] == pytest.approx(120)
    assert found.deviations == pytest.approx(np.sqrt(200), rel=1e-5)
    assert found.mean == pytest.approx(75)
    assert found.deviation == pytest.approx(np.std([*LEVELS["dark"], *LEVELS["light"]]), rel=1e-5)
    assert found.difference(1) == pytest.approx(45 / np.std([*LEVELS["dark"], *LEVELS["light"]]), rel=1e-4)
    assert found.difference(0) == pytest.approx(-found.difference(1))
    assert found.chance(0) == pytest.approx(3.9 * np.sqrt(1 / 5 - 1 / 10))


def test_of_one_part_and_without_what_is_excluded(greys: Dataset):
    split = greys.split(0)
    levels = np.array([*LEVELS["dark"], *LEVELS["light"]])
    found = class_means(greys, split, "train")
    assert found.means[0] == pytest.approx(levels[:5][split[:5] == "train"].mean())
    edited = add_edit("greys", "exclude", [greys.table["image_id"][4]])
    after = class_means(edited, edited.split(0))
    assert after.counts.tolist() == [4, 5]
    assert after.means[0] == pytest.approx(25)


def test_two_eyes_of_a_patient_are_one_case(tmp_path: Path):
    for number in range(10):
        folder = tmp_path / "eyes" / ("ill" if number % 2 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        for side in ("left", "right"):
            picture(2 * number + (side == "left")).save(folder / f"{number}_{side}.png")
    eyes = import_folder(tmp_path / "eyes")
    found = class_means(eyes, eyes.split(0))
    assert (found.counts.tolist(), found.cases.tolist()) == ([10, 10], [5, 5])


def test_a_class_without_images_of_that_part():
    counts = np.array([4, 0])
    found = ClassMeans(("a", "b"), counts, counts, np.ones((2, 2, 2, 3)), np.zeros((2, 2, 2, 3)))
    assert found.mean == pytest.approx(1)
    assert found.chance(1) == float("inf")
    assert np.isfinite(found.difference(1)).all()


def test_made_once_for_the_same_images_whatever_the_classes_are_called(greys: Dataset, monkeypatch: pytest.MonkeyPatch):
    first = class_means(greys, greys.split(0))
    monkeypatch.setattr(averaging, "_summed", None)
    renamed = change_dataset("greys", SchemaChange(class_names=["night", "day"]))
    again = class_means(renamed, renamed.split(3))  # another seed, all images the same
    assert again.class_names == ("night", "day")
    assert np.array_equal(again.means, first.means)


def test_stopped_leaves_nothing_and_large_squares_are_reduced(greys: Dataset, monkeypatch: pytest.MonkeyPatch):
    def stop(done: int, total: int, what: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        class_means(greys, greys.split(0), progress=stop)
    assert not list_entries()
    monkeypatch.setattr(averaging, "_SIDE_PX", 24)
    assert class_means(greys, greys.split(0)).means.shape == (2, 24, 24, 3)
