import json

import pytest

from lib.cli import run
from lib.sweeps.plan import SweepState
from lib.sweeps.sizes import SizeSweep, make_plan
from lib.training.config import TrainConfig
from tests.pages.scene import make_dataset, make_run
from tests.run_store import make_run_store


@pytest.fixture(autouse=True)
def _library(home):
    make_dataset()
    make_run_store()


def test_a_series_is_started_listed_and_shown(monkeypatch, capsys):
    run_id, plans = make_run("linear_probe"), []

    def run_sweep(plan, *, progress):
        plans.append(plan)
        return SweepState(state="finished")

    monkeypatch.setattr("lib.sweeps.runner.run_sweep", run_sweep)
    assert run(["sizes", "start", run_id[:8], "--shares", "0.5,1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["series_id"], told["state"]) == (plans[0].series_id, "finished")
    assert plans[0].shares == (0.5, 1.0)
    assert run(["sizes", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["series"] == [{"series_id": plans[0].series_id, "state": "new"}]
    assert run(["sizes", "show", "latest"]) == 0
    assert "images" in capsys.readouterr().out
    assert run(["sizes", "stop", "latest", "--json"]) == 0
    assert SizeSweep.find("latest") == plans[0]


def test_bad_input_is_one_line(capsys):
    run_id = make_run("linear_probe")
    assert run(["sizes", "start", run_id, "--shares", "some"]) == 2
    assert "numbers joined by commas" in capsys.readouterr().err
    assert run(["sizes", "start", run_id, "--shares", "0.5"]) == 2
    assert "2 to 10 different shares" in capsys.readouterr().err
    assert run(["sizes", "show", "latest"]) == 2
    assert "There is no series of sizes 'latest'" in capsys.readouterr().err
    make_plan(TrainConfig(dataset="tiny", strategy="linear_probe", weights="random"))
    assert run(["sizes", "show", "abc123abc"]) == 2
