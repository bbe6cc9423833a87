import json

from tests.cli.conftest import write_images


def test_import_show_delete_and_restore(command, images):
    (images / "warm" / "notes.txt").write_text("not an image")
    imported = command("datasets", "import", images, "--name", "colours", "--json")
    assert imported.status == 0
    facts = json.loads(imported.out.splitlines()[-1])
    assert (facts["name"], facts["num_images"], facts["class_names"]) == ("colours", 24, ["cold", "warm"])
    assert sum(row["count"] for row in facts["counts"]) == 24
    assert [row["path"] for row in facts["left_out"]] == ["warm/notes.txt"]

    listed = json.loads(command("datasets", "list", "--json").out.splitlines()[-1])
    assert [row["name"] for row in listed["datasets"]] == ["colours"]
    shown = command("datasets", "show", "colours")
    assert "warm/notes.txt" in shown.out
    assert "train" in shown.out

    deleted = command("datasets", "delete", "colours")
    assert "Undo with: python -m lib datasets restore " in deleted.out
    assert "No data sets yet" in command("datasets", "list").err
    key = deleted.out.split()[-1]
    assert command("datasets", "restore", key).status == 0
    assert "colours" in command("datasets", "list").out


def test_the_generated_set_is_made_once(command):
    made = command("datasets", "make", "synthetic-fundus", "--per-class", 6, "--size", 64, "--seed", 3, "--json")
    assert made.status == 0
    facts = json.loads(made.out.splitlines()[-1])
    assert (facts["num_images"], facts["store_side_px"], facts["left_out"]) == (30, 64, [])


def test_the_generated_sets_options_and_their_limits(command):
    said = command("datasets", "make", "--help").out
    for words in ("--per-class", "default: 200", "--size", "default: 512", "--seed"):
        assert words in said
    for number in (-1, 1, 4, 100_001):  # one rule, and so one sentence
        answer = command("datasets", "make", "synthetic-fundus", "--per-class", number)
        assert (answer.status, answer.err) == (
            2, f"Error: The images per class must be 5 to 100000 (two a patient), not {number}.\n"
        )  # fmt: skip
    for option in (("--size", 20), ("--per-class", "few"), ("--seed", -1)):
        assert command("datasets", "make", "synthetic-fundus", *option).status == 2


def test_a_folder_without_classes_is_explained(command, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    one = write_images(tmp_path / "one")
    for path in (one / "warm").iterdir():
        path.unlink()
    (one / "warm").rmdir()
    for folder, expected in ((tmp_path / "none", "There is no folder"), (empty, "is empty"), (one, "only one class")):
        answer = command("datasets", "import", folder)
        assert answer.status == 2
        assert expected in answer.err
        assert answer.err.count("\n") == 1
