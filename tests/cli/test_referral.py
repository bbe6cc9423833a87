import json

from lib.cli import run
from lib.grading.operating_point import read_operating_point
from lib.tracking import get_run
from tests.generated_runs import make_generated_runs


def test_a_point_is_chosen_printed_and_stored(home, capsys):
    (run_id,) = make_generated_runs(1, num_test=60)
    assert run(["operating-point", run_id, "--sensitivity", "0.8", "--prevalence", "0.2", "--grade", "1"]) == 0
    told = capsys.readouterr().out
    assert "Mild and above, referred from a probability of" in told
    assert "optimistic" in told
    assert "IDx-DR pivotal trial" in told
    assert read_operating_point(get_run(run_id)) is None
    assert run(["operating-point", run_id[:8], "--store", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["is_stored"] is True
    assert facts["reading"]["sensitivity"]["value"] >= 0.9
    assert len(facts["published"]) == 6
    assert read_operating_point(get_run(run_id)).threshold == facts["threshold"]


def test_bad_input_is_one_line(home, capsys):
    (run_id,) = make_generated_runs(1, num_test=60)
    assert run(["operating-point", run_id, "--sensitivity", "90"]) == 2
    assert "must lie above 0 and up to 1, received 90" in capsys.readouterr().err
    assert run(["operating-point", "nothing"]) == 2
    assert "There is no run 'nothing'" in capsys.readouterr().err
