"""Images without labels get them by keyboard, in a real browser."""

import pytest

from lib.data.importing import import_from
from lib.data.library import open_dataset

from .conftest import Server, draw_shape
from .test_journey import wait_until_drawn

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_images_are_labelled_by_keys_and_one_is_taken_back(server: Server, page, tmp_path):
    (tmp_path / "walk").mkdir()
    for number in range(6):
        draw_shape(("red_circle", "green_square")[number % 2], number).save(tmp_path / "walk" / f"{number}.png")
    import_from("unlabelled", {"path": tmp_path / "walk", "classes": "circle,square"})
    page.goto(server.link("explore_data", dataset="walk"))
    wait_until_drawn(page)
    expect(page.get_by_text("6 images once through")).to_be_visible()  # the last of the page
    page.wait_for_function("window.transferscopeListens")
    page.wait_for_timeout(1000)  # the page draws itself again once it knows the theme and the address
    wait_until_drawn(page)
    for done, key in enumerate(("1", "2", "1", "2"), start=1):
        page.keyboard.press(key)
        expect(page.get_by_text(f"{done} of 6 images labelled")).to_be_visible()
    page.keyboard.press("Backspace")
    expect(page.get_by_text("3 of 6 images labelled")).to_be_visible()
    expect(page.get_by_text("3.png", exact=True)).to_be_visible()  # its image is asked for again
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("4.png", exact=True)).to_be_visible()
    page.keyboard.press("x")
    expect(page.get_by_text("1 left out")).to_be_visible()
    found = open_dataset("walk")
    labels = dict(zip(found.table["path"], found.class_labels, strict=True))
    assert labels == {
        "0.png": "circle", "1.png": "square", "2.png": "circle", "3.png": "no label", "4.png": "no label",
        "5.png": "no label",
    }  # fmt: skip
    assert found.table["path"][found.has_exclusion].tolist() == ["4.png"]
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert page.locator(".st-key-explore_view").bounding_box()["height"] < 40  # all views in one row
