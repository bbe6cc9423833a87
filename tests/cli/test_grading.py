import csv
import json
import zipfile

from lib import tracking


def _run_id():
    return next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)


def test_files_folders_and_zips_give_one_row_a_file(command, trained, tmp_path):
    warm = trained / "colours" / "warm"
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("words")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(warm / "1.png", "inside/1.png")
    out = tmp_path / "report.csv"

    answer = command(
        "grade", warm / "0.png", tmp_path / "broken.jpg", tmp_path / "folder", tmp_path / "more.zip",
        "--run", _run_id(), "--out", out, "--json",
    )  # fmt: skip

    assert answer.status == 0, answer.err
    content = json.loads(answer.out.splitlines()[-1])
    assert [image["name"].rsplit("/", 1)[-1] for image in content["images"]] == [
        "0.png", "broken.jpg", "notes.txt", "1.png",
    ]  # fmt: skip
    assert [image["status"] == "refused" for image in content["images"]] == [False, True, True, False]
    assert all(image["reason"] for image in content["images"] if image["status"] == "refused")
    assert len(list(csv.DictReader(out.open()))) == 4


def test_an_exported_bundle_grades_alike(command, trained, tmp_path):
    image, bundle = trained / "colours" / "cold" / "3.png", tmp_path / "bundle.zip"
    exported = command("export", "--run", _run_id(), "--out", bundle)
    assert exported.status == 0, exported.err
    here = json.loads(command("grade", image, "--run", _run_id(), "--json").out)["images"][0]
    there = json.loads(command("grade", image, "--run", bundle, "--json").out)["images"][0]
    assert there["probabilities"] == here["probabilities"]
    assert "cold" in command("grade", image, "--run", bundle, "--out", tmp_path / "report.html").out
    assert "<html" in (tmp_path / "report.html").read_text()


def test_bad_input_is_explained(command, trained, tmp_path):
    for arguments, expected in (
        (["grade", tmp_path / "none.jpg", "--run", _run_id()], "There is no file or folder"),
        (["grade", tmp_path, "--run", "zz"], "There is no run 'zz'"),
        (["grade", tmp_path, "--run", _run_id(), "--out", "report.doc"], "A report ends in .csv, .json, .html, .pdf"),
        (["grade", tmp_path, "--run", _run_id(), "--out", tmp_path / "no" / "r.csv"], "does not exist; make it"),
        (["grade", tmp_path, "--run", _run_id()], "There is no file in"),
        (["export", "--run", _run_id(), "--out", "bundle.tar"], "must end in .zip"),
    ):
        answer = command(*arguments)
        assert (answer.status, answer.err.count("\n")) == (2, 1), answer.err
        assert expected in answer.err


def test_the_paper_and_what_is_said_of_the_folder(command, trained, tmp_path):
    out = tmp_path / "report.pdf"
    answer = command("grade", trained / "colours" / "warm", "--run", _run_id(), "--out", out, "--drift")
    assert answer.status == 0, answer.err
    assert "Of 12 files:" in answer.out
    assert out.read_bytes().startswith(b"%PDF-")


def test_an_interrupted_grading_keeps_what_was_graded(command, trained, tmp_path, monkeypatch):
    from lib.grading.grader import Grader

    whole = Grader.grade

    def grade_two(self, items, **options):
        found = whole(self, items, **options)
        yield next(found)
        yield next(found)
        raise KeyboardInterrupt

    monkeypatch.setattr(Grader, "grade", grade_two)
    out = tmp_path / "report.csv"
    answer = command("grade", trained / "colours" / "warm", "--run", _run_id(), "--out", out)
    assert answer.status == 130
    assert "Interrupted: 2 of 12 files were graded." in answer.err
    rows = list(csv.DictReader(out.open()))
    assert [row["folder"] for row in rows] == ["Interrupted: 2 of 12 files were graded."] * 2
