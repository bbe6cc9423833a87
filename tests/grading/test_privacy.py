"""Grading keeps to itself: nothing of a file but its pixels comes out, nothing is written, nobody is called."""

import io
import zipfile

from PIL import Image

from lib.grading import report
from lib.grading.grades import GradingOptions
from lib.grading.upload_session import UploadSession, expand_uploads
from tests.grading.squares import make_pixels, png

MAKER, SERIAL = "SecretCam", "SN-4711"


def photograph_with_place() -> bytes:
    """A JPEG whose EXIF tells its camera and where it was taken."""
    exif = Image.Exif()
    exif[0x010F], exif[0x013B] = MAKER, SERIAL
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (51.0, 30.0, 26.0), "W", (0.0, 7.0, 39.0)
    opened = io.BytesIO()
    Image.fromarray(make_pixels("red", 1)).save(opened, "JPEG", exif=exif, comment=SERIAL.encode(), quality=95)
    return opened.getvalue()


def test_place_and_camera_are_in_no_picture_that_is_kept_and_in_no_report(grader):
    data = photograph_with_place()
    assert MAKER.encode() in data
    assert b"Exif" in data
    session = UploadSession()
    session.add([("a.jpg", data)])
    for sha256, content in session.waiting("run"):
        [grade] = grader.deciding(GradingOptions(with_maps=True)).grade([("a.jpg", content)])
        session.keep("run", sha256, grade)
    [(_, jpeg)] = session.rows("run")
    assert not Image.open(io.BytesIO(jpeg)).getexif()
    kept = session.grades("run")
    texts = [getattr(report, f"to_{kind}")(kept, grader.header).encode() for kind in ("csv", "json", "html")]
    for made in (jpeg, *texts):
        assert not any(word in made for word in (b"Exif", MAKER.encode(), SERIAL.encode(), b"GPS"))


def test_grading_writes_nothing(grader, tmp_path, monkeypatch):
    home, temporary = tmp_path / "empty_home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert [one.status for one in grader.grade([("a.png", png("red", 1)), ("b.png", b"no image")])]
    assert [*home.rglob("*"), *temporary.rglob("*")] == []


def test_a_name_with_a_colon_in_an_archive_is_graded_and_a_drive_is_not(grader):
    opened = io.BytesIO()
    with zipfile.ZipFile(opened, "w") as archive:
        archive.writestr("scan 10:30.jpg", png("red", 1))
        archive.writestr("C:/scan.jpg", png("red", 2))
    expansion = expand_uploads([("a.zip", opened.getvalue())])
    assert [name for name, _ in expansion.items] == ["a.zip/scan 10:30.jpg"]
    assert [entry.name for entry in expansion.skipped] == ["a.zip/C:/scan.jpg"]
    [grade] = grader.grade(expansion.items)
    assert grade.status == "graded"
