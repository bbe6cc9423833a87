import json

from lib.grading.corrections import correct


def test_corrections_are_listed_undone_and_exported(command, home, tmp_path):
    assert "No corrections yet" in command("corrections", "list").err
    made = correct("a" * 64, "cat", file="1.png", run="r1", given="dog")
    correct("b" * 64, "dog", file="2.png", run="r2", given="cat")
    listed = json.loads(command("corrections", "list", "--json").out)["corrections"]
    assert [(one["file"], one["corrected"]) for one in listed] == [("1.png", "cat"), ("2.png", "dog")]
    answer = command("corrections", "export", "--out", tmp_path / "out", "--run", "r1")
    assert answer.status == 0, answer.err
    assert (tmp_path / "out" / "labels.csv").read_bytes() == b"image,class\r\n1.png,cat\r\n"
    assert "no longer corrected to cat" in command("corrections", "undo", made.correction_id).out
    assert "1.png" not in command("corrections", "list").out
    for arguments in (["undo", "zz"], ["export", "--out", tmp_path / "out"]):
        answer = command("corrections", *arguments)
        assert (answer.status, answer.err.count("\n")) == (2, 1), answer.err
