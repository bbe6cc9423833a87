"""Archives made to do harm, odd names, limits; nothing is written anywhere."""

import gc
import io
import os
import stat
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lib.errors import UserError
from lib.grading import upload_session
from lib.grading.grades import Grade
from lib.grading.upload_session import UploadSession, expand_paths, expand_uploads
from tests.checks import archives as attacks


def make_zip(members, *, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def reasons(expansion):
    return {entry.name: entry.reason for entry in expansion.skipped}


def test_single_files_and_nested_folders_of_an_archive_keep_their_order():
    archive = make_zip([("b/deep/er/2.jpg", b"two"), ("a/1.jpg", b"one")])
    got = expand_uploads([("x.jpg", b"x"), ("set.zip", archive), ("y.jpg", b"y")])
    assert got.items == [
        ("x.jpg", b"x"), ("set.zip/b/deep/er/2.jpg", b"two"), ("set.zip/a/1.jpg", b"one"), ("y.jpg", b"y"),
    ]  # fmt: skip
    assert got.skipped == []


def test_an_archive_is_known_by_its_bytes_not_its_name():
    got = expand_uploads([("photo.jpg", make_zip([("a.jpg", b"a")])), ("fake.zip", b"no zip")])
    assert got.items == [("photo.jpg/a.jpg", b"a"), ("fake.zip", b"no zip")]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg", "..\\..\\b.jpg", "C:\\b.jpg"])
def test_paths_that_leave_the_archive_are_left_out(name):
    got = expand_uploads([("z.zip", make_zip([(name, b"data"), ("good.jpg", b"good")]))])
    assert got.items == [("z.zip/good.jpg", b"good")]
    assert ["out of the archive" in entry.reason for entry in got.skipped] == [True]


def test_hidden_and_system_files_are_listed_as_such():
    members = [
        (".DS_Store", b""),
        ("__MACOSX/._a.jpg", b""),
        ("a/.git/x.jpg", b""),
        ("Thumbs.db", b""),
        ("a.jpg", b"a"),
    ]
    got = expand_uploads([("z.zip", make_zip(members))])
    assert got.items == [("z.zip/a.jpg", b"a")]
    assert set(reasons(got).values()) == {"Hidden file."}
    assert len(got.skipped) == 4


def test_links_are_left_out():
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    got = expand_uploads([("z.zip", buffer.getvalue())])
    assert got.items == []
    assert reasons(got) == {"z.zip/link.jpg": "A link or special file, not an image."}


def test_bombs_and_nested_archives_are_left_out():
    members = [
        ("bomb.jpg", b"\0" * 3 * 2**20),
        ("inner.zip", make_zip([("a.jpg", b"a")])),
        ("blank.bmp", b"\0" * 2**19),
    ]
    got = expand_uploads([("z.zip", make_zip(members))])
    assert [name for name, _ in got.items] == ["z.zip/blank.bmp"]
    assert "100 times" in reasons(got)["z.zip/bomb.jpg"]
    assert "archive inside an archive" in reasons(got)["z.zip/inner.zip"]


def test_limits_on_size_number_and_entries(monkeypatch):
    monkeypatch.setattr(upload_session, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(upload_session, "MAX_ARCHIVE_BYTES", 150)
    monkeypatch.setattr(upload_session, "MAX_UPLOAD_FILES", 2)
    large = make_zip([("large.jpg", b"x" * 101), ("a.jpg", b"x" * 90), ("b.jpg", b"x" * 90), ("c.jpg", b"c")])
    got = expand_uploads([("z.zip", large), ("d.jpg", b"d")])
    assert [name for name, _ in got.items] == ["z.zip/a.jpg", "z.zip/c.jpg"]
    assert "Unpacks to more than" in reasons(got)["z.zip/large.jpg"]
    assert "archives unpack to more than" in reasons(got)["z.zip/b.jpg"]
    assert reasons(got)["d.jpg"] == "Only the first 2 files are graded at a time."
    monkeypatch.setattr(upload_session, "_MAX_ENTRIES", 3)
    assert "lists more than 3 entries" in reasons(expand_uploads([("z.zip", large)]))["z.zip"]


def test_encrypted_members_are_left_out():
    data = bytearray(make_zip([("a.jpg", b"a")]))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    assert "Encrypted" in reasons(expand_uploads([("z.zip", bytes(data))]))["z.zip/a.jpg"]


def test_damaged_and_empty_archives_are_reported():
    whole = make_zip([("a.jpg", b"a" * 50), ("b.jpg", b"b" * 50)], compression=zipfile.ZIP_STORED)
    flipped = bytearray(whole)
    flipped[whole.index(b"a" * 50)] ^= 0xFF
    got = expand_uploads([("cut.zip", whole[:60]), ("flip.zip", bytes(flipped)), ("empty.zip", make_zip([]))])
    assert [name for name, _ in got.items] == ["flip.zip/b.jpg"]
    assert "damaged" in reasons(got)["cut.zip"]
    assert "damaged here" in reasons(got)["flip.zip/a.jpg"]
    assert reasons(got)["empty.zip"] == "The archive is empty."


def test_paths_give_files_of_folders_and_archives(tmp_path):
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    (folder / ".secret").mkdir()
    for name in ("b.jpg", "sub/a.jpg", ".hidden.jpg", ".secret/x.jpg"):
        (folder / name).write_bytes(b"data")
    (tmp_path / "set.zip").write_bytes(make_zip([("z.jpg", b"zip")]))
    got = expand_paths([folder, tmp_path / "set.zip", folder / "b.jpg"])
    assert got.items == [
        (str(folder / "b.jpg"), folder / "b.jpg"), (str(folder / "sub/a.jpg"), folder / "sub/a.jpg"),
        ("set.zip/z.jpg", b"zip"), (str(folder / "b.jpg"), folder / "b.jpg"),
    ]  # fmt: skip
    assert set(reasons(got).values()) == {"Hidden file.", "Hidden folder."}


def test_paths_that_do_not_exist_are_an_error(tmp_path):
    with pytest.raises(UserError, match=r"There is no file or folder .*missing"):
        expand_paths([tmp_path / "missing"])


def test_linked_folders_are_followed_but_in_no_circle(tmp_path):
    (tmp_path / "far" / "more").mkdir(parents=True)
    (tmp_path / "far" / "more" / "2.jpg").write_bytes(b"two")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"one")
    (folder / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(folder)
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere")
    got = expand_paths([folder])
    assert [path for _, path in got.items] == [folder / "1.jpg", folder / "linked" / "more" / "2.jpg"]
    assert reasons(got) == {
        f"{folder}/linked/back": "A link that leads in a circle.",
        f"{folder}/gone.jpg": "Link to a file that does not exist.",
    }


def test_names_that_are_no_text_can_be_written_into_any_report(tmp_path):
    (tmp_path / os.fsdecode(b"x\xff.jpg")).write_bytes(b"one")
    ((name, path),) = expand_paths([tmp_path]).items
    assert name == f"{tmp_path}/x\\udcff.jpg"
    assert name.encode("utf-8")
    assert path.read_bytes() == b"one"


def grade_all(session, run_id):
    """Grade what waits, in the reverse order, and say how much that was."""
    waiting = session.waiting(run_id)
    for sha256, content in reversed(waiting):
        pixels = np.full((8, 8, 3), len(content), np.uint8)
        session.keep(run_id, sha256, Grade(sha256, status="graded", class_name="cat", target=0, pixels=pixels))
    return len(waiting)


def test_adding_image_21_computes_only_image_21():
    session = UploadSession()
    session.add((f"{row}.png", b"x" * row) for row in range(20))
    assert grade_all(session, "run") == 20
    assert session.add([("20.png", b"x" * 20), ("3.png", b"xxx")]) == 1
    assert [content for _, content in session.waiting("run")] == [b"x" * 20]
    assert grade_all(session, "run") == 1
    assert [grade.name for grade, _ in session.rows("run")] == [f"{row}.png" for row in range(21)]


def test_the_same_content_under_two_names_is_two_rows_and_one_computation():
    session = UploadSession()
    session.add([("a.png", b"same"), ("b.png", b"same")])
    assert grade_all(session, "run") == 1
    assert [grade.name for grade, _ in session.rows("run")] == ["a.png", "b.png"]


def test_another_run_grades_the_same_files_again():
    session = UploadSession()
    session.add([("a.png", b"a")])
    grade_all(session, "first")
    assert len(session.waiting("second")) == 1
    assert session.rows("second") == []
    for run in "bcdefghi":
        grade_all(session, run)
    assert len(session.waiting("first")) == 1  # only the last eight are kept


def test_an_interrupted_grading_goes_on_where_it_was():
    session = UploadSession()
    session.add([("a.png", b"a"), ("b.png", b"b")])
    sha256, _ = session.waiting("run")[0]
    session.keep("run", sha256, Grade(sha256, status="refused", reason="no"))
    assert [content for _, content in session.waiting("run")] == [b"b"]
    assert [(grade.name, jpeg) for grade, jpeg in session.rows("run")] == [("a.png", None)]


def test_pixels_come_back_from_jpeg():
    session = UploadSession()
    session.add([("a.png", b"x" * 90)])
    grade_all(session, "run")
    (light, jpeg), (full,) = session.rows("run")[0], session.grades("run")
    assert light.pixels is None
    assert jpeg.startswith(b"\xff\xd8")
    assert full.pixels.shape == (8, 8, 3)
    assert abs(int(full.pixels.mean()) - 90) <= 1


def test_left_out_files_of_an_archive_are_rows_too_once():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"a")
        archive.writestr(".hidden", b"h")
    session = UploadSession()
    for _ in range(2):
        session.add([("set.zip", buffer.getvalue())])
    grade_all(session, "run")
    assert [(grade.name, grade.status) for grade, _ in session.rows("run")] == [
        ("set.zip/a.png", "graded"), ("set.zip/.hidden", "refused"),
    ]  # fmt: skip
    assert len(session) == 2


def test_limits_of_a_session(monkeypatch):
    monkeypatch.setattr(upload_session, "MAX_UPLOAD_FILES", 2)
    monkeypatch.setattr(upload_session, "MAX_KEPT_BYTES", 100)
    session = UploadSession()
    session.add([("large.png", b"x" * 101), ("a.png", b"a")])
    session.add([("b.png", b"b"), ("c.png", b"c")])
    assert [file.name for file in session.files] == ["a.png", "b.png"]
    assert {entry.name for entry in session.skipped} == {"large.png", "c.png"}


def test_clear_forgets_archives_their_nests_and_all_grades_in_place(tmp_path):
    """An archive in an archive, a bomb and a good image: listed, graded, cleared; then the room is there again."""
    nest = attacks.nested(tmp_path / "nest.zip", 1, depth=2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.write(nest, "nest.zip")
        archive.writestr("a.png", b"a" * 100)
    session = UploadSession()
    for _ in range(2):
        session.add([("set.zip", buffer.getvalue()), ("nest.zip", nest.read_bytes())])
        grade_all(session, "run")
        reasons = {grade.name: grade.reason for grade, _ in session.rows("run") if grade.status == "refused"}
        assert set(reasons) == {"set.zip/nest.zip", "nest.zip/inner.zip"}
        assert all("archive inside an archive" in reason for reason in reasons.values())
        held = [weakref.ref(grade) for grade, _ in session._grades["run"].values()]
        session.clear()
        assert (
            len(session),
            session.rows("run"),
            session.waiting("run"),
            session.num_bytes,
        ) == (0, [], [], 0)
        gc.collect()
        assert [reference() for reference in held] == [None]


def test_an_archive_may_unpack_to_what_the_session_has_left(monkeypatch):
    monkeypatch.setattr(upload_session, "MAX_KEPT_BYTES", 150)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("large.png", b"b" * 60)
        archive.writestr("small.png", b"c" * 40)
    session = UploadSession()
    session.add([("a.png", b"a" * 100)])
    session.add([("set.zip", buffer.getvalue())])
    assert [file.name for file in session.files] == ["a.png", "set.zip/small.png"]
    assert "archives unpack to more than" in session.skipped[0].reason


def test_what_all_sessions_hold_is_bounded_too():
    session = UploadSession(room=lambda: 5)
    session.add([("large.png", b"x" * 6), ("small.png", b"x" * 5)])
    assert [file.name for file in session.files] == ["small.png"]
    assert "all its visitors" in session.skipped[0].reason


def test_pictures_count_and_go_where_the_session_is_full(monkeypatch):
    session = UploadSession()
    session.add([("a.png", b"a" * 200)])
    grade_all(session, "first")
    with_one_picture = session.num_bytes
    assert with_one_picture > 200
    monkeypatch.setattr(upload_session, "MAX_KEPT_BYTES", with_one_picture + 80)
    ((sha256, _),) = session.waiting("second")
    pixels = np.full((8, 8, 3), 200, np.uint8)
    session.keep("second", sha256, Grade("a", status="graded", pixels=pixels, cam=np.zeros(10)))
    assert session.num_bytes == with_one_picture + 80
    assert len(session.waiting("first")) == 1  # the older grades went first
    assert session.rows("second")[0][1] is not None
    session.keep("third", sha256, Grade("a", status="graded", pixels=pixels, cam=np.zeros(11)))
    kept, jpeg = session.rows("third")[0]
    assert (kept.status, kept.cam, jpeg) == ("graded", None, None)
    assert session.num_bytes == 200


def test_a_grade_that_comes_after_clear_is_not_kept():
    session = UploadSession()
    session.add([("a.png", b"a")])
    ((sha256, _),) = session.waiting("run")
    session.clear()
    session.keep("run", sha256, Grade("a.png", status="graded"))
    assert session.rows("run") == []
    assert session.content(sha256) is None


def test_the_verdict_on_a_map_stays_with_its_grade():
    session = UploadSession()
    session.add([("a.png", b"a")])
    grade_all(session, "run")
    ((grade, _),) = session.rows("run")
    session.keep_map_verdict("run", grade.sha256, "Read with care.")
    session.keep_map_verdict("other", grade.sha256, "No.")
    assert [grade.map_verdict for grade, _ in session.rows("run")] == ["Read with care."]


def test_files_of_a_folder_of_this_machine_are_taken_by_their_path(tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    session = UploadSession()
    assert session.add(expand_paths([tmp_path]).items) == 1
    assert session.add([("gone.png", tmp_path / "gone.png")]) == 0
    assert "cannot be read" in session.skipped[0].reason


def test_a_file_that_cannot_be_opened_ends_nothing(tmp_path, monkeypatch):
    for name in ("closed.jpg", "open.jpg"):
        (tmp_path / name).write_bytes(b"x")
    plain_open = Path.open

    def no_permission(path, *arguments, **options):
        if path.name == "closed.jpg":
            raise PermissionError(13, "Permission denied")
        return plain_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", no_permission)
    expansion = expand_paths([tmp_path / "closed.jpg", tmp_path / "open.jpg"])
    assert [path.name for _, path in expansion.items] == ["closed.jpg", "open.jpg"]
