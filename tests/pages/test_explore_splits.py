"""Explore data: a division is looked at, kept, undone, and read from a file of its own."""

import pandas as pd
import pytest

from lib.audit.audited import copy_numbers
from lib.data.library import open_dataset
from lib.data.split_files import split_bytes, split_rows
from lib.data.split_plan import SplitPlan, draw_split
from tests.pages.scene import link, make_dataset, open_page, plain_words, words


@pytest.fixture
def dataset():
    """The tiny set, whose near duplicates are known, so that no page waits."""
    make_dataset()
    found = open_dataset("tiny")
    copy_numbers(found)
    return found


def test_a_division_is_drawn_kept_and_undone(dataset):
    at = open_page("explore_data", dataset="tiny", tab="splits")
    assert "Drawn by split seed 0" in words(at)
    at = open_page("explore_data", dataset="tiny", tab="splits", way="draw")
    at.number_input("splits_test").set_value(40).run()
    at.number_input("splits_val").set_value(20).run()
    table = at.dataframe[0].value
    assert table["Test"].tolist() == ["4 · 40\u00a0%", "4 · 40\u00a0%", "8 · 40\u00a0%"]
    assert "would be in another part than now" in words(at)
    assert open_dataset("tiny").version == dataset.version  # nothing is kept yet
    at.button(f"splits_keep_{dataset.version}").click().run()
    assert not at.error
    kept = open_dataset("tiny")
    assert (kept.split(0) == "test").sum() == 8
    assert kept.edits[0].reason == "40% test, 20% validation, seed 0, image by image, every class alike"
    assert link(at, "way") == ""
    assert "Fixed by hand for 20 images" in words(at)
    at.button("undo_split_button").click().run()
    assert open_dataset("tiny").version == dataset.version
    assert "Drawn by split seed 0" in words(at)


def test_what_cannot_be_divided_says_why(dataset):
    at = open_page("explore_data", dataset="tiny", tab="splits", way="draw")
    at.number_input("splits_test").set_value(90).run()
    assert "leave nothing to train" in at.error[0].value
    assert not [button for button in at.button if button.label == "Keep this division"]


def test_a_file_is_checked_before_it_can_be_kept(dataset):
    split = draw_split(dataset, SplitPlan(test_share=0.3, val_share=0.3, seed=2))
    at = open_page("explore_data", dataset="tiny", tab="splits", way="file")
    at.get("file_uploader")[0].upload("mine.csv", split_bytes(dataset, split, "mine.csv"), "text/csv").run()
    assert not at.error
    at.button(f"splits_keep_{dataset.version}").click().run()
    assert (open_dataset("tiny").split(0) == split).all()
    table: pd.DataFrame = split_rows(dataset, split).assign(group="one")
    at = open_page("explore_data", dataset="tiny", tab="splits", way="file")
    at.get("file_uploader")[0].upload("other.csv", table.to_csv(index=False).encode(), "text/csv").run()
    assert "in more than one part" in plain_words(at)
    assert not [button for button in at.button if button.label == "Keep this division"]
