import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.library import import_folder, open_dataset
from lib.data.masks import decode_mask
from lib.errors import BadImage, UserError
from tests.data.folders import encoded, write_classes


def _mask(values) -> bytes:
    return encoded(Image.fromarray(np.array(values, dtype=np.uint8)))


def test_a_mask_is_cut_like_its_image_and_keeps_its_values():
    values = np.zeros((60, 100), np.uint8)
    values[10:20, 40:60] = 7
    values[40:50, 20:30] = 3
    # A retina's box may reach beyond the image: 100 x 100 round an image that was cut off above and below.
    cut = decode_mask(_mask(values), image_size=(100, 60), box=(0, -20, 100, 80), side_px=50)
    assert cut.shape == (50, 50)
    assert set(np.unique(cut)) == {0, 3, 7}
    assert (cut[15:20, 20:30] == 7).all()
    assert (cut[30:35, 10:15] == 3).all()
    assert (cut > 0).sum() == 50 + 25
    assert not cut[:10].any()


def test_a_black_and_white_mask_becomes_zeros_and_ones():
    data = encoded(Image.fromarray(np.eye(10, dtype=bool)))
    cut = decode_mask(data, image_size=(10, 10), box=(0, 0, 10, 10), side_px=10)
    assert np.array_equal(cut, np.eye(10))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_mask(np.zeros((20, 20, 3))), "one channel"),
        (_mask(np.zeros((20, 30))), "The mask is 30 x 20 pixels, its image 20 x 20"),
        (b"text", "not JPEG"),
    ],
)
def test_a_mask_that_will_not_do(data: bytes, message: str):
    with pytest.raises(BadImage, match=message):
        decode_mask(data, image_size=(20, 20), box=(0, 0, 20, 20), side_px=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of images that are as red as their mask says, and a table."""
    root = write_classes(tmp_path / "set", {"a": 4, "b": 4})
    lines = ["path,patient,mask_path,flags"]
    (root / "masks").mkdir()
    for index, path in enumerate(sorted(root.glob("[ab]/*.png"))):
        values = np.zeros((80, 80), np.uint8)
        values[10 + index : 30 + index, 40:60] = index + 1
        Image.fromarray(np.stack([values * 20, values, values], axis=-1)).save(path)
        Image.fromarray(values).save(root / "masks" / f"{index}.png")
        lines.append(f"{path.relative_to(root)},p{index},masks/{index}.png,{'ungradable: dark' if index == 2 else ''}")
    (root / "metadata.csv").write_text("\n".join(lines))
    return root


def test_masks_come_into_the_data_set_with_the_images_transform(folder: Path):
    dataset = import_folder(folder, store_side_px=64, spec_changes={"mask_names": ["one", "two"]})
    assert dataset.has_masks
    assert dataset.spec.mask_names == ("one", "two")
    assert len(dataset.left_out) == 0
    assert list(dataset.table["flags"]) == ["", "", "ungradable: dark", *[""] * 5]
    for row in range(8):
        red = dataset.pixels[row][..., 0].astype(int)
        assert dataset.table["mask_path"][row] == f"masks/{row}.png"
        mask = dataset.mask(row)
        assert (mask.shape, mask.dtype) == ((64, 64), np.uint8)
        # Away from edges, where the image is smoothed, both say the same.
        agree = (red == 20 * mask.astype(int)).mean()
        assert agree > 0.93
        assert mask.max() == row + 1
    dataset.verify()


def test_a_changed_mask_makes_the_import_anew_and_a_damaged_one_costs_only_itself(folder: Path):
    version = import_folder(folder).version
    (folder / "masks" / "0.png").write_text("no mask")
    (folder / "masks" / "1.png").unlink()
    dataset = import_folder(folder)
    assert dataset.version == version  # what is trained on is the same
    assert dataset.num_images == 8
    assert dataset.mask(0) is None
    assert dataset.mask(1) is None
    assert dataset.mask(2) is not None
    assert "mask not used" in dataset.table["flags"][0]


def test_a_mask_outside_the_folder_is_not_read(folder: Path, tmp_path: Path):
    shutil.copy(folder / "masks" / "0.png", tmp_path / "outside.png")
    table = (folder / "metadata.csv").read_text()
    (folder / "metadata.csv").write_text(table.replace("masks/0.png", "../outside.png"))
    dataset = import_folder(folder)
    assert dataset.mask(0) is None
    assert "outside the folder" in dataset.table["flags"][0]


def test_data_sets_without_masks_stay_valid(tmp_path: Path):
    dataset = import_folder(write_classes(tmp_path / "pets", {"cat": 4, "dog": 4}))
    assert not dataset.has_masks
    assert dataset.mask(0) is None
    assert set(dataset.table["mask_path"]) == {""}


def test_a_damaged_mask_file_is_noticed(folder: Path):
    dataset = import_folder(folder)
    path = dataset.folder / "masks.bin"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(UserError, match="checksum"):
        open_dataset("set").verify()
