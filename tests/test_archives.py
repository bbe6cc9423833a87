"""Archives made to do harm cost next to nothing, and names of old code pages stay readable."""

import io
import tempfile
import tracemalloc
import zipfile
import zlib
from functools import cache
from pathlib import Path

import pytest

from lib import archives
from lib.errors import UserError
from lib.grading.upload_session import expand_paths, expand_uploads
from lib.models.bundles import load_bundle
from tests.checks import archives as attacks

HELD_MIB, LIMIT_MIB = 48, 8
BUNDLE = ("manifest.json", "network.safetensors")


def upload(path):
    return [entry.reason for entry in expand_uploads([(path.name, path.read_bytes())]).skipped]


def grade(path):
    return [entry.reason for entry in expand_paths([path]).skipped]


def bundle(path):
    with pytest.raises(UserError) as raised:
        load_bundle(path)
    return [str(raised.value)]


@cache
def lying(method, names):
    with tempfile.TemporaryDirectory() as folder:
        return attacks.lying(Path(folder) / "a.zip", method, HELD_MIB, names).read_bytes()


@pytest.mark.parametrize("read", [upload, grade, bundle])
@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (zipfile.ZIP_BZIP2, "Packed in an unusual way"),
        (zipfile.ZIP_LZMA, "Packed in an unusual way"),
        (zipfile.ZIP_DEFLATED, "cannot be read (JSONDecodeError)"),  # of the bundle: the first 1,000 bytes are read
    ],
)
def test_members_that_lie_about_their_size_cost_nothing(tmp_path, read, method, sentence):
    path = tmp_path / "a.zip"
    path.write_bytes(lying(method, BUNDLE if read is bundle else ("photo.jpg",)))
    tracemalloc.start()
    reasons = read(path)
    peak_mib = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert peak_mib < LIMIT_MIB
    if method != zipfile.ZIP_DEFLATED or read is bundle:
        assert sentence in reasons[0]


@pytest.mark.parametrize("read", [upload, grade, bundle])
def test_bombs_overlaps_crowds_and_nests_are_refused(tmp_path, read):
    names = BUNDLE if read is bundle else ("photo.jpg",)
    assert "a zip bomb" in read(attacks.honest_bomb(tmp_path / "a.zip", HELD_MIB, names))[0]
    assert "overlap: a zip bomb" in read(attacks.overlapping(tmp_path / "b.zip", 100, names))[0]
    assert "lists more than" in read(attacks.crowded(tmp_path / "c.zip", 20_001))[0]
    assert "rchive inside an archive" in (nested := read(attacks.nested(tmp_path / "d.zip", 1))[0]) or "holds" in nested


def test_a_bundle_that_is_refused_is_named(tmp_path):
    assert bundle(attacks.overlapping(tmp_path / "b.zip", 3, BUNDLE)) == [
        "b.zip cannot be opened as a bundle. Members of the archive overlap: a zip bomb."
    ]


def test_a_name_that_occurs_twice_is_taken_once():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.jpg", b"first")
        archive.writestr("a.jpg", b"second")
    got = expand_uploads([("z.zip", buffer.getvalue())])
    assert got.items == [("z.zip/a.jpg", b"first")]
    assert "more than once" in got.skipped[0].reason


def with_raw_names(*names: bytes, extra: bytes = b"") -> bytes:
    """A zip whose names are these bytes, without the mark of UTF-8."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, name in enumerate(names):
            member = zipfile.ZipInfo(f"{number:0{len(name)}d}")
            member.extra = extra
            archive.writestr(member, b"data")
    data = buffer.getvalue()
    for number, name in enumerate(names):
        data = data.replace(f"{number:0{len(name)}d}".encode(), name)
    return data


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Müller_größe.jpg".encode("cp437"), "Müller_größe.jpg"),
        ("Süß für Öl/Äpfel.jpg".encode("cp850"), "Süß für Öl/Äpfel.jpg"),
        ("Ünnepi szél, à côté.jpg".encode("cp1252"), "Ünnepi szél, à côté.jpg"),
        ("École\\élève Ørsted.jpg".encode("cp1252"), "École/élève Ørsted.jpg"),
        ("写真/眼底 表示.jpg".encode("cp932"), "写真/眼底 表示.jpg"),  # the second byte of 表 is a backslash
        ("あいう_右目ー2.jpg".encode("cp932"), "あいう_右目ー2.jpg"),
        ("レントゲン.jpg".encode("cp932"), "レントゲン.jpg"),
        ("фото/снимок.jpg".encode(), "фото/снимок.jpg"),  # UTF-8 that does not say so, as of a Mac
        (b"folder\\sub\\plain.jpg", "folder/sub/plain.jpg"),
    ],
)
def test_names_of_old_code_pages_are_readable(raw, name):
    got = expand_uploads([("z.zip", with_raw_names(raw))])
    assert got.items == [(f"z.zip/{name}", b"data")]


def test_the_unicode_path_counts_if_it_belongs_to_the_name():
    raw, name = "Çaça.jpg".encode("cp1254"), "Çağa ş.jpg"

    def extra(checksum: int) -> bytes:
        content = b"\1" + checksum.to_bytes(4, "little") + name.encode()
        return b"\x99\x99\x02\x00zz" + (0x7075).to_bytes(2, "little") + len(content).to_bytes(2, "little") + content

    got = expand_uploads([("z.zip", with_raw_names(raw, extra=extra(zlib.crc32(raw))))])
    assert got.items[0][0] == f"z.zip/{name}"
    got = expand_uploads([("z.zip", with_raw_names(raw, extra=extra(0)))])
    assert got.items[0][0] == "z.zip/Çaça.jpg"
    assert archives.member_name(zipfile.ZipInfo("a.jpg")) == "a.jpg"


@pytest.mark.parametrize("raw", [b"..\\..\\x\x81.jpg", b"C:\\\x81.jpg", b"\\\\server\\\x81.jpg"])
def test_old_names_that_lead_out_are_left_out(raw):
    got = expand_uploads([("z.zip", with_raw_names(raw))])
    assert [entry.reason for entry in got.skipped] == ["Its path leads out of the archive."]
