import numpy as np
import pytest

from lib.data.library import open_dataset
from lib.sweeps.plan import SweepState
from lib.sweeps.results import arm_results
from lib.sweeps.runner import run_sweep
from lib.sweeps.strategies import DEFAULT_ARMS, StrategySweep
from lib.training.resolution import watched_rows
from lib.watched_images import WatchedFrame, write_frame
from pages.common import pinned_pictures, race_live
from tests.pages.scene import html_of, link, open_page
from tests.sweeps.conftest import Runner, plan, runner  # noqa: F401


@pytest.fixture
def raced(plan: StrategySweep, runner: Runner) -> StrategySweep:  # noqa: F811
    """A race with frames of two epochs of fine-tuning."""
    run_sweep(plan, work=runner)
    ids = plan.pinned_images.split(",")
    folder = arm_results(plan)[-2].folder
    for epoch, first in ((0, 0.5), (1, 0.9), (2, 0.2)):
        probabilities = np.array([[first, 1 - first]] * 2)
        write_frame(folder, WatchedFrame(epoch, ids, probabilities, np.ones((2, 3, 3)), "block5", 0.1))
    return plan


def test_the_race_is_drawn_from_its_runs_alone(raced):
    at = open_page("train_model", race=raced.race_id)
    assert not at.exception
    assert not at.error
    shown = html_of(at)
    table = race_live.table_html(arm_results(raced))
    assert table in shown.replace("\\n", "\n") or "rl-first" in shown
    for entry in raced.entries:
        assert entry.title in shown
    assert "epoch 2" in shown
    assert "80" in shown  # 1 - 0.2 for the predicted class
    at.slider(key=f"pinned_epoch_{raced.race_id}").set_value(1).run()
    assert "epoch 1" in html_of(at)
    assert not at.button(key="race_start").disabled


def test_a_click_starts_one_race_and_a_running_one_can_be_stopped(runner, monkeypatch):  # noqa: F811
    started = []

    def start(made):
        made.refuse_second()
        started.append(made)
        made.write()
        made.keep(SweepState(state="running", step="Linear probe", what="Training", host="elsewhere"))

    monkeypatch.setattr(StrategySweep, "start", start)
    at = open_page("train_model", dataset="tiny")
    at.segmented_control(key="train_mode").set_value("race").run()
    at.button(key="race_start").click().run()
    assert not at.exception
    assert [made.dataset for made in started] == ["tiny"]
    assert started[0].rungs == DEFAULT_ARMS
    assert link(at, "race") == started[0].race_id
    assert at.button(key="race_start").disabled  # one race at a time
    at.button(key="race_stop").click().run()
    assert started[0].read().state == "stopping"


def test_an_unknown_race_is_said(runner):  # noqa: F811
    at = open_page("train_model", race="beef")
    assert any("no race" in warning.value.replace("\\", "") for warning in at.warning)


def test_a_rung_behind_shows_its_newest_frame_and_a_waiting_one_none(raced):
    results, dataset = arm_results(raced), open_dataset("tiny")
    runs = [pinned_pictures.WatchedRun(one.title, one.run_id, one.folder) for one in results]
    frames = [pinned_pictures._frame(run, 1) for run in runs]
    assert [frame.epoch if frame else None for frame in frames[-2:]] == [1, None]
    rows = watched_rows(raced.pinned_images, dataset)
    grid = pinned_pictures.grid_html(rows, runs, frames, dataset)
    assert grid.count("<figure") == 2 + 2  # two images as they are, and under one rung's maps
    assert grid.count("rp-empty") == 1 + 2 * (len(results) - 1)  # the first is the style
    assert "&lt;b&gt;red" in grid  # class names are shown literally


def test_a_single_training_with_pinned_images_shows_them(raced):
    tuned = arm_results(raced)[-2]
    at = open_page("train_model", run=tuned.run_id)
    assert not at.exception
    shown = html_of(at)
    assert shown.count("<figure") == 2 + 2  # two images as they are, and under this run's maps
    assert "epoch 2" in shown
