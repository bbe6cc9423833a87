import sqlite3
import time
from contextlib import closing

import pytest

from lib import tracking
from lib.errors import UserError
from lib.jobs import processes, tickets
from lib.race import leader, read_race, read_standings
from lib.race.standing import as_row
from lib.race.work import run_race
from lib.settings import runs_dir
from lib.tracking import read_state
from lib.tracking.state import update_state


def test_a_race_writes_a_run_and_a_curve_for_each_rung(plan, runner):
    state = run_race(plan, work=runner)
    assert (state.state, runner.done, list(state.runs)) == ("finished", list(plan.rungs), list(plan.rungs))
    standings = {standing.key: standing for standing in read_standings(plan)}
    tuned = standings["full_finetuning"]
    assert [(point.epoch, point.values["val_accuracy"]) for point in tuned.curve.points] == [(1, 0.1), (2, 0.2)]
    assert tuned.curve.num_trained == 100
    assert standings["linear_probe"].curve.points == ()
    run = tracking.get_run(state.runs["linear_probe"])
    assert run.tags["race_id"] == plan.race_id
    # One wrong answer more a rung: the first has the best test accuracy.
    assert leader(list(standings.values())).key == plan.rungs[0]
    assert as_row(tuned)["num_trained_parameters"] == 100
    assert run_race(plan, work=runner).runs == state.runs
    assert runner.done == list(plan.rungs)  # nothing was raced again


def test_a_stopped_race_goes_on_with_the_rung_that_was_broken_off(plan, runner):
    runner.stops = {"full_finetuning"}
    state = run_race(plan, work=runner)
    assert state.state == "stopped"
    assert "rungs that are done are kept" in state.message
    assert read_standings(plan)[-1].state == "waiting"
    broken_off = state.runs["full_finetuning"]
    runner.stops = set()
    state = run_race(plan, work=runner)
    assert (state.state, runner.done) == ("finished", list(plan.rungs))
    assert state.runs["full_finetuning"] == broken_off


def test_a_rung_that_fails_holds_up_no_other(plan, runner):
    runner.fails = {"linear_probe", "from_scratch"}
    # One reason, told once for both.
    with pytest.raises(UserError, match=r"^Linear probe, From scratch failed: Memory ran out[^:]*$"):
        run_race(plan, work=runner)
    assert runner.done == [rung for rung in plan.rungs if rung not in runner.fails]
    assert read_race(plan).state == "failed"
    states = {standing.key: standing.state for standing in read_standings(plan)}
    assert states["linear_probe"] == "failed"


@pytest.mark.parametrize("host", [None, "elsewhere"])
def test_a_race_whose_process_was_killed_is_taken_up_again(plan, runner, host, monkeypatch):
    monkeypatch.setattr(processes, "WATCH_S", 0.1)

    def die(run, **listeners):
        if run.config["strategy"] == "full_finetuning":
            # What a killed process leaves: a running run of a process that is gone.
            run.set_state("running", pid=2**22 + 1, pid_started_s=1.0)
            tickets.hold(run.run_id, 2**22 + 1)
            if host:  # a container that came back under another name; it was silent for a minute
                update_state(run.run_id, host=host, heartbeat_s=time.time() - 60)
                with closing(sqlite3.connect(runs_dir() / "jobs.sqlite")) as table, table:
                    table.execute("UPDATE tickets SET host = ?", (host,))
            raise SystemExit
        return runner(run, **listeners)

    with pytest.raises(SystemExit):
        run_race(plan, work=die)
    killed = read_race(plan).runs["full_finetuning"]
    state = run_race(plan, work=runner)
    assert state.state == "finished"
    assert state.runs["full_finetuning"] == killed
    assert read_state(killed).state == "finished"
