import json

from lib.sweeps.plan import SweepState


def test_prepare_ends_with_one_line_of_json(command, monkeypatch):
    state = SweepState(state="finished", runs={"linear_probe": "a" * 32}, seconds_total=12.0)
    monkeypatch.setattr("lib.sweeps.runner.run_sweep", lambda plan, progress: state)
    answer = command("demo", "prepare", "--json")
    assert answer.status == 0
    said = json.loads(answer.out.splitlines()[-1])
    assert (said["state"], said["runs"]) == ("finished", state.runs)
    assert "The demo was trained here: 1 runs" in command("demo", "prepare").out


def test_a_stopped_preparation_says_so(command, monkeypatch):
    state = SweepState(state="stopped", message="Stopped on request.")
    monkeypatch.setattr("lib.sweeps.runner.run_sweep", lambda plan, progress: state)
    answer = command("demo", "prepare")
    assert (answer.status, answer.err.strip()) == (130, "Stopped on request.")


def test_status_and_stop_without_a_preparation(command):
    assert json.loads(command("demo", "status", "--json").out)["state"] == "new"
    assert "state" in command("demo", "status").out
    assert "No preparation is running" in command("demo", "stop").out
