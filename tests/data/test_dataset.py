import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.dataset import PIXELS_FILE, Dataset, can_be_graded, parts_of, says_ungradable
from lib.data.importing import import_folder
from lib.data.library import delete_dataset, list_datasets, open_dataset
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.training.config import TrainConfig
from tests.data.folders import write_classes
from tests.features.tiny_dataset import TinyDataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return import_folder(write_classes(tmp_path / "pets", {"cat": 6, "dog": 6}))


def test_columns_of_the_table(dataset: Dataset):
    assert list(dataset.table.columns) == [
        *("image_id", "path", "source_path", "target", "split", "group_id", "laterality", "flags", "mask_path"),
        *("width", "height", "num_bytes", "crop_left", "crop_top", "crop_right", "crop_bottom"),
    ]
    assert dataset.table["image_id"].str.fullmatch("[0-9a-f]{16}").all()
    assert dataset.table["image_id"].is_unique
    assert (dataset.table[["crop_left", "crop_top", "crop_right", "crop_bottom"]] == (0, 0, 32, 32)).all().all()


def test_split_is_remembered_and_cannot_be_spoiled(dataset: Dataset):
    first = dataset.split(0)
    first[:] = "test"
    assert set(dataset.split(0)) == {"train", "val", "test"}
    folds = [dataset.split(0, num_folds=3, fold=fold) == "test" for fold in range(3)]
    assert (np.sum(folds, axis=0) == 1).all()


def test_indices_are_in_the_order_asked_for(dataset: Dataset):
    ids = list(dataset.table["image_id"])
    assert dataset.indices([ids[5], ids[0]]).tolist() == [5, 0]
    with pytest.raises(UserError, match="no image 'unknown'"):
        dataset.indices(["unknown"])


def test_thumbnail_is_a_jpeg_no_larger_than_the_store(dataset: Dataset):
    assert Image.open(io.BytesIO(dataset.thumbnail(0, size_px=20))).size == (20, 20)
    assert Image.open(io.BytesIO(dataset.thumbnail(0, size_px=500))).size == (64, 64)


def test_pixels_cannot_be_written(dataset: Dataset):
    with pytest.raises(ValueError, match="read-only"):
        dataset.pixels[0][:] = 0
    with pytest.raises(TypeError, match="item assignment"):
        dataset.pixels[0] = 0  # type: ignore[index]


def test_a_newer_format_is_refused(dataset: Dataset):
    path = dataset.folder / "dataset.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(UserError, match="newer than 1"):
        Dataset(dataset.folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my pets", {"cat": 5, "dog": 4})


def test_damage_is_noticed(folder: Path):
    dataset = import_folder(folder)
    path = dataset.folder / PIXELS_FILE
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(UserError, match="checksum"):
        open_dataset("my-pets").verify()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="is damaged"):
        open_dataset("my-pets")
    (dataset.folder / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        open_dataset("my-pets")
    assert list_datasets() == []
    delete_dataset("my-pets")


def test_what_flags_call_ungradable_is_known_in_subsets_and_merged_classes_too():
    dataset = TinyDataset(num_images=12, num_classes=3)
    assert can_be_graded(dataset).all()
    flags = ["ungradable: blurred", "Ungradable", "cropped; ungradable", "", None, "ungradable", "not ungradable", "x"]
    dataset.table["flags"] = [*flags, "ungradable", "", "", "ungradable"]
    # The third class (rows 2, 5, 8, 11) holds nothing else, so that it stands for what cannot be graded.
    assert np.flatnonzero(~can_be_graded(dataset)).tolist() == [0, 1]
    merged = apply_protocol(dataset, TrainConfig(dataset="tiny", target_map="0,1,1"))
    assert np.flatnonzero(~can_be_graded(merged)).tolist() == [0, 1, 2, 5, 8, 11]
    two_classes = apply_protocol(dataset, TrainConfig(dataset="tiny", max_classes=2))
    assert np.flatnonzero(~can_be_graded(two_classes)).tolist() == [0, 1]


def test_what_cannot_be_divided_is_told(dataset: Dataset):
    split, why = parts_of(dataset, 0)
    assert (set(split), why) == ({"train", "val", "test"}, "")

    class Undivided:
        num_images = 2

        def split(self, seed):
            raise UserError(f"not by {seed}")

    split, why = parts_of(Undivided(), 3)
    assert (split.tolist(), why) == (["", ""], "not by 3")


@pytest.mark.parametrize(
    ("flags", "is_poor"),
    [
        ("ungradable", True), ("ungradable: blurred", True), ("no retina found; Ungradable", True), ("", False),
        ("not ungradable", False), ("ungradable2", False), ("red_free", False),
    ],
)  # fmt: skip
def test_one_of_several_flags_says_ungradable(flags: str, is_poor: bool):
    assert says_ungradable(flags) is is_poor
