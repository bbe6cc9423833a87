import json

from lib.cli import run
from lib.sweeps.plan import SweepState
from lib.sweeps.strategies import StrategySweep
from tests.pages.scene import make_dataset
from tests.run_store import make_run_store


def test_race_prints_its_standings(monkeypatch, capsys):
    make_dataset()
    make_run_store()
    plans = []

    def run_race(plan, *, progress):
        plans.append(plan)
        return SweepState(state="finished", seconds_total=3.0)

    monkeypatch.setattr("lib.sweeps.runner.run_sweep", run_race)
    asked = ["race", "--dataset", "tiny", "--rungs", "linear_probe,from_scratch", "--epochs", "2", "--json"]
    assert run(asked) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["race_id"], told["state"]) == (plans[0].race_id, "finished")
    assert [row["strategy"] for row in told["rungs"]] == ["linear_probe", "from_scratch"]
    assert plans[0].epochs == 2
    assert StrategySweep.find("latest") == plans[0]


def test_bad_input_is_one_line(capsys):
    make_dataset()
    assert run(["race", "--dataset", "tiny", "--rungs", "linear_probe,flying"]) == 2
    assert "Unknown rung 'flying'" in capsys.readouterr().err
    assert run(["race", "--resume", "latest"]) == 2
    assert "There is no race 'latest'" in capsys.readouterr().err
