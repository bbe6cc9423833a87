"""A finished run or race plays through the live view: by the clock, paused, stepped, to the end, and says so."""

import json

import pytest

from lib.sweeps.runner import run_sweep
from lib.sweeps.strategies import StrategySweep
from lib.tracking.state import TIMELINE_FILE, run_folder, update_state
from pages.common import replay
from pages.common.replay import Playback, fitting_speed
from tests.pages.scene import html_of, link, make_dataset, make_run, open_page, words
from tests.sweeps.conftest import Runner, plan, runner  # noqa: F401
from tests.sweeps.test_results import timed


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(replay.time, "monotonic", clock.monotonic)
    return clock


def test_where_it_stands_follows_from_the_clock(clock):
    playback = Playback("run", 100.0, 10)
    playback.play()
    clock.now += 2
    assert (playback.now_s, playback.is_playing, playback.is_over) == (20.0, True, False)
    playback.set_speed(100)
    clock.now += 0.5
    assert playback.now_s == 70.0
    playback.pause()
    clock.now += 50
    assert playback.now_s == 70.0
    playback.set_speed(1)
    assert not playback.is_playing
    playback.go_to(40)
    playback.play()
    clock.now += 1000
    assert (playback.now_s, playback.is_over, replay.tick_s(playback)) == (100.0, True, None)
    playback.play()
    assert playback.now_s == 0.0  # from the beginning


def test_a_whole_recording_takes_twenty_seconds_at_most():
    assert [fitting_speed(seconds) for seconds in (3, 20, 21, 398, 401, 600, 2000, 90_000)] == [
        1, 1, 2, 20, 50, 50, 100, 100
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_is_replayed_stepped_and_closed(clock):
    make_dataset()
    run_id = make_run("full_finetuning", epochs=3)
    lines = [{"t": 0.0, "state": "running"}, {"t": 0.0, "progress": {"phase": "Training", "done": 1, "total": 3}}]
    for epoch in (1, 2, 3):
        metrics = {"train_loss": 1.0 / epoch, "val_loss": 1.1 / epoch, "val_accuracy": 0.25 * epoch}
        lines.append({"t": 10.0 * epoch, "step": epoch, "metrics": metrics | {"train_accuracy": 0.3 * epoch}})
    lines.append({"t": 31.0, "state": "finished"})
    (run_folder(run_id) / TIMELINE_FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    update_state(run_id, recorded_on="a tested machine")

    at = open_page("train_model", run=run_id)
    assert "recorded on" in words(at).lower()
    at.button(key=f"replay_{run_id}").click().run()
    assert not at.exception
    assert link(at, "replay") == run_id
    assert " recording]" in words(at)  # the badge
    assert "a tested machine" in words(at)
    assert "2 x" in bar(at)
    assert "Test accuracy" not in html_of(at)

    clock.now += 7.5  # 15 s of the training at 2 x
    at.run()
    assert "0:15 of 0:31" in bar(at)
    assert "training loss 1.000" in words(at).replace("\\", "").replace("\u2060", "")
    at.button(key="replay_play").click().run()
    clock.now += 100
    at.run()
    assert "0:15 of 0:31" in bar(at)
    at.button(key="replay_step").click().run()
    assert "0:20 of 0:31" in bar(at)
    at.selectbox(key="replay_speed").set_value(100).run()
    assert "100 x: 0:20" in bar(at)
    at.button(key="replay_end").click().run()
    assert "0:31 of 0:31" in bar(at)
    assert "Test accuracy" in html_of(at)
    assert not [button for button in at.button if button.key == "train_stop"]
    at.button(key="replay_close").click().run()
    assert link(at, "replay") == ""
    assert not [button for button in at.button if button.key == "replay_play"]


@pytest.mark.slow
def test_a_link_to_a_race_plays_it(clock, plan: StrategySweep, runner: Runner):  # noqa: F811
    run_sweep(plan, work=runner)
    timed(plan)
    at = open_page("train_model", race=plan.race_id, replay=plan.race_id)
    assert not at.exception
    assert "Recording, 5 x: 0:00 of 1:05" in bar(at)  # 65 s
    assert not [button for button in at.button if button.key == "race_start"]  # the picture has the room
    assert html_of(at).count("waits for its turn") == 4
    clock.now += 6.7
    at.run()
    assert "training, epoch 2" in bar(at)
    assert "running, 1 epoch done" in html_of(at)
    assert "leads" in html_of(at)
    at.button(key="replay_close").click().run()
    assert at.button(key="race_start").label == "Race the ladder"
    assert "waits for its turn" not in html_of(at)
    at.button(key=f"replay_{plan.race_id}").click().run()
    assert "0:00 of 1:05" in bar(at)


def test_a_run_without_times_is_said(clock):
    make_dataset()
    run_id = make_run("linear_probe")
    (run_folder(run_id) / TIMELINE_FILE).unlink()
    at = open_page("train_model", run=run_id, replay=run_id)
    assert any("kept no times" in info.value for info in at.info)
    assert not at.exception


def bar(at):
    """The text of the recording's progress bar."""
    texts = (str(one.proto.text).replace("\\", "").replace("\u2060", "") for one in at.get("progress"))
    return next(text for text in texts if "Recording" in text)
