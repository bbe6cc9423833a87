"""`calibrate`: gate and calibration of a finished run, fitted anew; what it cannot do is one sentence."""

import json
import shutil

import pandas as pd
import pytest

from lib.grading.grader import Grader
from lib.models.gate import GATE_FILE, load_gate
from lib.models.seen_images import load_seen
from lib.settings import datasets_dir
from lib.tracking import get_run
from lib.tracking.state import PREDICTIONS_FILE
from tests.moved_run import save_run


@pytest.fixture
def run(home, tmp_path):
    """A finished run from before there were gates, with answers to its validation images."""
    made = get_run(save_run(tmp_path / "tinted"))
    table = pd.read_parquet(made.folder / PREDICTIONS_FILE)
    seen = load_seen(made.folder / "bundle" / "seen.safetensors")
    assert not (made.folder / "bundle" / GATE_FILE).exists()
    dataset = pd.read_parquet(datasets_dir() / "tinted" / "table.parquet")
    roles = seen.roles(dataset["image_id"].to_numpy())
    held = dataset[roles == "validated"].assign(split="val", probability_0=0.6, probability_1=0.4)
    whole = pd.concat([table, held[[*table.columns]]]).assign(fold=0)
    whole.to_parquet(made.folder / PREDICTIONS_FILE)
    return made


@pytest.mark.slow
def test_a_run_from_before_gets_a_gate_and_a_calibration(command, run):
    answer = command("calibrate", "--run", run.short_id, "--json")
    assert answer.status == 0, answer.err
    (told,) = json.loads(answer.out.splitlines()[-1])["runs"]
    gate = load_gate(run.folder / "bundle" / GATE_FILE)
    assert told["run_id"] == run.run_id
    assert gate.judge == "efficientnet_lite0"  # its own network was fine-tuned
    assert (told["num_reference"], told["num_calibration"]) == (len(gate.reference), gate.num_calibration)
    # Answers of one energy are no ground to turn anybody away.
    assert told["comparisons"] == [stage.title for stage in gate.stages]
    assert "calibration" in json.loads((run.folder / "bundle" / "manifest.json").read_text())
    assert Grader.open(run.run_id, device="cpu").domain is not None


@pytest.mark.slow
def test_all_of_them_are_told_in_a_table_and_twice_is_as_once(command, run):
    assert command("calibrate", "--all").status == 0
    first = load_gate(run.folder / "bundle" / GATE_FILE)
    again = command("calibrate", "--all")
    assert run.short_id in again.out
    assert "false alarms promised" in again.out
    second = load_gate(run.folder / "bundle" / GATE_FILE)
    assert [one.limit for one in second.stages] == pytest.approx([one.limit for one in first.stages])
    assert second.images.image_ids == first.images.image_ids


@pytest.mark.slow
def test_a_run_whose_data_set_is_gone_is_one_sentence_and_stays_as_it_is(command, run):
    shutil.rmtree(datasets_dir() / "tinted")
    answer = command("calibrate", "--run", run.run_id)
    assert answer.status == 2
    assert "The data set 'tinted'" in answer.err
    assert "Import the data set again" in answer.err
    assert answer.err.count("\n") == 1
    assert not (run.folder / "bundle" / GATE_FILE).exists()
    everyone = command("calibrate", "--all")
    assert everyone.status == 0
    assert f"{run.short_id}: The data set 'tinted'" in everyone.err


@pytest.mark.slow
def test_a_run_without_answers_and_a_question_about_none_are_one_sentence(command, run):
    (run.folder / PREDICTIONS_FILE).unlink()
    for arguments, expected in (
        (["--run", run.run_id], "kept no answers"),
        ([], "--run ID, or --all"),
        (["--run", run.run_id, "--all"], "--run ID, or --all"),
        (["--run", "nothing"], "There is no run 'nothing'"),
    ):
        answer = command("calibrate", *arguments)
        assert answer.status == 2
        assert expected in answer.err
        assert answer.err.count("\n") == 1
