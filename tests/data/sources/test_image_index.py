"""Which file a name in a table means."""

from lib.data.sources.files import FoundFile
from lib.data.sources.image_index import ImageIndex


def index_of(*paths, **options):
    from pathlib import Path

    return ImageIndex([FoundFile(Path("/r") / path, tuple(path.split("/"))) for path in paths], **options)


def found(index, name, **options):
    return [file.key for file in index.find(name, **options)]


def test_a_name_is_the_end_of_a_path_with_or_without_its_suffix():
    index = index_of("train/1.png", "test/1.png", "test/2.jpg")
    assert (
        found(index, "2") == found(index, "C:\\data\\test\\2.jpg") == found(index, "/far/away/2.jpg") == ["test/2.jpg"]
    )
    assert found(index, "1.png") == ["train/1.png", "test/1.png"]
    assert found(index, "1", beside=("test",)) == ["test/1.png"]
    assert found(index, "train/2") == []  # a folder that is known is meant
    assert found(index, "../2.jpg") == []
    assert index.num_named(["1", "2", "", "3"], beside=()) == 2


def test_case_and_suffix_may_differ_only_where_the_index_is_loose():
    paths = ("IM1.JPG", "caf\u00e9.png")
    assert found(index_of(*paths), "im1.tif") == []
    assert found(index_of(*paths, is_loose=True), "im1.tif") == ["IM1.JPG"]
    assert found(index_of(*paths, is_loose=True), "im1.v2") == []  # no suffix of an image
    assert found(index_of(*paths), "cafe\u0301.png") == ["caf\u00e9.png"]


def test_what_is_behind_is_asked_last():
    front = index_of("train/1.png", is_loose=True)
    both = ImageIndex(front.find("1"), index_of("test/1.png", "test/2.png"))
    assert (found(both, "1"), found(both, "2")) == (["train/1.png"], ["test/2.png"])
