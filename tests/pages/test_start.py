"""The start page: three doors, and a first data set that appears by itself."""

import threading

from pages.common import background, first_dataset
from tests.pages.scene import make_dataset, make_run, open_page, words


def test_a_bare_home_gets_its_first_data_set_once(monkeypatch):
    calls = []
    go_on = threading.Event()

    def make(progress):
        calls.append(1)
        progress(3, 10, "drawing")
        go_on.wait(10)
        make_dataset()

    monkeypatch.setattr(first_dataset, "ensure_default_dataset", make)
    first, second = open_page("start"), open_page("start")  # two tabs
    for at in (first, second):
        assert "Making a first data set" in words(at)
    go_on.set()
    while not background.find(first_dataset.TASK).is_over:
        pass
    first.run()
    assert calls == [1]
    assert "The first data set is ready" in words(first)
    assert first.sidebar.selectbox[0].value == "tiny"


def test_a_failure_is_a_sentence(monkeypatch):
    def make(progress):
        raise OSError("disk full")

    monkeypatch.setattr(first_dataset, "ensure_default_dataset", make)
    at = open_page("start")
    while not background.find(first_dataset.TASK).is_over:
        pass
    at.run()
    assert "Something unexpected happened" in words(at)
    assert "disk full" not in words(at)


def test_the_doors_lead_somewhere():
    make_dataset()
    at = open_page("start")
    at.button(key="start_explore_data").click().run()
    assert at.title[0].value == "Explore data"
    assert at.text_input(key="explore_path").label == "Folder"


def test_the_best_run_is_named():
    make_dataset()
    make_run("from_scratch", num_wrong=2)
    make_run("linear_probe", num_wrong=0)
    shown = words(open_page("start"))
    assert r"linear\_probe" in shown
    assert "100.0\u00a0%" in shown
