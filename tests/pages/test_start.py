"""The start page: three doors, and a first data set that appears by itself."""

import os
import threading
import time

import pytest

from lib import demo, tracking
from lib.data.library import delete_dataset
from lib.demo import DEMO, STORY
from lib.demo.story import DemoSweep
from lib.jobs.processes import start_time_s
from lib.settings import DEMO_DATASET
from lib.sweeps.plan import SweepState
from lib.tracking.state import host_name
from pages.common import background, demo_panel, resources
from tests.demo.conftest import shipped  # noqa: F401
from tests.pages.scene import link, make_dataset, make_run, open_page, page_links, words


def test_a_bare_home_gets_its_first_data_set_once(monkeypatch):
    calls = []
    go_on = threading.Event()

    def make(progress):
        calls.append(1)
        progress(3, 10, "drawing")
        go_on.wait(10)
        make_dataset()

    monkeypatch.setattr(demo_panel, "ensure_default_dataset", make)
    first, second = open_page("start"), open_page("start")  # two tabs
    for at in (first, second):
        assert "Making a first data set" in words(at)
    go_on.set()
    while not background.find(demo_panel.FIRST_DATASET).is_over:
        time.sleep(0.005)
    first.run()
    assert calls == [1]
    assert "The first data set is ready" in words(first)
    assert first.sidebar.selectbox[0].value == "tiny"


def test_a_failure_is_a_sentence(monkeypatch):
    def make(progress):
        raise OSError("disk full")

    monkeypatch.setattr(demo_panel, "ensure_default_dataset", make)
    at = open_page("start")
    while not background.find(demo_panel.FIRST_DATASET).is_over:
        time.sleep(0.005)
    at.run()
    assert "Something unexpected happened" in words(at)
    assert "disk full" not in words(at)


def test_the_doors_lead_somewhere():
    make_dataset()
    at = open_page("start")
    assert "form=import" in page_links(at)["Import images"]
    assert {"Look inside a network", "Train a model"} <= set(page_links(at))
    at = open_page("explore_data", form="import")
    assert at.text_input(key="explore_path").label == "Folder"


def test_the_best_run_is_named():
    make_dataset()
    make_run("from_scratch", num_wrong=2)
    make_run("linear_probe", num_wrong=0)
    shown = words(open_page("start"))
    assert "Linear probe" in shown
    shown = shown.replace("\\", "")
    assert "accuracy 100.0\u00a0% (51.0\u00a0% to 100.0\u00a0%)" in shown
    assert "accuracy 50.0\u00a0%" in shown  # always the commonest class: two classes of two test images
    assert "The best of 2 runs on the same 4 test images." in shown


def test_a_first_visit_unpacks_the_demo_whatever_page_it_opens(shipped):  # noqa: F811
    at = open_page("compare_runs", through_app=False)
    assert link(at, "dataset") == DEMO_DATASET
    assert set(link(at, "runs").split(",")) == set(shipped.runs.values())
    assert "they came with the program" in words(at)
    at = open_page("start")
    assert "recorded on" in words(at)
    assert f"race={shipped.race_id}&replay={shipped.race_id}" in page_links(at)["Watch the race"]
    for delete in (lambda: tracking.delete_run(shipped.runs["linear_probe"]), lambda: delete_dataset(DEMO_DATASET)):
        delete()
        resources.forget_results()
        at = open_page("start")
        at.button(key="demo_restore").click().run()
        assert not demo.missing_runs()
        assert "Watch the race" in page_links(at)


@pytest.mark.parametrize("name", ["dataset/table.parquet", "recording.json"])
def test_a_damaged_recording_is_a_sentence_and_the_page_goes_on(shipped, name, monkeypatch):  # noqa: F811
    monkeypatch.setattr(demo_panel, "ensure_default_dataset", lambda progress: make_dataset())
    monkeypatch.setattr(demo_panel, "_failed", {})
    (shipped.folder / name).write_text("{")
    at = open_page("start")
    assert "demo is damaged" in words(at)
    assert "Import images" in page_links(at)


def test_the_demo_is_trained_here_watched_and_cancelled(shipped, monkeypatch):  # noqa: F811
    at = open_page("start")
    assert "See the whole story" in words(at)
    monkeypatch.setattr(DemoSweep, "start", lambda self: DEMO.keep(running(step="Full fine-tuning", share=0.5)))
    stopped = []
    monkeypatch.setattr(DemoSweep, "stop", lambda self: stopped.append(1))
    assert at.button(key="demo_start").label == "Train it here yourself"
    at.button(key="demo_start").click().run()
    assert "Training the demo here" in words(at)
    assert "Done: Nearest neighbours." in words(at)
    at.button(key="demo_stop").click().run()
    assert stopped == [1]

    DEMO.keep(SweepState(state="stopped", message="Stopped on request. What is done is kept."))
    at.run()
    assert "What is done is kept" in words(at)
    assert at.button(key="demo_start").label == "Go on training it here"


def running(**changes):
    identity = {"pid": os.getpid(), "pid_started_s": start_time_s(os.getpid()), "host": host_name()}
    runs = {"nearest_neighbors": "a" * 32}
    return SweepState(state="running", what="Training", seconds_left=90.0, runs=runs, **{**identity, **changes})


def test_a_finished_demo_fills_the_pages():
    make_dataset()
    for number, entry in enumerate(STORY):
        run_id = make_run(entry.key, num_wrong=number % 3)
        state = DEMO.read()
        DEMO.keep(SweepState(state="finished", runs={**state.runs, entry.key: run_id}))
    assert not [button for button in open_page("start").button if button.key == "demo_start"]
    at = open_page("compare_runs")
    assert link(at, "runs").split(",") == list(DEMO.read().runs.values())
