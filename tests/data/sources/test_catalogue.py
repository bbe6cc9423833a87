"""The sources that lie in files of their own are all in the table, and a path finds its own."""

import pytest

from lib.data.sources.catalogue import SOURCES, find_source


def test_the_folder_stands_first_and_every_source_says_what_it_is():
    assert SOURCES.names[0] == "folder"
    assert {"archive", "unlabelled"} <= set(SOURCES.names)
    for spec in SOURCES:
        assert spec.title
        assert spec.summary.endswith(".")
        assert len({option.name for option in spec.options}) == len(spec.options)
        for option in spec.options:
            assert option.title
            assert option.default is None or option.read(option.default) == option.default


@pytest.mark.parametrize(
    ("name", "source"), [("a.zip", "archive"), ("a.TAR.GZ", "archive"), ("a.jpg", "folder"), ("d", "folder")]
)
def test_a_path_is_of_a_source(tmp_path, name, source):
    (tmp_path / name).mkdir() if name == "d" else (tmp_path / name).write_bytes(b"")
    assert find_source(tmp_path / name).name == source
