import json

from lib.sweeps.results import arm_results, replay_race
from lib.sweeps.runner import run_sweep
from lib.sweeps.strategies import CURVE_FILE, CurveWriter, read_curve
from lib.tracking.state import TIMELINE_FILE
from lib.training.events import EpochEnded, NetworkBuilt, PhaseStarted


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def test_seconds_go_on_after_an_interruption_and_a_repeated_epoch_counts_once(tmp_path):
    clock = Clock()
    write = CurveWriter(tmp_path, clock=clock)
    write(PhaseStarted("Training"))
    write(NetworkBuilt(5, 9))
    for epoch in (1, 2):
        clock.now_s += 10
        write(EpochEnded(epoch, 3, {"val_accuracy": 0.1 * epoch}))
    clock.now_s += 1000  # stopped for a while; the checkpoint was after epoch 1
    write = CurveWriter(tmp_path, clock=clock)
    write(NetworkBuilt(5, 9))
    for epoch in (2, 3):
        clock.now_s += 10
        write(EpochEnded(epoch, 3, {"val_accuracy": 0.1 * epoch}))
    curve = read_curve(tmp_path)
    assert (curve.num_trained, curve.num_parameters) == (5, 9)
    assert [(point.epoch, point.seconds) for point in curve.points] == [(1, 10), (2, 30), (3, 40)]


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path):
    assert read_curve(tmp_path).points == ()
    CurveWriter(tmp_path)(EpochEnded(1, 2, {"val_loss": 1.0}))
    with (tmp_path / CURVE_FILE).open("a") as opened:
        opened.write('{"epoch": 2, "sec')
    assert [point.epoch for point in read_curve(tmp_path).points] == [1]


def timed(plan, seconds_an_epoch=10.0):
    """Give each rung a timeline of known length: 2 s of features, its epochs, 1 s of saving."""
    for result in arm_results(plan):
        lines = [{"t": 0.0, "state": "running"}, {"t": 0.0, "progress": {"phase": "Training"}}]
        for point in result.curve.points:
            lines.append({"t": point.epoch * seconds_an_epoch, "step": point.epoch, "metrics": {"val_loss": 1.0}})
        lines.append({"t": lines[-1]["t"] + 1.0, "state": "finished"})
        (result.folder / TIMELINE_FILE).write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_arms_run_one_after_the_other(plan, runner):
    assert replay_race(plan) is None
    run_sweep(plan, work=runner)
    timed(plan)
    recording = replay_race(plan)
    assert recording.seconds == 1 + 1 + 3 * 21
    at = {result.key: result for result in recording.at(2 + 21 + 10.5)}
    assert [result.state for result in at.values()] == ["finished"] * 3 + ["running", "waiting"]
    tuned = at["full_finetuning"]
    assert [point.epoch for point in tuned.curve.points] == [1]
    assert (tuned.summary, tuned.score, at["from_scratch"].run_id) == ({}, None, None)
    assert at["linear_probe"].summary
    assert recording.newest_epochs(2 + 21 + 10.5) == {tuned.run_id: 1}
    assert recording.newest_epochs(0.5) == {at["nearest_neighbors"].run_id: -1}  # its only picture is of its end
    assert recording.words(2 + 21 + 10.5) == "Full fine-tuning: training, epoch 2"
    assert recording.words(recording.seconds) == "Every rung has finished"
    assert {1.0, 2.0, 12.0, 22.0, 23.0, recording.seconds} <= set(recording.stops)
    assert recording.at(recording.seconds) == arm_results(plan)


def test_of_a_race_that_was_broken_off_what_finished_is_played(plan, runner):
    runner.stops = {"full_finetuning"}
    run_sweep(plan, work=runner)
    assert plan.read().state == "stopped"
    assert [leg.result.key for leg in replay_race(plan).legs] == list(plan.rungs[:3])
