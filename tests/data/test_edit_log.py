import json
from pathlib import Path

import pytest

from lib.data.edit_log import (
    LOG_FILE,
    EditLog,
    ImageState,
    append_line,
    carry_log,
    edited_version,
    new_line,
    read_log,
)
from lib.errors import UserError


def _log(*edits: tuple) -> EditLog:
    log = EditLog()
    for kind, ids, value in edits:
        log = log.with_line(new_line(log, kind, ids, value=value))
    return log


def _write(folder: Path, log: EditLog, *edits: tuple) -> EditLog:
    for kind, ids, value in edits:
        append_line(folder, new_line(log, kind, ids, value=value))
        log = read_log(folder)
    return log


def test_the_state_is_that_of_the_edits_in_effect_whatever_their_order():
    one = _log(("exclude", ["a", "b"], ""), ("relabel", ["b"], "cat"), ("split", ["c"], "test"))
    other = _log(
        ("split", ["c"], "train"), ("split", ["c"], "test"), ("relabel", ["b"], "cat"), ("exclude", ["b"], ""),
        ("exclude", ["a"], ""),
    )  # fmt: skip
    assert one.states == {
        "a": ImageState(None, None, True), "b": ImageState("cat", None, True), "c": ImageState(None, "test", False)
    }  # fmt: skip
    assert one.states == other.states
    assert one.digest == other.digest != 0
    assert edited_version("v", one.digest) == edited_version("v", other.digest) != "v"
    assert edited_version("v", 0) == "v"


def test_an_undo_takes_one_edit_back_and_an_undo_of_the_undo_brings_it_back():
    log = _log(("relabel", ["a"], "cat"), ("relabel", ["a"], "dog"), ("exclude", ["b"], ""))
    before = log.digests[-2]
    undone = log.with_line(new_line(log, "undo", ["b"], value="3"))
    assert undone.digest == before
    assert [edit.is_in_effect for edit in undone.edits] == [True, True, False, True]
    again = undone.with_line(new_line(undone, "undo", ["b"], value="4"))
    assert again.digest == log.digest
    thrice = again.with_line(new_line(again, "undo", ["b"], value="5"))
    assert thrice.digest == before
    earlier = log.with_line(new_line(log, "undo", ["a"], value="1"))  # the later relabel of the image stays
    assert earlier.states["a"].label == "dog"


def test_a_restored_image_and_one_relabelled_as_imported_are_as_if_nothing_had_been():
    log = _log(("exclude", ["a"], ""), ("restore", ["a"], ""), ("relabel", ["a"], "cat"))
    log = log.with_line(new_line(log, "relabel", ["a"], value="dog", as_imported=["a"]))
    assert (log.states, log.digest) == ({}, 0)
    assert log.state_with(log.digests[3]).states == {"a": ImageState("cat")}


def test_a_line_that_was_cut_off_is_noticed_and_the_next_edit_stands(tmp_path: Path):
    log = _write(tmp_path, EditLog(), ("exclude", ["a"], ""), ("exclude", ["b"], ""))
    path = tmp_path / LOG_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    torn = read_log(tmp_path)
    assert (list(torn.states), len(torn.notices)) == (["a"], 1)
    assert "Line 2" in torn.notices[0]
    assert "make it again" in torn.notices[0]
    after = _write(tmp_path, torn, ("exclude", ["c"], ""))
    assert list(after.states) == ["a", "c"]
    assert len(after.notices) == 1  # it is never lost silently
    assert path.read_bytes().startswith(whole[:-20] + b"\n")
    path.write_bytes(whole[:-1])  # only its end is missing: the edit is whole
    assert read_log(tmp_path).states == log.states
    assert list(_write(tmp_path, log, ("exclude", ["c"], "")).states) == ["a", "b", "c"]
    assert read_log(tmp_path).notices == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "Expecting value"),
        ("[1]", "no JSON object"),
        ('{"kind": "burn", "edit_id": "9", "time_s": 1, "image_ids": []}', "unknown kind, 'burn'"),
        ('{"kind": "relabel", "edit_id": "9", "time_s": 1, "image_ids": ["a"]}', "cannot have the value None"),
        ('{"kind": "split", "edit_id": "9", "time_s": 1, "image_ids": ["a"], "value": "x"}', "cannot have the value"),
        ('{"kind": "undo", "edit_id": "9", "time_s": 1, "image_ids": ["a"], "value": "8"}', "not before it"),
        ('{"kind": "exclude", "edit_id": "1", "time_s": 1, "image_ids": ["a"]}', "no new number"),
        ('{"kind": "exclude", "edit_id": "9", "time_s": 1, "image_ids": "a"}', "no list of names"),
        ('{"kind": "exclude", "edit_id": "9", "image_ids": ["a"]}', "time_s"),
        ('{"kind": "exclude", "format_version": 2}', "newer than 1; update the program"),
    ],
)
def test_a_line_that_does_not_fit_is_one_clear_sentence(tmp_path: Path, line: str, why: str):
    _write(tmp_path, EditLog(), ("exclude", ["a"], ""))
    with (tmp_path / LOG_FILE).open("a") as opened:
        opened.write(f"{line}\n")
    with pytest.raises(UserError, match=r"Line 2 of the edit log .* does not fit") as caught:
        read_log(tmp_path)
    assert why in str(caught.value)


def test_a_log_taken_along_says_what_fell_away_and_brings_it_back_when_the_image_is(tmp_path: Path):
    old, new, newer = (tmp_path / name for name in ("old", "new", "newer"))
    for folder in (old, new, newer):
        folder.mkdir()
    log = _write(
        old, EditLog(), ("exclude", ["a", "b"], ""), ("relabel", ["c"], "cat"), ("relabel", ["d"], "dog"),
        ("exclude", ["x"], ""), ("restore", ["x"], ""),
    )  # fmt: skip
    assert carry_log(old, new, ["b", "c", "d"], ["dog"]) == 2  # the image a, and the class of c
    assert read_log(new).states == {"b": ImageState(None, None, True), "d": ImageState("dog")}
    assert carry_log(new, newer, ["a", "b", "c", "d"], ["cat", "dog"]) == 0
    assert read_log(newer).states == log.states
    assert read_log(newer).digest == log.digest
    assert len(read_log(newer).edits) == 5  # lines of the program's own are none


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = _write(tmp_path, EditLog(), ("exclude", ["a"], ""))
    monkeypatch.setattr("lib.data.edit_log.os.write", lambda *_: 3)
    with pytest.raises(UserError, match="The edit was not kept"):
        append_line(tmp_path, new_line(log, "exclude", ["b"]))


def test_lines_say_when_and_are_plain_json(tmp_path: Path):
    _write(tmp_path, EditLog(), ("exclude", ["é"], ""))
    line = json.loads((tmp_path / LOG_FILE).read_text())
    assert (line["edit_id"], line["kind"], line["image_ids"]) == ("1", "exclude", ["é"])
    assert line["time_s"] > 1_700_000_000
