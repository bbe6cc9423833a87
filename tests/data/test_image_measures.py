"""Measures of images by hand, without what is no part of the picture, kept by the version of the pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib.data import image_measures as measuring
from lib.data.dataset import Dataset
from lib.data.dataset_changes import change_dataset
from lib.data.image_measures import MEASURES, image_measures, measure_square, stored_measures
from lib.data.importing import import_folder
from lib.data.label_schema import SchemaChange
from lib.disk_cache import list_entries
from lib.errors import Stopped
from tests.data.folders import write_classes

NAMES = list(MEASURES)[3:]  # those of pixels


def measured(pixels: np.ndarray, *, is_fundus: bool = False) -> dict[str, float]:
    return dict(zip(NAMES, measure_square(pixels, is_fundus=is_fundus).tolist(), strict=True))


def chequered(side: int = 64) -> np.ndarray:
    """Pixels of pure red and of grey 100, in turn."""
    pixels = np.full((side, side, 3), 100, np.uint8)
    pixels[np.indices((side, side)).sum(0) % 2 == 0] = (255, 0, 0)
    return pixels


def noise(seed: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (side, side, 3), dtype=np.uint8)


def test_numbers_by_hand():
    found = measured(chequered())
    red_grey = 0.299 * 255
    assert found["brightness"] == pytest.approx((red_grey + 100) / 2, abs=0.01)
    assert found["contrast"] == pytest.approx((100 - red_grey) / 2, abs=0.01)
    assert (found["red"], found["green"], found["blue"]) == pytest.approx((177.5, 50, 50))
    assert found["saturation"] == pytest.approx(0.5)  # 1 for red, 0 for grey
    # Opponent colours are 255 and 127.5 for red, 0 for grey: half of each is mean and deviation alike.
    assert found["colourfulness"] == pytest.approx(1.3 * np.hypot(127.5, 63.75), abs=0.01)
    assert found["border_share"] == 0


@pytest.mark.parametrize("colour", [0, 255])
def test_a_frame_of_one_colour_does_not_count(colour: int):
    framed = np.full((96, 96, 3), colour, np.uint8)
    framed[24:72] = noise(0, 96)[:48]
    bare, found = measured(noise(0, 96)[:48].repeat(2, axis=0)), measured(framed)
    assert found["border_share"] == pytest.approx(0.5)
    for name in ("brightness", "contrast", "colourfulness", "saturation", "red"):
        assert found[name] == pytest.approx(bare[name], rel=1e-4), name


def test_black_outside_a_retina_does_not_count():
    rows, columns = np.mgrid[:128, :128] - 63.5
    inside = np.hypot(rows, columns) < 50
    eye = np.where(inside[..., None], np.array([150, 90, 60]), 3).astype(np.uint8)
    found = measured(eye, is_fundus=True)
    assert found["brightness"] == pytest.approx(0.299 * 150 + 0.587 * 90 + 0.114 * 60, abs=0.5)
    assert found["contrast"] < 1  # no rim either
    assert found["border_share"] == pytest.approx(1 - inside.mean(), abs=0.04)  # the smoothed edge lies two pixels out


def test_a_picture_of_one_colour_is_all_picture():
    for is_fundus in (False, True):
        found = measured(np.full((64, 64, 3), 200, np.uint8), is_fundus=is_fundus)
        assert (found["brightness"], found["contrast"], found["sharpness"], found["border_share"]) == (200, 0, 0, 0)
        assert measured(np.zeros((64, 64, 3), np.uint8), is_fundus=is_fundus)["saturation"] == 0


def test_blur_shows_in_sharpness_at_any_size_and_light():
    for side in (32, 64, 400):
        sharp = noise(1, side)
        blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(4)))
        assert measured(blurred)["sharpness"] < 0.5 < 1 < measured(sharp)["sharpness"]
        assert measured(sharp // 2)["sharpness"] == pytest.approx(measured(sharp)["sharpness"], rel=0.05)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    root = write_classes(tmp_path / "set", {"a": 5, "b": 5})
    Image.new("RGB", (40, 20), (10, 20, 30)).save(root / "b" / "wide.png")
    return import_folder(root, name="tiny")


def test_one_row_an_image_in_the_order_of_the_table(dataset: Dataset):
    assert stored_measures(dataset) is None
    seen: list[tuple[int, int]] = []
    table = image_measures(dataset, progress=lambda done, total, what: seen.append((done, total)))
    assert list(table.columns) == ["image_id", *MEASURES]
    assert table["image_id"].tolist() == dataset.table["image_id"].tolist()
    assert np.isfinite(table[list(MEASURES)].to_numpy()).all()
    assert seen == [(0, 11), (11, 11)]
    wide = table.iloc[dataset.table["path"].tolist().index("b/wide.png")]
    assert (wide["aspect"], wide["megapixels"], wide["red"]) == (2.0, 0.0008, 10.0)
    assert wide["kilobytes"] == (dataset.source_folder / "b" / "wide.png").stat().st_size / 1000


def test_measured_once_for_all_versions_over_the_same_pixels(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    table = image_measures(dataset)
    monkeypatch.setattr(measuring, "measure_square", None)
    renamed = change_dataset("tiny", SchemaChange(class_names=["first", "second"]))
    assert renamed.version != dataset.version
    assert image_measures(renamed).equals(table)
    found = stored_measures(renamed)
    assert found is not None
    assert found.equals(table)


def test_stopped_leaves_nothing(dataset: Dataset):
    def stop(done: int, total: int, what: str) -> None:
        if done:
            raise Stopped

    with pytest.raises(Stopped):
        image_measures(dataset, progress=stop)
    assert stored_measures(dataset) is None
    assert not list_entries()
