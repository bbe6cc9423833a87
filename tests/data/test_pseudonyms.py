import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib import settings
from lib.csv_text import csv_of_table
from lib.data.dataset import PIXELS_FILE, Dataset
from lib.data.dataset_changes import rebuild_dataset
from lib.data.edits import add_edit, edits_table
from lib.data.importing import import_folder, import_from, resolve_dataset
from lib.data.originals import NAMES_FILE
from lib.data.pseudonyms import pseudonym
from lib.errors import UserError
from tests.data.folders import encoded, picture

NAMES = ("Mueller_Hans_1961", "Meier_Eva_1957", "Özil_Änne_1970", "Huber_Max_1949")
SECRET = [part for name in NAMES for part in name.split("_")]


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    root = tmp_path / "clinic"
    for number, (name, eye) in enumerate((name, eye) for name in NAMES for eye in ("left", "right")):
        folder = root / ("ill" if number % 2 else "healthy")
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{name}_{eye}.png")
    (root / "ill" / "Huber_Max_1949_notes.txt").write_text("Huber")
    (root / "ill" / "broken_Meier.png").write_bytes(b"no image")
    (root / "healthy" / "zz_copy_of_Mueller.png").write_bytes(
        (root / "healthy" / "Mueller_Hans_1961_left.png").read_bytes()
    )
    return root


def _import(clinic: Path, **options) -> Dataset:
    return import_folder(clinic, pseudonyms=True, check_splits=False, **options)


def _content(path: Path) -> bytes:
    """What a file says, whatever it is packed in."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_csv().encode()
    return path.read_bytes()


def _telling(content: bytes) -> list[str]:
    return [name for name in SECRET if name.encode() in content or name.encode("utf-16-le") in content]


def test_the_same_patient_has_the_same_pseudonym_and_left_and_right_stay(clinic: Path):
    found = _import(clinic)
    table = found.table
    by_patient = table.groupby("group_id")
    assert len(by_patient) == 4
    assert set(by_patient["laterality"].nunique()) == {2}
    assert set(table["group_id"]) == {pseudonym(name) for name in NAMES}
    for row in table.itertuples():
        assert row.path.startswith(f"{found.class_names[row.target]}/{row.group_id}_{row.laterality}_")
    assert table["path"].is_unique
    assert pseudonym("Mueller_Hans_1961") == pseudonym("mueller_hans_1961")
    assert len({pseudonym(name) for name in NAMES}) == 4
    key = settings.home() / "pseudonyms.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    assert not set(table["group_id"]) & {pseudonym(name) for name in NAMES}  # nobody without the key can try names


def test_no_byte_of_the_data_set_but_its_list_of_names_tells_a_patient(clinic: Path):
    found = _import(clinic)
    for path in settings.home().rglob("*"):
        if path.is_file() and path.name != NAMES_FILE:
            assert _telling(_content(path)) == [], path
    assert _telling((found.folder / NAMES_FILE).read_bytes()) != []
    assert (found.folder / NAMES_FILE).stat().st_mode & 0o777 == 0o600
    assert len(found.left_out) == 3
    (copy,) = (reason for reason in found.left_out["reason"] if "same content" in reason)
    assert any(path in copy for path in found.table["path"]) or "healthy/" in copy


def test_an_export_of_the_tables_tells_no_patient(clinic: Path):
    found = _import(clinic)
    edited = add_edit(found.name, "exclude", [str(found.table["image_id"][0])])
    assert _telling(csv_of_table(found.table).encode()) == []
    assert _telling(csv_of_table(edits_table(edited)).encode()) == []
    assert _telling(json.dumps(edited.notices).encode()) == []


def test_two_imports_are_the_same_and_a_repair_finds_the_originals(clinic: Path):
    first = _import(clinic, name="one")
    again = import_folder(clinic, name="two", pseudonyms=True, check_splits=False)
    assert again.content_version == first.content_version
    plain = import_folder(clinic, name="three", check_splits=False)
    assert plain.content_version != first.content_version
    assert "Mueller_Hans_1961" in " ".join(plain.table["path"])
    row = 3
    assert first.source_path(row).is_file()
    before = np.array(first.pixels[row])
    with (first.folder / PIXELS_FILE).open("r+b") as opened:
        opened.seek(row * before.nbytes)
        opened.write(bytes(64))
    assert np.array_equal(Dataset(first.folder).pixels[row], before)
    Path(first.source_path(row)).write_bytes(encoded(picture(999)))
    with (first.folder / PIXELS_FILE).open("r+b") as opened:
        opened.seek(row * before.nbytes)
        opened.write(bytes(64))
    with pytest.raises(UserError) as caught:
        _ = Dataset(first.folder).pixels[row]
    assert _telling(str(caught.value).encode()) == []


def test_pseudonyms_stay_with_later_imports_and_another_crop(clinic: Path):
    first = _import(clinic)
    picture(500).save(clinic / "ill" / "Huber_Max_1949.png")
    again = resolve_dataset(clinic, check_splits=False)
    assert again.num_images == first.num_images + 1
    assert again.has_pseudonyms
    paths = again.table["path"].tolist()
    cut = rebuild_dataset(again.name, "retina_box")
    assert (cut.has_pseudonyms, cut.table["path"].tolist()) == (True, paths)
    assert import_folder(clinic, check_splits=False).has_pseudonyms
    assert not import_folder(clinic, check_splits=False, pseudonyms=False).has_pseudonyms


def test_ids_in_a_column_and_masks_have_pseudonyms_too(tmp_path: Path):
    root = tmp_path / "site"
    rows = ["path,patient,mask_path"]
    for number, (name, kind) in enumerate((name, kind) for name in ("Schmidt", "Weber", "Koch") for kind in ("a", "b")):
        (root / kind).mkdir(parents=True, exist_ok=True)
        picture(number).save(root / kind / f"{name}.png")
        mask = ""
        if name == "Koch":
            mask = f"{kind}_{name}_mask.png"
            picture(number).convert("L").point(lambda level: level // 128).save(root / mask)
        rows.append(f"{kind}/{name}.png,{name} {1900 + number // 2},{mask}")
    (root / "metadata.csv").write_text("\n".join(rows))
    found = import_folder(root, group_column="patient", pseudonyms=True, check_splits=False)
    assert set(found.table["group_id"]) == {
        pseudonym(f"{name} {1900 + k}") for k, name in enumerate(("Schmidt", "Weber", "Koch"))
    }
    rows = [row for row in range(6) if found.table["mask_path"].iloc[row]]
    assert len(rows) == 2
    for path in found.folder.iterdir():
        if path.name != NAMES_FILE:
            assert not any(name in _content(path) for name in (b"Schmidt", b"Weber", b"Koch")), path
    before = found.mask(rows[0]).copy()
    masks = found.folder / "masks.bin"
    with masks.open("r+b") as opened:
        opened.write(bytes([7]) * masks.stat().st_size)
    assert np.array_equal(Dataset(found.folder).mask(rows[0]), before)


def test_an_archive_and_an_unlabelled_folder_have_pseudonyms_too(clinic: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "clinic.zip", "w") as archive:
        for path in clinic.rglob("*.png"):
            archive.write(path, path.relative_to(clinic))
    options = {"pseudonyms": True, "check_splits": False}
    packed = import_from("archive", {"path": tmp_path / "clinic.zip"}, name="packed", **options)
    assert set(packed.table["group_id"]) == {pseudonym(name) for name in NAMES}
    assert packed.source_path(0).is_file()
    bare = import_from("unlabelled", {"path": clinic, "classes": "ill,healthy"}, name="bare", **options)
    assert not any(name in path for name in SECRET for path in bare.table["path"])
    assert not any("/" in path for path in bare.table["path"])
    for folder in (packed.folder, bare.folder):
        for path in folder.glob("*"):
            if path.is_file() and path.name != NAMES_FILE:
                assert _telling(_content(path)) == [], path


def test_a_damaged_key_is_one_sentence(clinic: Path):
    pseudonym("anybody")
    (settings.home() / "pseudonyms.key").write_text("nonsense")
    with pytest.raises(UserError, match="is no key for pseudonyms any more"):
        _import(clinic)
