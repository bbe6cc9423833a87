"""Explore data, view "Storage": what takes room, deleted and brought back, and the quota."""

from lib.data.library import list_datasets
from lib.quota import quota_bytes, set_quota
from tests.pages.scene import make_dataset, open_page, words


def test_what_takes_room_is_deleted_and_brought_back_and_a_quota_is_set():
    make_dataset()
    at = open_page("explore_data", tab="storage")
    assert not at.exception
    assert "Data sets" in at.dataframe[0].value["Kind"].tolist()
    at.multiselect(key="storage_chosen").set_value(["dataset/tiny"]).run()
    at.button(key="storage_delete").click().run()
    assert not at.exception
    assert list_datasets() == []
    assert "Deleted 1 thing" in words(at)
    at.button(key="undo_data set_button").click().run()
    assert [one.name for one in list_datasets()] == ["tiny"]
    at = open_page("explore_data", tab="storage")
    at.number_input(key="storage_quota").set_value(2.0).run()
    assert quota_bytes() == 2 * 2**30
    assert "of a quota of 2.0 GiB" in words(at)
    set_quota(None)
