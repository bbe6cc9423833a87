import json

from lib.data.library import open_dataset


def _run(command, *arguments):
    done = command(*arguments, "--json")
    assert done.status == 0, done.err
    return json.loads(done.out.splitlines()[-1])


def test_images_are_edited_and_the_log_is_listed(command, images):
    before = _run(command, "datasets", "import", images, "--name", "colours")["version"]
    done = _run(
        command, "datasets", "edit", "colours", "--exclude", "cold/0.png", "--exclude", "cold/1.png",
        "--relabel", "cold/2.png=warm", "--part", "warm/3.png=test", "--reason", "looked at again",
    )  # fmt: skip
    assert [(one["kind"], one["value"], len(one["image_ids"])) for one in done["edits"]] == [
        ("exclude", "", 2), ("relabel", "warm", 1), ("split", "test", 1),
    ]  # fmt: skip
    assert done["version"] == open_dataset("colours").version != done["version_before"] == before
    shown = _run(command, "datasets", "show", "colours")
    assert (shown["num_images"], shown["num_excluded"], shown["num_edits"]) == (24, 2, 3)
    assert sum(row["count"] for row in shown["counts"]) == 22
    listed = command("datasets", "edits", "colours")
    assert "2 images excluded" in listed.out
    assert "1 image relabelled as warm" in listed.out
    assert "looked at again" in listed.out
    undone = command("datasets", "edit", "colours", "--undo", "1", "--undo", "2", "--undo", "3")
    assert f"colours is at version {before} now" in undone.out
    assert "undone" in command("datasets", "edits", "colours").out


def test_what_does_not_fit_changes_nothing(command, images):
    _run(command, "datasets", "import", images, "--name", "colours")
    for arguments, why in (
        ((), "Nothing to change: give --exclude"),
        (("--exclude", "cold/0.png", "--relabel", "cold/77.png=warm"), "no image 'cold/77.png'"),
        (("--relabel", "cold/0.png"), "as ID=CLASS"),
        (("--relabel", "cold/0.png=hot"), "There is no class 'hot'"),
        (("--undo", "1"), "There is no edit '1'"),
    ):
        done = command("datasets", "edit", "colours", *arguments)
        assert (done.status, why in done.err) == (2, True), done.err
    assert _run(command, "datasets", "edits", "colours")["edits"] == []
    assert "No image of colours was edited." in command("datasets", "edits", "colours").out
