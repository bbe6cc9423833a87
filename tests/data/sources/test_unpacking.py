"""Archives of unknown origin are unpacked whole, or refused in one sentence."""

import gzip
import os
import stat
import tarfile
import zipfile

import pytest

from lib.data.sources import unpacking
from lib.data.sources.unpacking import archive_stem, unpack, unpack_names
from lib.errors import Stopped, UserError
from tests.data.sources.archives import tar_of, tar_with, zip_of


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for number, name in enumerate(("caf\u00e9 au lait/1 (1).jpg", "dog/2.jpg", "labels.csv", "__MACOSX/._1.jpg")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes([number]) * 1000)
        os.utime(root / name, (1_000_000_000, 1_000_000_000))
    return root


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "wrong.zip"])
def test_what_was_packed_comes_out_with_its_names_and_times(tmp_path, into, pets, name):
    make = tar_of if "tar" in name or "tgz" in name or "wrong" in name else zip_of
    seen = []
    assert unpack(make(pets, tmp_path / name), into, progress=lambda *said: seen.append(said)) == []
    assert files_of(into) == files_of(pets)
    assert abs((into / "labels.csv").stat().st_mtime - 1_000_000_000) < 86_400  # a zip has the clock of its maker
    assert not (into / "labels.csv").stat().st_mode & stat.S_IXUSR
    assert {what for _, _, what in seen} == {f"Unpacking {name}"}


@pytest.mark.parametrize("name", ["../out.jpg", "/out.jpg", "a/../../out.jpg", "C:\\out.jpg", "a\\..\\..\\out.jpg"])
def test_entries_that_lead_out_refuse_the_archive(tmp_path, into, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.jpg", b"x")
        archive.writestr(name, b"x")
    with pytest.raises(UserError, match=r"a\.zip is not unpacked: Its entry .* leads out of the archive\.$"):
        unpack(tmp_path / "a.zip", into)
    if "\\" not in name:
        with pytest.raises(UserError, match=r"a\.tgz is not unpacked: Its entry .* leads out of the archive\.$"):
            unpack(tar_with(tmp_path / "a.tgz", ("cat/1.jpg", b"x", {}), (name, b"x", {})), into)
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize(
    "fields",
    [{"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, {"type": tarfile.SYMTYPE, "linkname": "../../x"},
     {"type": tarfile.LNKTYPE, "linkname": "../x"}],
)  # fmt: skip
def test_links_that_lead_out_refuse_the_archive(tmp_path, into, fields):
    with pytest.raises(UserError, match=r"Its entry .* leads out"):
        unpack(tar_with(tmp_path / "a.tar", ("cat/1.jpg", None, fields)), into)


def test_links_within_and_devices_are_left_out_and_said(tmp_path, into):
    path = tar_with(
        tmp_path / "a.tar",
        ("cat/1.jpg", b"one", {}),
        ("cat/2.jpg", None, {"type": tarfile.SYMTYPE, "linkname": "1.jpg"}),
        ("cat/3.jpg", None, {"type": tarfile.LNKTYPE, "linkname": "cat/1.jpg"}),
        ("zero.jpg", None, {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}),
        ("pipe.jpg", None, {"type": tarfile.FIFOTYPE}),
    )
    left_out = unpack(path, into)
    assert files_of(into) == {"cat/1.jpg": b"one", "cat/3.jpg": b"one"}
    assert [item.path for item in left_out] == ["cat/2.jpg", "zero.jpg", "pipe.jpg"]
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert [item.reason for item in unpack(tmp_path / "a.zip", into)] == ["a link in the archive, not followed"]


def test_bombs_are_noticed_by_what_comes_out(tmp_path, into, monkeypatch):
    monkeypatch.setattr(unpacking, "_RATIO_FREE_BYTES", 2**20)
    zeros = bytes(8 * 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.bmp", zeros)
    for path in (tmp_path / "a.zip", tar_with(tmp_path / "a.tgz", ("1.bmp", zeros, {}))):
        with pytest.raises(UserError, match="more than 100 times its size"):
            unpack(path, into)
    many = [(f"{number}.bmp", zeros[: 2**17], {}) for number in range(64)]  # none of them too large by itself
    with pytest.raises(UserError, match="more than 100 times its size"):
        unpack(tar_with(tmp_path / "b.tgz", *many), into)
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**31
    with gzip.open(tmp_path / "c.tgz", "wb") as written:
        written.write(header.tobuf() + bytes(2**20))
    with pytest.raises(UserError, match=r"One of its headers is too long"):
        unpack(tmp_path / "c.tgz", into)
    monkeypatch.setattr(unpacking, "_MAX_ENTRIES", 10)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name, _, _ in many:
            archive.writestr(name, b"x")
    for path in (tar_with(tmp_path / "d.tgz", *((name, b"x", {}) for name, _, _ in many)), tmp_path / "b.zip"):
        with pytest.raises(UserError, match="lists more than 10 entries"):
            unpack(path, into)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.zip", b"", "cannot be unpacked"),
        ("a.tar", b"no archive at all", "cannot be unpacked"),
        ("a.tgz", b"\x1f\x8b\x08rest", "cannot be unpacked"),
        ("a.zip", b"PK\x03\x04rest", "cannot be unpacked .* cut off: fetch or pack it again"),
        ("a.tar", b"BZh91AY", "packed as bzip2; pack it as zip, tar or tar.gz"),
    ],
)
def test_what_is_no_archive_is_refused_in_a_sentence(tmp_path, into, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        unpack(tmp_path / name, into)
    assert "\n" not in str(refused.value)


def test_damage_within_is_noticed(tmp_path, into, pets):
    whole = tar_with(tmp_path / "a.tar", ("1.jpg", b"x" * 600, {}), ("2.jpg", b"y" * 600, {})).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:1536] + b"\xff" * 512 + whole[2048:])  # the header of the second
    with pytest.raises(UserError, match="It is damaged after entry 1"):
        unpack(tmp_path / "b.tar", into)
    for name, data in (
        ("c.tar", whole[:800]),
        ("d.tgz", tar_of(pets, tmp_path / "e.tgz").read_bytes()[:-30]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=r"cannot be unpacked|is damaged"):
            unpack(tmp_path / name, into)
    with pytest.raises(UserError, match="There is no file"):
        unpack(tmp_path / "absent.zip", into)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_stopping_is_no_damage(tmp_path, into, pets, make):
    def stop(*_):
        raise Stopped

    with pytest.raises(Stopped):
        unpack(make(pets, tmp_path / "a.zip"), into, progress=stop)


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_a_preview_has_names_and_tables_and_a_few_images(tmp_path, into, pets, make, monkeypatch):
    monkeypatch.setattr(unpacking, "_NUM_SAMPLES", 1)
    unpack_names(make(pets, tmp_path / "a.zip"), into)
    found = files_of(into)
    assert set(found) == set(files_of(pets))
    assert found["labels.csv"] == b"\2" * 1000
    assert sorted(found[name] == bytes(1000) for name in found if name.endswith("jpg")) == [False, True, True]


def test_names_of_archives():
    from pathlib import Path

    names = {"a.tar.gz": "a", "b.ZIP": "b", "c.d.tgz": "c.d", ".zip": ".zip", "e.tar": "e"}
    assert {name: archive_stem(Path(name)) for name in names} == names


def test_archives_inside_become_folders(tmp_path, into):
    """As dogs-vs-cats comes: train.zip and test1.zip in one zip; a deeper one stays as it is."""
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr("x.jpg", b"x")
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("cat.0.jpg", b"c")
        archive.write(tmp_path / "deep.zip", "deep.zip")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "train.zip", "train.zip")
    unpack(tmp_path / "all.zip", into)
    assert sorted(files_of(into)) == ["train/cat.0.jpg", "train/deep.zip"]
    with zipfile.ZipFile(tmp_path / "train.zip", "a") as archive:
        archive.writestr("../out.jpg", b"x")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.write(tmp_path / "train.zip", "train.zip")
    with pytest.raises(UserError, match=r"bad\.zip/train\.zip is not unpacked: Its entry .* leads out"):
        unpack(tmp_path / "bad.zip", into)
