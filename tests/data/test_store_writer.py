import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.importing import import_folder
from lib.data.library import list_datasets, open_dataset
from lib.errors import UserError
from tests.data.folders import picture, write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my pets", {"cat": 5, "dog": 4})


def test_import_keeps_pixels_and_table_in_step(folder: Path):
    dataset = import_folder(folder)
    assert (dataset.name, dataset.num_images, dataset.class_names) == ("my-pets", 9, ("cat", "dog"))
    assert dataset.spec.store_side_px == 64  # the least, though the images have 32
    assert dataset.pixels.shape == (9, 64, 64, 3)
    for row, path in enumerate(dataset.table["path"]):
        expected = Image.open(folder / path).resize((64, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(dataset.pixels[row], np.asarray(expected))
        assert dataset.class_names[dataset.table["target"][row]] == path.split("/")[0]
    dataset.verify()
    assert list_datasets()[0].num_classes == 2


def test_unreadable_files_and_duplicates_are_left_out_with_reasons(folder: Path):
    (folder / "cat" / "empty.jpg").touch()
    (folder / "cat" / "text.jpg").write_text("no image")
    (folder / "dog" / "cut.png").write_bytes((folder / "dog" / "0.png").read_bytes()[:300])
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    shutil.copy(folder / "cat" / "1.png", folder / "dog" / "twin.png")
    dataset = import_folder(folder)
    reasons = dict(zip(dataset.left_out["path"], dataset.left_out["reason"], strict=True))
    assert set(reasons) == {
        "cat/empty.jpg",
        "cat/text.jpg",
        "dog/cut.png",
        "cat/copy.png",
        "dog/twin.png",
        "cat/1.png",
    }
    assert reasons["cat/copy.png"] == "same content as cat/0.png"
    assert reasons["dog/twin.png"] == "same content as cat/1.png, which is in another class"
    assert "cut off" in reasons["dog/cut.png"]
    # The row behind the damaged file still shows its own picture.
    row = list(dataset.table["path"]).index("dog/3.png")
    expected = Image.open(folder / "dog" / "3.png").resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(dataset.pixels[row], np.asarray(expected))
    assert dataset.num_images == 8


def test_a_test_copy_stays_rather_than_a_training_copy(tmp_path: Path):
    root = write_classes(tmp_path / "set", {f"{part}/{name}": 4 for part in ("train", "val") for name in ("a", "b")})
    shutil.copy(root / "val/a/0.png", root / "train/a/same.png")
    dataset = import_folder(root)
    assert list(dataset.left_out["path"]) == ["train/a/same.png"]
    splits = dataset.split(0)
    assert set(splits[dataset.table["split"] == "val"]) == {"test"}


def test_store_side_is_the_largest_short_side_at_most(tmp_path: Path):
    root = write_classes(tmp_path / "set", {"a": 3, "b": 3})
    picture(99, width=200, height=100).save(root / "a" / "large.png")
    assert import_folder(root).spec.store_side_px == 100
    assert import_folder(root, name="small", store_side_px=80).spec.store_side_px == 80
    with pytest.raises(UserError, match="64 to 2048"):
        import_folder(root, name="tiny", store_side_px=10)


def test_a_class_without_a_usable_image_is_named(tmp_path: Path):
    root = write_classes(tmp_path / "set", {"a": 5, "b": 0})
    (root / "b" / "1.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"Class 'b' has no usable image \(such as b/1.jpg: The file is not JPEG"):
        import_folder(root)


def test_a_full_disk_is_noticed_before_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lib.data.store_writer.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="free some space"):
        import_folder(folder)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
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


def test_masks_come_into_the_data_set_with_the_images_transform(masked: Path):
    dataset = import_folder(masked, store_side_px=64, spec_changes={"mask_names": ["one", "two"]})
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


def test_a_changed_mask_makes_the_import_anew_and_a_damaged_one_costs_only_itself(masked: Path):
    version = import_folder(masked).version
    (masked / "masks" / "0.png").write_text("no mask")
    (masked / "masks" / "1.png").unlink()
    dataset = import_folder(masked)
    assert dataset.version == version  # what is trained on is the same
    assert dataset.num_images == 8
    assert dataset.mask(0) is None
    assert dataset.mask(1) is None
    assert dataset.mask(2) is not None
    assert "mask not used" in dataset.table["flags"][0]


def test_a_mask_outside_the_folder_is_not_read(masked: Path, tmp_path: Path):
    shutil.copy(masked / "masks" / "0.png", tmp_path / "outside.png")
    table = (masked / "metadata.csv").read_text()
    (masked / "metadata.csv").write_text(table.replace("masks/0.png", "../outside.png"))
    dataset = import_folder(masked)
    assert dataset.mask(0) is None
    assert "outside the folder" in dataset.table["flags"][0]


def test_data_sets_without_masks_stay_valid(tmp_path: Path):
    dataset = import_folder(write_classes(tmp_path / "pets", {"cat": 4, "dog": 4}))
    assert not dataset.has_masks
    assert dataset.mask(0) is None
    assert set(dataset.table["mask_path"]) == {""}


def test_a_damaged_mask_file_is_noticed(masked: Path):
    dataset = import_folder(masked)
    path = dataset.folder / "masks.bin"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(UserError, match="checksum"):
        open_dataset("set").verify()
