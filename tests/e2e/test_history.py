"""The browser's history and double clicks, which only a real browser has."""

from pathlib import Path

import pytest

from lib.data.importing import import_folder
from lib.data.library import list_datasets
from lib.settings import DEMO_DATASET
from lib.tracking.state import stored_states

from .conftest import Server
from .test_journey import assert_whole, state_of, wait_until_drawn

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = pytest.mark.browser

TITLE = "h1"


def go_back(page, words: str) -> None:
    """Press Back once and wait for a page of that title."""
    page.go_back()
    expect(page.locator(TITLE)).to_have_text(words)
    wait_until_drawn(page)


def entries(page) -> int:
    return page.evaluate("history.length")


def test_back_undoes_one_visible_step_and_pictures_open_in_this_tab(shapes: Path, server: Server, page, context):
    import_folder(shapes)
    page.goto(server.url)
    wait_until_drawn(page)
    before = entries(page)
    page.get_by_test_id("stSidebar").get_by_role("link", name="Explore data", exact=True).click()
    expect(page.locator(TITLE)).to_have_text("Explore data")
    wait_until_drawn(page)
    page.wait_for_url("**dataset=shapes**")
    page.locator("a[data-view-link]").nth(3).click()
    expect(page.locator(TITLE)).to_have_text("Look inside")
    page.wait_for_url("**stage=**image=**")
    wait_until_drawn(page)
    assert len(context.pages) == 1
    image = page.locator(".st-key-inside_images button p").first  # the name alone: the sign beside it is of the popover
    fourth = image.text_content()
    stage = page.locator(".st-key-inside_stage input")
    last = stage.input_value()

    page.get_by_text("Mean activation", exact=True).click()
    wait_until_drawn(page)
    page.locator("a[data-view-link]").first.click()  # the strip's first stage
    expect(stage).not_to_have_value(last)
    wait_until_drawn(page)
    expect(page.get_by_alt_text("Mean activation at", exact=False).first).to_be_visible()  # nothing else was reset
    image.click()
    page.get_by_test_id("stPopoverBody").locator("a[data-view-link]").nth(6).click()
    expect(image).not_to_have_text(fourth)
    wait_until_drawn(page)
    assert entries(page) == before + 4
    assert_whole(page)

    go_back(page, "Look inside")
    expect(image).to_have_text(fourth)
    expect(stage).not_to_have_value(last)
    go_back(page, "Look inside")
    expect(stage).to_have_value(last)
    expect(image).to_have_text(fourth)
    go_back(page, "Explore data")
    go_back(page, "See, train, compare, use")
    page.go_back()
    assert page.url == "about:blank"


def own_runs() -> list[str]:
    """The runs of this home that did not come with the program."""
    return [run.run_id for run in stored_states() if not run.recorded_on]


def test_a_double_click_is_one_click(shapes: Path, server: Server, page):
    import_folder(shapes)
    page.goto(server.link("train_model", dataset="shapes"))
    wait_until_drawn(page)
    start = page.get_by_role("button", name="Start training")
    start.dblclick()
    expect(state_of(page)).to_be_visible()
    wait_until_drawn(page)
    page.wait_for_timeout(2000)  # a second training would be in the queue by now
    assert len(own_runs()) == 1
    start.click()  # later, and meant
    expect(page.get_by_text("Queue", exact=False).first).to_be_visible()
    wait_until_drawn(page)
    assert len(own_runs()) == 2

    page.goto(server.link("explore_data", dataset="shapes", form="import"))
    wait_until_drawn(page)
    folder = page.locator(".st-key-explore_path input")
    folder.fill(str(shapes.rename(shapes.parent / "twin")))
    folder.press("Enter")
    page.get_by_role("button", name="Import", exact=True).dblclick()
    expect(page.get_by_text("Imported twin")).to_be_visible()
    wait_until_drawn(page)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    assert {summary.name for summary in list_datasets()} == {DEMO_DATASET, "shapes", "twin"}

    page.get_by_role("button", name="More settings").first.click()
    page.get_by_role("button", name="Delete this data set").dblclick()
    expect(page.get_by_text("Deleted twin")).to_be_visible()
    wait_until_drawn(page)
    assert [summary.name for summary in list_datasets()] == [DEMO_DATASET, "shapes"]
