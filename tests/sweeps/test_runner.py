import sqlite3
import time
from contextlib import closing

import pytest

from lib import tracking
from lib.errors import UserError
from lib.jobs import processes, queue
from lib.settings import runs_dir
from lib.sweeps.results import arm_results, leader
from lib.sweeps.runner import StepPace, run_sweep
from lib.tracking import read_state
from lib.tracking.state import update_state


def test_a_race_writes_a_run_and_a_curve_for_each_arm(plan, runner):
    state = run_sweep(plan, work=runner)
    assert (state.state, runner.done, list(state.runs)) == ("finished", list(plan.rungs), list(plan.rungs))
    results = {result.key: result for result in arm_results(plan)}
    tuned = results["full_finetuning"]
    assert [(point.epoch, point.values["val_accuracy"]) for point in tuned.curve.points] == [(1, 0.1), (2, 0.2)]
    assert tuned.curve.num_trained == 100
    assert results["linear_probe"].curve.points == ()
    run = tracking.get_run(state.runs["linear_probe"])
    assert run.tags["race_id"] == plan.race_id
    # One wrong answer more a rung: the first has the best test accuracy.
    assert leader(list(results.values())).key == plan.rungs[0]
    assert tuned.row()["num_trained_parameters"] == 100
    assert run_sweep(plan, work=runner).runs == state.runs
    assert runner.done == list(plan.rungs)  # nothing was raced again


def test_a_stopped_race_goes_on_with_the_arm_that_was_broken_off(plan, runner):
    runner.stops = {"full_finetuning"}
    state = run_sweep(plan, work=runner)
    assert state.state == "stopped"
    assert "rungs that are done are kept" in state.message
    assert arm_results(plan)[-1].state == "waiting"
    broken_off = state.runs["full_finetuning"]
    runner.stops = set()
    state = run_sweep(plan, work=runner)
    assert (state.state, runner.done) == ("finished", list(plan.rungs))
    assert state.runs["full_finetuning"] == broken_off


def test_an_arm_that_fails_holds_up_no_other(plan, runner):
    runner.fails = {"linear_probe", "from_scratch"}
    # One reason, told once for both.
    with pytest.raises(UserError, match=r"^Linear probe, From scratch failed: Memory ran out[^:]*$"):
        run_sweep(plan, work=runner)
    assert runner.done == [arm for arm in plan.rungs if arm not in runner.fails]
    assert plan.read().state == "failed"
    states = {result.key: result.state for result in arm_results(plan)}
    assert states["linear_probe"] == "failed"


@pytest.mark.parametrize("host", [None, "elsewhere"])
def test_a_race_whose_process_was_killed_is_taken_up_again(plan, runner, host, monkeypatch):
    monkeypatch.setattr(processes, "WATCH_S", 0.1)

    def die(run, **listeners):
        if run.config["strategy"] == "full_finetuning":
            # What a killed process leaves: a running run of a process that is gone.
            run.set_state("running", pid=2**22 + 1, pid_started_s=1.0)
            queue.claim(run.run_id, 2**22 + 1)
            if host:  # a container that came back under another name; it was silent for a minute
                update_state(run.run_id, host=host, heartbeat_s=time.time() - 60)
                with closing(sqlite3.connect(runs_dir() / "jobs.sqlite")) as table, table:
                    table.execute("UPDATE tickets SET host = ?", (host,))
            raise SystemExit
        return runner(run, **listeners)

    with pytest.raises(SystemExit):
        run_sweep(plan, work=die)
    killed = plan.read().runs["full_finetuning"]
    state = run_sweep(plan, work=runner)
    assert state.state == "finished"
    assert state.runs["full_finetuning"] == killed
    assert read_state(killed).state == "finished"


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_time_left_follows_the_pace_of_the_steps_done():
    clock = Clock()
    pace = StepPace([10.0, 20.0, 30.0], clock=clock)
    assert pace.seconds_left == 60.0
    pace.begin(0)
    clock.now_s = 20.0  # twice as long as the table says
    pace.begin(1)
    assert pace.seconds_left == pytest.approx(2 * (20 + 30))
    assert pace.share == pytest.approx(20 / 120)
    clock.now_s = 30.0
    assert pace.seconds_left == pytest.approx(2 * (20 + 30) - 10)
    pace.tell(5.0, is_last_phase=False)  # the phase ends, the step does not
    assert pace.seconds_left == pytest.approx(90)
    pace.tell(5.0, is_last_phase=True)
    assert pace.seconds_left == pytest.approx(5 + 60)


def test_what_is_there_already_costs_nothing_and_says_nothing_of_the_pace():
    clock = Clock()
    pace = StepPace([100.0, 20.0, 30.0], clock=clock)
    pace.begin(0)
    clock.now_s = 1.0
    pace.drop(1)
    pace.begin(2)
    assert pace.seconds_left == 30.0


def test_share_never_goes_back():
    clock = Clock()
    pace = StepPace([10.0, 10.0], clock=clock)
    pace.begin(0)
    clock.now_s = 9.0
    before = pace.share
    pace.tell(500.0, is_last_phase=True)
    assert pace.share == before
