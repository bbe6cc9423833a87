import os
import unicodedata
from pathlib import Path

import pytest

from lib.data.sources.files import natural_key, shown
from lib.data.sources.folder import scan_folder
from lib.data.sources.tables import SourceOptions
from lib.errors import UserError
from tests.data.folders import write_classes


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def _classes(root: Path, **options) -> dict[str, str]:
    return {entry.relative: entry.class_name for entry in scan_folder(root, SourceOptions(**options)).entries}


def _reasons(root: Path) -> dict[str, str]:
    return {item.path: item.reason for item in scan_folder(root).left_out}


def test_one_sub_folder_per_class(tmp_path: Path):
    _touch(tmp_path, "cat/1.jpg", "cat/2.JPEG", "dog/a b.Png", "dog/ü.heic")
    assert _classes(tmp_path) == {"cat/1.jpg": "cat", "cat/2.JPEG": "cat", "dog/a b.Png": "dog", "dog/ü.heic": "dog"}
    assert scan_folder(tmp_path).left_out == []


def test_everything_else_is_left_out_with_a_reason(tmp_path: Path):
    _touch(
        tmp_path, "cat/1.jpg", "dog/1.jpg", "notes.txt", "loose.jpg", ".DS_Store", "cat/.hidden.jpg", "dog/Thumbs.db"
    )
    _touch(tmp_path, "dog/noname", "cat/deep/er/2.jpg", "__MACOSX/cat/._1.jpg", ".git/config", "cat/movie.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "cat" / "loop.jpg").symlink_to(tmp_path / "cat" / "loop.jpg")
    os.mkfifo(tmp_path / "dog" / "pipe.jpg")
    reasons = _reasons(tmp_path)
    assert list(_classes(tmp_path)) == ["cat/1.jpg", "cat/deep/er/2.jpg", "dog/1.jpg"]
    expected = {
        "notes.txt": "suffix .txt",
        "loose.jpg": "no class folder",
        ".DS_Store": "hidden file",
        "cat/.hidden.jpg": "hidden file",
        "dog/Thumbs.db": "hidden file",
        "dog/noname": "no suffix",
        "__MACOSX": "hidden folder",
        ".git": "hidden folder",
        "cat/movie.mp4": "suffix .mp4",
        "empty": "empty folder",
        "cat/gone.jpg": "does not exist",
        "cat/loop.jpg": "does not exist",
        "dog/pipe.jpg": "not an ordinary file",
    }
    assert set(reasons) == set(expected)
    for path, part in expected.items():
        assert part in reasons[path]


def test_links_to_images_and_class_folders_are_followed(tmp_path: Path):
    _touch(tmp_path / "elsewhere", "dogs/1.jpg", "tom.jpg")
    _touch(tmp_path / "set", "cat/1.jpg")
    (tmp_path / "set" / "cat" / "2.jpg").symlink_to(tmp_path / "elsewhere" / "tom.jpg")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere" / "dogs")
    assert list(_classes(tmp_path / "set")) == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_split_folders_in_their_usual_names(tmp_path: Path, validation: str):
    _touch(tmp_path, "Train/cat/1.jpg", "Train/dog/1.jpg", f"{validation}/cat/2.jpg", "test/dog/3.jpg", "extra/x.jpg")
    _touch(tmp_path, "test/unlabelled.jpg", "readme.md")
    splits = {entry.relative: (entry.split, entry.class_name) for entry in scan_folder(tmp_path).entries}
    assert splits == {
        "Train/cat/1.jpg": ("train", "cat"),
        "Train/dog/1.jpg": ("train", "dog"),
        f"{validation}/cat/2.jpg": ("val", "cat"),
        "test/dog/3.jpg": ("test", "dog"),
    }
    assert set(_reasons(tmp_path)) == {"extra/x.jpg", "test/unlabelled.jpg", "readme.md"}


def test_classes_named_train_and_test_hold_images_themselves(tmp_path: Path):
    _touch(tmp_path, "train/1.jpg", "car/1.jpg", "test/1.jpg")
    scan = scan_folder(tmp_path)
    assert scan.class_names == ("car", "test", "train")
    assert {entry.split for entry in scan.entries} == {""}


def test_a_lone_folder_of_an_archive_is_stepped_into(tmp_path: Path):
    _touch(tmp_path, "photos/set/cat/1.jpg", "photos/set/dog/1.jpg", "__MACOSX/x", "licence.txt")
    assert list(_classes(tmp_path)) == ["photos/set/cat/1.jpg", "photos/set/dog/1.jpg"]
    assert set(_reasons(tmp_path)) == {"__MACOSX", "licence.txt"}


def test_classes_come_in_natural_order(tmp_path: Path):
    _touch(tmp_path, "10_severe/1.jpg", "2_mild/1.jpg", "Blue/1.jpg", "amber/1.jpg")
    assert scan_folder(tmp_path).class_names == ("2_mild", "10_severe", "amber", "Blue")
    assert natural_key("a2") < natural_key("a10")


def test_names_from_another_system_and_with_markup(tmp_path: Path):
    decomposed = unicodedata.normalize("NFD", "é")
    _touch(tmp_path, f"train/{decomposed}/1.jpg", "train/<b>x & y/1.jpg")
    (tmp_path / "val" / "é").mkdir(parents=True)
    (tmp_path / "val" / "é" / "2.jpg").write_bytes(b"x")
    scan = scan_folder(tmp_path)
    assert scan.class_names == ("<b>x & y", "é")


def test_bytes_that_are_no_text_and_control_characters_are_shown_safely(tmp_path: Path):
    (tmp_path / "cat").mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / "cat" / "a\nb.jpg").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff.jpg")).write_bytes(b"x")
    scan = scan_folder(tmp_path)
    assert scan.class_names == ("caf\ufffd", "cat")
    assert [entry.relative for entry in scan.entries] == ["caf\ufffd/\ufffd.jpg", "cat/a\ufffdb.jpg"]
    assert all(entry.path.exists() for entry in scan.entries)
    assert shown("a\tb") == "a\ufffdb"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "is empty"),
        (("1.jpg", "2.jpg"), "has 2 images but no class folders"),
        (("cat/1.jpg", "cat/2.jpg"), "only one class, 'cat'"),
        (("cat/1.txt", "dog/2.txt"), "holds no images"),
        (("site1/cat/1.jpg", "site1/dog/1.jpg", "site2/cat/2.jpg"), "too deep"),
        (("val/cat/1.jpg", "val/dog/1.jpg", "test/cat/2.jpg"), "has test/ and val/ but no train/; add a train/ folder"),
        (("train/cat/1.jpg", "val/cat/1.jpg"), "only one class"),
    ],
)
def test_a_folder_that_will_not_do_says_why_and_what_is_expected(tmp_path: Path, files: tuple, message: str):
    with pytest.raises(UserError, match=message) as caught:
        scan_folder(_touch(tmp_path, *files))
    assert "one sub-folder per class" in str(caught.value)


def test_no_such_folder_and_a_file(tmp_path: Path):
    with pytest.raises(UserError, match="There is no folder"):
        scan_folder(tmp_path / "absent")
    with pytest.raises(UserError, match="is a file"):
        scan_folder(_touch(tmp_path, "a.zip") / "a.zip")


def _with_table(root: Path, text: str) -> Path:
    _touch(root, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/3.jpg")
    (root / "metadata.csv").write_text(text, encoding="utf-8-sig")
    return root


def test_group_column_of_metadata(tmp_path: Path):
    root = _with_table(
        tmp_path, "path,patient,laterality\ncat/1.jpg,7,left\ncat\\2.jpg,7,right\n3.jpg,9,\ndog/1.jpg,,\n"
    )
    scan = scan_folder(root, SourceOptions(group_column="patient"))
    known = {entry.relative: (entry.group_id, entry.laterality) for entry in scan.entries}
    assert known == {"cat/1.jpg": ("7", "left"), "cat/2.jpg": ("7", "right"), "dog/3.jpg": ("9", "")}
    assert [(item.path, "no value" in item.reason) for item in scan.left_out] == [("dog/1.jpg", True)]


def test_without_a_group_column_no_image_is_lost(tmp_path: Path):
    scan = scan_folder(_with_table(tmp_path, "file_name;patient;laterality\ncat/1.jpg;7;left\n"))
    assert [entry.laterality for entry in scan.entries] == ["left", "", "", ""]
    assert [entry.group_id for entry in scan.entries] == ["7", "", "", ""]  # a column of that name is recognised
    assert scan.left_out == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,patient\n", "No row"),
        ("path,person\ncat/1.jpg,1\n", "no column 'patient'; it has: path, person"),
        ("number,patient\n1 of 2,1\n", "no column path or file_name"),
        ("", "it has: none"),
    ],
)
def test_a_table_that_will_not_do(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        scan_folder(_with_table(tmp_path, text), SourceOptions(group_column="patient"))


def test_group_column_without_a_table(tmp_path: Path):
    with pytest.raises(UserError, match=r"needs a file .*metadata\.csv"):
        scan_folder(_touch(tmp_path, "cat/1.jpg", "dog/1.jpg"), SourceOptions(group_column="patient"))


def test_links_lead_only_where_they_are_allowed_to(tmp_path: Path) -> None:
    """As the dashboard reads a folder; a command follows every link."""
    far = write_classes(tmp_path / "far", {"cat": 3, "secret": 2})
    (tmp_path / "far" / "labels.csv").write_text("image,class\n0,cat\n")
    root = write_classes(tmp_path / "roots" / "set", {"cat": 2, "dog": 2}, first_seed=50)
    near = write_classes(tmp_path / "roots" / "near", {"bird": 2}, first_seed=90)
    (root / "cat" / "linked.png").symlink_to(far / "cat" / "0.png")
    (root / "secret").symlink_to(far / "secret")
    (root / "bird").symlink_to(near / "bird")
    (near / "bird" / "back.png").symlink_to(far / "cat" / "1.png")  # out again, behind a link that may be followed
    (root / "labels.csv").symlink_to(far / "labels.csv")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    (root / "dog" / "loop.png").symlink_to(root / "dog" / "loop.png")

    def is_allowed(path: Path) -> bool:
        return path.resolve().is_relative_to(tmp_path / "roots")

    scan = scan_folder(root, is_allowed=is_allowed)
    assert {entry.key for entry in scan.entries} == {
        f"{name}/{n}.png" for name in ("bird", "cat", "dog") for n in (0, 1)
    }
    reasons = {item.path: item.reason for item in scan.left_out}
    refused = {"bird/back.png", "cat/linked.png", "labels.csv", "secret"}
    assert {path for path, reason in reasons.items() if "leads out of the folders" in reason} == refused
    assert {"dog/gone.png", "dog/loop.png"} <= set(reasons)
    followed = scan_folder(root, SourceOptions(labels=("folders",)))
    assert {entry.key for entry in followed.entries} - {entry.key for entry in scan.entries} == {
        "bird/back.png", "cat/linked.png", "secret/0.png", "secret/1.png",
    }  # fmt: skip
