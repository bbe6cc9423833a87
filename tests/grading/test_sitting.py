"""A sitting: each content graded once, order and names kept, limits."""

import gc
import io
import weakref
import zipfile

import numpy as np

from lib.grading import sitting as module
from lib.grading.grades import Grade
from lib.grading.sitting import Sitting
from tests.checks import archives as attacks


def grade_all(sitting, run_id):
    """Grade what waits, in the reverse order, and say how much that was."""
    waiting = sitting.waiting(run_id)
    for sha256, content in reversed(waiting):
        pixels = np.full((8, 8, 3), len(content), np.uint8)
        sitting.keep(run_id, sha256, Grade(sha256, status="graded", class_name="cat", target=0, pixels=pixels))
    return len(waiting)


def test_adding_image_21_computes_only_image_21():
    sitting = Sitting()
    sitting.add((f"{row}.png", b"x" * row) for row in range(20))
    assert grade_all(sitting, "run") == 20
    assert sitting.add([("20.png", b"x" * 20), ("3.png", b"xxx")]) == 1
    assert [content for _, content in sitting.waiting("run")] == [b"x" * 20]
    assert grade_all(sitting, "run") == 1
    assert [grade.name for grade, _ in sitting.rows("run")] == [f"{row}.png" for row in range(21)]


def test_the_same_content_under_two_names_is_two_rows_and_one_computation():
    sitting = Sitting()
    sitting.add([("a.png", b"same"), ("b.png", b"same")])
    assert grade_all(sitting, "run") == 1
    assert [grade.name for grade, _ in sitting.rows("run")] == ["a.png", "b.png"]


def test_another_run_grades_the_same_files_again():
    sitting = Sitting()
    sitting.add([("a.png", b"a")])
    grade_all(sitting, "first")
    assert len(sitting.waiting("second")) == 1
    assert sitting.rows("second") == []
    for run in "bcdef":
        grade_all(sitting, run)
    assert len(sitting.waiting("first")) == 1  # only the last four runs are kept


def test_an_interrupted_grading_goes_on_where_it_was():
    sitting = Sitting()
    sitting.add([("a.png", b"a"), ("b.png", b"b")])
    sha256, _ = sitting.waiting("run")[0]
    sitting.keep("run", sha256, Grade(sha256, status="refused", reason="no"))
    assert [content for _, content in sitting.waiting("run")] == [b"b"]
    assert [(grade.name, jpeg) for grade, jpeg in sitting.rows("run")] == [("a.png", None)]


def test_pixels_come_back_from_jpeg():
    sitting = Sitting()
    sitting.add([("a.png", b"x" * 90)])
    grade_all(sitting, "run")
    (light, jpeg), (full,) = sitting.rows("run")[0], sitting.grades("run")
    assert light.pixels is None
    assert jpeg.startswith(b"\xff\xd8")
    assert full.pixels.shape == (8, 8, 3)
    assert abs(int(full.pixels.mean()) - 90) <= 1


def test_left_out_files_of_an_archive_are_rows_too_once():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"a")
        archive.writestr(".hidden", b"h")
    sitting = Sitting()
    for _ in range(2):
        sitting.add([("set.zip", buffer.getvalue())])
    grade_all(sitting, "run")
    assert [(grade.name, grade.status) for grade, _ in sitting.rows("run")] == [
        ("set.zip/a.png", "graded"), ("set.zip/.hidden", "refused"),
    ]  # fmt: skip
    assert len(sitting) == 2


def test_limits_of_a_sitting(monkeypatch):
    monkeypatch.setattr(module, "MAX_UPLOAD_FILES", 2)
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 100)
    sitting = Sitting()
    sitting.add([("large.png", b"x" * 101), ("a.png", b"a"), ("b.png", b"b"), ("c.png", b"c")])
    assert [file.name for file in sitting.files] == ["a.png", "b.png"]
    assert {entry.name for entry in sitting.skipped} == {"large.png", "c.png"}


def test_clear_forgets_archives_their_nests_and_all_grades_in_place(tmp_path):
    """An archive in an archive, a bomb and a good image: listed, graded, cleared; then the room is there again."""
    nest = attacks.nested(tmp_path / "nest.zip", 1, depth=2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.write(nest, "nest.zip")
        archive.writestr("a.png", b"a" * 100)
    sitting = Sitting()
    for _ in range(2):
        sitting.add([("set.zip", buffer.getvalue()), ("nest.zip", nest.read_bytes())])
        grade_all(sitting, "run")
        reasons = {grade.name: grade.reason for grade, _ in sitting.rows("run") if grade.status == "refused"}
        assert set(reasons) == {"set.zip/nest.zip", "nest.zip/inner.zip"}
        assert all("archive inside an archive" in reason for reason in reasons.values())
        held = [weakref.ref(grade) for grade, _ in sitting._grades["run"].values()]
        sitting.clear()
        assert (len(sitting), sitting.rows("run"), sitting.waiting("run"), sitting._num_bytes()) == (0, [], [], 0)
        gc.collect()
        assert [reference() for reference in held] == [None]


def test_an_archive_may_unpack_to_what_the_sitting_has_left(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 150)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("large.png", b"b" * 60)
        archive.writestr("small.png", b"c" * 40)
    sitting = Sitting()
    sitting.add([("a.png", b"a" * 100)])
    sitting.add([("set.zip", buffer.getvalue())])
    assert [file.name for file in sitting.files] == ["a.png", "set.zip/small.png"]
    assert "archives unpack to more than" in sitting.skipped[0].reason
