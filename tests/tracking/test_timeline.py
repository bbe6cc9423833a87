"""A run keeps what happened in it and when, and is played again from that."""

import json

import pytest

from lib import tracking
from lib.tracking.state import LOG_FILE, TIMELINE_FILE, timeline_events, update_state
from lib.tracking.timeline import read_timeline
from tests.run_store import make_run_store

CONFIG = {"dataset": "cats_dogs", "backbone": "mobilenet_v2", "strategy": "full_finetuning", "epochs": 2}


def write(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TIMELINE_FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"t": 9, "cut')


@pytest.fixture
def run(home):
    make_run_store()
    return tracking.create_run(CONFIG)


def test_a_run_writes_states_progress_and_metrics(run):
    run.set_state("running")
    run.heartbeat(phase="Training", done=1, total=4)
    run.heartbeat(phase="Training", done=2, total=4)  # within the second: not kept
    run.heartbeat(phase="Saving")
    run.log_metrics({"val_loss": 0.5, "val_accuracy": float("nan")}, step=1)
    run.finish("finished")
    told = [{key: value for key, value in event.items() if key != "t"} for event in timeline_events(run.folder)]
    assert told == [
        {"state": "running"},
        {"progress": {"phase": "Training", "done": 1, "total": 4}},
        {"progress": {"phase": "Saving"}},
        {"step": 1, "metrics": {"val_loss": 0.5}},
        {"state": "finished"},
    ]


def test_a_moment_has_what_was_known_then(run):
    write(
        run.folder,
        [
            {"t": 100.0, "state": "running"},
            {"t": 101.0, "progress": {"phase": "Training", "done": 1}},
            {"t": 104.0, "step": 1, "metrics": {"val_loss": 1.0, "train_loss": 2.0}},
            {"t": 105.0, "progress": {"phase": "Training", "done": 2}},
            {"t": 108.0, "step": 2, "metrics": {"val_loss": 0.5}},
            {"t": 110.0, "progress": {"phase": "Saving"}},
            {"t": 112.0, "state": "finished"},
        ],
    )
    (run.folder / LOG_FILE).write_text("23:59:58 Starting ...\n00:00:02 epoch 1/2\nTraceback\n00:00:06 epoch 2/2\n")
    timeline = read_timeline(run.run_id)
    assert timeline.seconds == 12.0
    assert timeline.stops == (1.0, 4.0, 8.0, 10.0, 12.0)
    before, after = timeline.at(3.9), timeline.at(4.0)
    assert (before.epoch, before.progress) == (0, {"phase": "Training", "done": 1})
    assert (after.epoch, after.progress["epoch"]) == (1, 1)
    assert timeline.history(7.0, ["val_loss"]).to_dict("records") == [{"key": "val_loss", "step": 1, "value": 1.0}]
    assert timeline.history(9.0, ["val_loss"])["value"].tolist() == [1.0, 0.5]
    assert timeline.log_until(4.5, 9).splitlines() == ["23:59:58 Starting ...", "00:00:02 epoch 1/2", "Traceback"]
    assert timeline.log_until(99, 1) == "00:00:06 epoch 2/2"


def test_waiting_between_two_parts_and_a_clock_set_back_are_no_time_of_the_run(run):
    write(
        run.folder,
        [
            {"t": 100.0, "state": "running"},
            {"t": 103.0, "step": 1, "metrics": {"val_loss": 1.0}},
            {"t": 105.0, "state": "stopped"},
            {"t": 9000.0, "state": "running"},
            {"t": 9002.0, "step": 1, "metrics": {"val_loss": 0.9}},
            {"t": 8000.0, "step": 2, "metrics": {"val_loss": 0.8}},
            {"t": 8001.0, "state": "finished"},
        ],
    )
    timeline = read_timeline(run.run_id)
    assert timeline.seconds == 8.0
    assert [epoch for _, epoch in timeline.epochs] == [1, 1, 2]
    assert timeline.history(9.0, ["val_loss"])["value"].tolist() == [0.9, 0.8]


def test_a_run_older_than_timelines_is_played_from_its_log_and_the_run_store(run):
    run.set_state("running")
    run.log_metrics({"val_loss": 0.5}, step=1)
    run.finish("finished")
    (run.folder / TIMELINE_FILE).unlink()
    (run.folder / LOG_FILE).write_text("11:00:00 Extracting features ...\n11:00:07 Training ...\n11:00:09 epoch 1/1\n")
    now = tracking.read_state(run.run_id).heartbeat_s
    update_state(run.run_id, started_s=now - 10, heartbeat_s=now)
    timeline = read_timeline(run.run_id)
    assert timeline.seconds == pytest.approx(10, abs=0.1)
    assert timeline.at(3).progress == {"phase": "Extracting features"}
    assert timeline.at(8).progress == {"phase": "Training"}
    assert timeline.at(10.1).epoch == 1


def test_a_run_that_tells_nothing_has_no_timeline(run):
    assert read_timeline(run.run_id) is None
