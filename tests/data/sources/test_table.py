"""What an entry of the table of sources checks, before its reader is called."""

from pathlib import Path

import pytest

from lib.data.sources.table import FoundImages, SourceOption, SourceRequest, SourceSpec
from lib.errors import UserError


def read(request: SourceRequest) -> FoundImages:
    raise NotImplementedError


SPEC = SourceSpec(
    name="toy",
    title="Toy",
    summary="",
    read=read,
    options=(
        SourceOption(name="path", title="Where it is", kind=Path, is_required=True),
        SourceOption(name="size", title="Size", kind=int, default=28, choices=(28, 64)),
        SourceOption(name="all", title="All of it", kind=bool, default=True),
        SourceOption(name="labels", title="Labels", kind=tuple, default=()),
        SourceOption(name="word", title="A word"),
    ),
)


def test_texts_become_what_the_options_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"path": "a/b", "size": "64", "all": "No", "labels": "x.csv", "word": "w"}
    values = SPEC.complete(given)
    assert values == {"path": tmp_path / "a/b", "size": 64, "all": False, "labels": ("x.csv",), "word": "w"}
    assert SPEC.complete(values) == values
    assert SPEC.complete({"path": tmp_path, "size": None, "labels": ["a", "b"]}) == {
        "path": tmp_path, "size": 28, "all": True, "labels": ("a", "b"), "word": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nope": 1}, "The source toy has no option nope'?; it knows: path, size, all, labels, word."),
        ({}, "The source toy needs its option path: where it is."),
        ({"path": "  "}, "needs its option path"),
        ({"path": "a\0b"}, "The option path is a path"),
        ({"path": 3}, "The option path is a path, received 3"),
        ({"path": "a", "size": "64.0"}, "The option size is a whole number, received '64.0'"),
        ({"path": "a", "size": "32"}, "The option size is one of 28, 64, received '32'"),
        ({"path": "a", "all": "perhaps"}, "The option all is yes or no, received 'perhaps'"),
        ({"path": "a", "word": 3}, "The option word is a text, received 3"),
    ],
)
def test_what_is_none_of_it_is_refused_in_one_sentence(given, said):
    with pytest.raises(UserError, match=said.replace("nope'?", "'nope'")):
        SPEC.complete(given)


def test_paths_that_are_not_allowed_are_refused(tmp_path):
    assert SPEC.complete({"path": tmp_path}, is_allowed=lambda path: path == tmp_path)["path"] == tmp_path
    with pytest.raises(UserError, match="is outside the folders that the dashboard may read"):
        SPEC.complete({"path": tmp_path / "x"}, is_allowed=lambda path: path == tmp_path)


def test_one_import_is_told_from_another_by_its_path_or_its_values(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert SPEC.key({"path": tmp_path / "link"}) == str(tmp_path.resolve())
    assert SPEC.key({"size": 28, "word": None}) == "toy (size=28)"


def test_a_folder_is_filled_once_and_whole(tmp_path):
    request = SourceRequest(values={}, folder=tmp_path / "set" / "originals")

    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("")
        raise UserError("Stopped in the middle.")

    with pytest.raises(UserError):
        request.filled_folder(fail)
    assert not request.folder.exists()
    request = SourceRequest(values={}, folder=tmp_path / "other" / "originals")
    assert [path.name for path in request.filled_folder(lambda f: (f / "a").write_text("")).iterdir()] == ["a"]  # type: ignore[func-returns-value]
    request.filled_folder(fail)  # which is there already
