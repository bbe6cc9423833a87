"""What is taken away of the selected runs: files that are made when they are asked for, and the address of the view."""

import pytest
import streamlit as st

from lib.reports.formats import FORMATS
from pages.compare import take_away
from tests.pages.scene import make_dataset, make_run, open_page, words
from tests.run_store import make_run_store


@pytest.fixture
def made(home):
    make_dataset()
    make_run_store()
    return [make_run("linear_probe"), make_run("from_scratch")]


def open_box(made, monkeypatch):
    buttons = {}
    own = st.download_button

    def download_button(label, data, **options):
        if str(options.get("key", "")).startswith("take_away_"):
            buttons[options["key"]] = data
        return own(label, data, **options)

    monkeypatch.setattr(st, "download_button", download_button)
    at = open_page("compare_runs", runs=",".join(made), tab="matrices", metric="accuracy")
    assert not buttons  # nothing is prepared while the box is closed
    at.session_state["take_away"] = True
    at.run()
    assert not at.exception
    return at, buttons


def test_every_format_is_made_of_the_selected_runs_and_the_metric_on_screen(made, monkeypatch):
    _, buttons = open_box(made, monkeypatch)
    assert list(buttons) == [f"take_away_{one.name}" for one in FORMATS]
    texts = {key: make() for key, make in buttons.items()}
    assert all("Linear probe" in text and "From scratch" in text for text in texts.values())
    assert "compared by accuracy" in texts["take_away_html"]
    assert all(run in texts["take_away_csv"] for run in made)


def test_the_address_says_all_that_is_shown(made, monkeypatch):
    monkeypatch.setattr(take_away, "page_address", lambda: "http://127.0.0.1:8501/compare_runs")
    at, buttons = open_box(made, monkeypatch)
    (address,) = [one.value for one in at.code if one.value.startswith("http")]
    page, _, query = address.partition("?")
    assert page == "http://127.0.0.1:8501/compare_runs"
    assert {"tab=matrices", "dataset=tiny", f"runs={made[0]}%2C{made[1]}"} <= set(query.split("&"))
    assert f"The same view: {address.replace('&', '&amp;')}" in buttons["take_away_html"]()
    assert "compared by accuracy" in words(at)
