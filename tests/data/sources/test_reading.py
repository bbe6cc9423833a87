"""Options of label files that several sources share."""

import pytest

from lib.data.sources.reading import READING_OPTIONS, called, is_reading, reading_of
from lib.errors import UserError


def test_the_options_are_those_of_a_scan():
    assert all(is_reading(option.name) for option in READING_OPTIONS)
    assert not is_reading("path")


def test_label_files_are_looked_for_inside_and_beside(tmp_path):
    inside, beside = tmp_path / "unpacked", tmp_path / "downloads"
    for folder, name in ((inside, "a.csv"), (beside, "b.csv")):
        folder.mkdir()
        (folder / name).write_text("")
    values = {"path": "x", "labels": ("a.csv", "b.csv"), "pairs": False}
    options = reading_of(values, inside, beside=beside)
    assert options.labels == (str(inside / "a.csv"), str(beside / "b.csv"))
    assert not options.pairs
    with pytest.raises(UserError, match=r"There is no label file c\.csv, here or in pets\.zip or beside it"):  # noqa: SIM117
        with called(inside, "pets.zip"):
            reading_of({"labels": ("c.csv",)}, inside, beside=beside)
