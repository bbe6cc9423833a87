"""The main job in a real browser: see the frame, train, watch, stop, resume, grade."""

import re
from pathlib import Path

import pytest

from lib.data.importing import import_folder

from .conftest import Server, draw_shape

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = pytest.mark.browser

PAGES = {
    "start": "Start",
    "explore_data": "Explore data",
    "look_inside": "Look inside",
    "train_model": "Train model",
    "compare_runs": "Compare runs",
    "grade_images": "Grade images",
}
TRAINING_TIMEOUT_MS = 240_000


def wait_until_drawn(page) -> None:
    """Until the page's script has run through and shows its title."""
    expect(page.locator("h1").first).to_be_visible()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=120_000)


def assert_whole(page) -> None:
    """The frame stands around the page, and nothing on it went wrong."""
    sidebar = page.get_by_test_id("stSidebar")
    for title in PAGES.values():
        expect(sidebar.get_by_role("link", name=title, exact=True)).to_have_count(1)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)


def state_of(page):
    """The word that says how the shown run is doing."""
    return page.locator(".stMarkdownBadge").first


def choose_strategy(page, title: str) -> None:
    """Click on a strategy's card and wait until the page has taken it."""
    card = page.get_by_role("button", name=title)
    if not card.is_visible():
        page.get_by_text("more strategies").click()
    card.click()
    wait_until_drawn(page)


@pytest.mark.parametrize("name", PAGES)
def test_deep_link_as_first_request_shows_the_frame(name, shapes: Path, server: Server, page):
    import_folder(shapes)
    page.goto(server.link(name))
    wait_until_drawn(page)
    assert_whole(page)


def test_train_watch_and_grade(shapes: Path, server: Server, page, tmp_path: Path):
    import_folder(shapes)
    page.goto(server.link("train_model", dataset="shapes"))
    wait_until_drawn(page)
    choose_strategy(page, "Frozen features + MLP head")
    page.get_by_role("button", name="Start training").click()
    expect(state_of(page)).to_be_visible()
    page.wait_for_url("**run=*")
    page.reload()
    expect(state_of(page)).to_have_text("finished", timeout=TRAINING_TIMEOUT_MS)
    expect(page.get_by_text("Test accuracy")).to_be_visible()
    assert_whole(page)

    page.get_by_role("link", name="Grade images with it").click()
    expect(page.locator("h1")).to_have_text("Grade images")
    upload = tmp_path / "upload.png"
    draw_shape("red_circle", 999).save(upload)
    page.locator('input[type="file"]').first.set_input_files(upload)
    expect(page.get_by_text("upload.png").first).to_be_visible()
    expect(page.get_by_text("red_circle").first).to_be_visible(timeout=60_000)
    wait_until_drawn(page)
    assert_whole(page)


def test_second_tab_finds_the_training_and_stops_it(shapes: Path, server: Server, page, context):
    import_folder(shapes)
    page.goto(server.link("train_model", dataset="shapes"))
    wait_until_drawn(page)
    choose_strategy(page, "From scratch")
    page.get_by_role("spinbutton", name="Epochs").fill("500")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start training").click()
    expect(state_of(page)).to_have_text("running", timeout=60_000)

    second = context.new_page()
    second.goto(server.link("train_model"))
    expect(state_of(second)).to_have_text("running")
    second.get_by_role("button", name="Stop").click()
    expect(state_of(second)).to_have_text(re.compile("stopping|stopped"), timeout=5_000)
    expect(state_of(second)).to_have_text("stopped", timeout=15_000)
    expect(state_of(page)).to_have_text("stopped")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert_whole(page)
