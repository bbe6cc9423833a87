"""A run as a row: its figures with intervals from its own answers, and when it is worked out anew."""

import os

import pytest

from lib.board import read_board
from lib.board.rows import count_parameters, describe_run, made_of, summarise_run
from lib.data.library import delete_dataset
from lib.evaluation.intervals import metric_interval
from lib.evaluation.metric_table import METRICS
from lib.tracking import create_run, get_run
from lib.tracking.state import PREDICTIONS_FILE, SUMMARY_FILE
from lib.tracking.tested import read_tested
from tests.generated_runs import make_generated_runs


def test_every_metric_has_the_interval_that_the_verdict_shows():
    (run_id,) = make_generated_runs(1)
    run = get_run(run_id)
    row, tested = summarise_run(run), read_tested(run, "one")
    for key, metric in METRICS.items():
        one = metric_interval(metric, tested.targets, tested.probabilities, groups=tested.groups)
        assert row[f"test_{key}"] == pytest.approx(one.value)
        assert (row[f"test_{key}_low"], row[f"test_{key}_high"]) == pytest.approx((one.low, one.high))
    assert row["has_groups"]
    assert "lacks_dataset" not in row
    assert row["headline"] == "quadratic_weighted_kappa"


def test_too_few_patients_are_said_in_place_of_an_interval():
    (run_id,) = make_generated_runs(1, num_test=40)
    assert summarise_run(get_run(run_id))["test_accuracy_reason"].startswith("too few patients")
    table = read_board(at_once_s=60).table
    assert table["test_accuracy_interval"][0].startswith("too few patients")


def test_classes_without_an_order_have_no_kappa():
    (run_id,) = make_generated_runs(1, num_classes=3, num_test=60, is_ordinal=False, with_groups=False)
    row = summarise_run(get_run(run_id))
    assert row["test_quadratic_weighted_kappa"] is None
    assert not row["has_groups"]
    # Wilson's interval of images by themselves, as their summary has it.
    assert row["test_accuracy_low"] == pytest.approx(get_run(run_id).summary["test_accuracy_low"])


def test_without_answers_its_own_figures_are_all_that_there_is():
    (run_id,) = make_generated_runs(1, num_test=40)
    run = get_run(run_id)
    (run.folder / PREDICTIONS_FILE).unlink()
    row = summarise_run(run)
    assert row["test_accuracy"] == run.summary["test_accuracy"]
    assert row["test_macro_f1_low"] is None


def test_without_its_data_set_a_row_says_that_it_does_not_know_the_patients():
    (run_id,) = make_generated_runs(1, num_test=40)
    delete_dataset(str(get_run(run_id).config["dataset"]))
    row = summarise_run(get_run(run_id))
    assert row["lacks_dataset"]
    assert not row["has_groups"]


def test_the_key_changes_with_the_files_and_with_the_code(monkeypatch):
    (run_id,) = make_generated_runs(1, num_test=40)
    folder = get_run(run_id).folder
    keys = [made_of(str(folder))]
    os.utime(folder / SUMMARY_FILE, ns=(1, 1))
    keys.append(made_of(str(folder)))
    (folder / PREDICTIONS_FILE).unlink()
    keys.append(made_of(str(folder)))
    monkeypatch.setattr("lib.board.rows.code_of_figures", lambda: "another")
    keys.append(made_of(str(folder)))
    assert len(set(keys)) == 4
    os.utime(folder / "state.json", ns=(1, 1))  # a name or a mark is no part of it
    assert made_of(str(folder)) == keys[-1]


def test_trained_parameters_of_resnet18():
    def counted(**config):
        return count_parameters(get_run(create_run({"dataset": "gone", "backbone": "resnet18", **config}).run_id))

    # 11,176,512 without its ImageNet classes; a linear head of two classes on 512 features has 1,026.
    assert counted(strategy="linear_probe") == (1026, 11_177_538)
    assert counted(strategy="full_finetuning", head="linear") == (11_177_538, 11_177_538)
    assert counted(strategy="unheard") == (None, None)
    assert counted(strategy="linear_probe", feature_stage="nowhere") == (None, None)


def test_a_run_that_broke_off_says_what_it_was():
    run = create_run({"dataset": "gone", "backbone": "resnet18", "strategy": "from_scratch", "epochs": 3, "seed": 7})
    run.finish("failed", "out of patience")
    row = summarise_run(get_run(run.run_id))
    assert (row["strategy"], row["seed"], row["epochs_asked"]) == ("from_scratch", 7, 3)
    assert row["test_accuracy"] is None
    assert describe_run(get_run(run.run_id)) == row
