"""Explore data, view "Storage": what takes room, deleted and brought back, and the quota."""

from lib import quota
from lib.data.library import list_datasets
from lib.quota import quota_bytes, set_quota
from pages.common import sidebar
from tests.pages.scene import make_dataset, open_page, page_links, words


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
    at.number_input(key="storage_quota").set_value(0.3).run()  # no whole number of bytes
    assert not at.exception
    assert quota_bytes() == int(0.3 * 2**30)
    set_quota(None)


def test_the_sidebar_says_when_the_quota_is_nearly_used(monkeypatch):
    make_dataset()
    monkeypatch.setattr(quota, "folder_bytes", lambda folder: 95 * 2**20)
    set_quota(1.0)
    at = open_page("explore_data")
    assert not any("of a quota" in one.value for one in at.sidebar.caption)
    set_quota(0.1)
    sidebar._room.clear()
    at.run()
    assert ":material/hard_drive: 95 MiB of a quota of 102 MiB used." in [one.value for one in at.sidebar.caption]
    assert "tab=storage" in page_links(at)["See what takes room"]
    at = open_page("explore_data", tab="storage")
    assert "93 % of the quota are used; imports and trainings that need more are refused." in words(at)
    set_quota(None)
