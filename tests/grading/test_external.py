"""Results on other data: differences with intervals, whole patients, what is kept, deleted and brought back."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from lib.errors import UserError
from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import wilson_interval
from lib.grading.evaluation import Evaluation
from lib.grading.external import (
    ExternalResult,
    delete_external,
    difference_of_independent,
    external_answers,
    external_of_runs,
    external_results,
    external_tested,
    measure_external,
    restore_external,
    store_external,
)
from lib.tracking import create_run, get_run
from lib.tracking.state import run_folder
from tests.run_store import make_run_store

NAMES = ("a", "b")


def answers_of(num, num_right, *, first=0, fold=None):
    """Half of the images of each class; the last ones are wrong."""
    targets = np.arange(num) % 2
    answers = np.where(np.arange(num) < num_right, targets, 1 - targets)
    table = pd.DataFrame(
        {"image_id": [f"{first + row:016x}" for row in range(num)], "split": "test", "target": targets}
    )
    if fold is not None:
        table["fold"] = fold
    return table.assign(probability_0=np.where(answers == 0, 0.8, 0.2), probability_1=np.where(answers == 1, 0.8, 0.2))


@pytest.fixture
def run(home):
    make_run_store()
    made = create_run({"dataset": "own", "strategy": "linear_probe", "split_seed": 0}, name="Probe")
    answers_of(100, 90).to_parquet(made.folder / "predictions.parquet")
    made.finish("finished")
    return get_run(made.run_id)


def evaluation(answers, **figures):
    about = {
        "dataset": "elsewhere", "dataset_version": "v1", "class_names": list(NAMES), "is_ordinal": False, "mapping": "",
        "merged": [], "images": "all", "classes_without_images": [], "num_seen_left_out": 3, "num_near_left_out": None,
        "num_unmapped": 0, "note": "A note.",
    }  # fmt: skip
    return Evaluation(about | figures, answers)


def test_the_difference_of_two_shares_is_that_of_newcombe():
    # Newcombe 1998, Table II, (a) 56/70 - 48/80: 0.2000, method 10: 0.0524 to 0.3339.
    first, second = (Interval(x / n, *wilson_interval(x, n)) for x, n in ((56, 70), (48, 80)))
    found = difference_of_independent(first, second)
    assert (round(found.value, 4), round(found.low, 4), round(found.high, 4)) == (0.2, 0.0524, 0.3339)
    lacking = difference_of_independent(first, Interval(0.5, reason="too few images"))
    assert (lacking.is_known, lacking.reason) == (False, "too few images")


def test_every_metric_stands_beside_the_run_s_own_test(run):
    found = measure_external(run, evaluation(answers_of(60, 45, first=1000)), title="Elsewhere")
    assert set(found.scores) == set(METRICS)
    score = found.scores["accuracy"]
    assert (score.external.value, score.own.value, score.delta.value) == (0.75, 0.9, pytest.approx(-0.15))
    assert (score.external.low, score.external.high) == wilson_interval(45, 60)
    assert score.delta.low < -0.15 < score.delta.high < 0
    assert (found.num, found.num_units, found.num_own, found.num_shared) == (60, 60, 100, 0)
    assert found.left_out == {"seen_left_out": 3, "near_left_out": None, "unmapped": 0}
    said = found.sentence("Probe").replace("\u00a0", " ")
    assert said.startswith("Probe on Elsewhere: accuracy 75.0 % (62.8 % to 84.2 %) on 60 images that it had not seen")
    assert "15.0 percentage points below its own test images (90.0 %; 95 % interval of the difference -2" in said
    assert said.endswith("): more than chance.")
    loss = found.sentence("Probe", METRICS["log_loss"])
    assert "above its own test images" in loss
    same = measure_external(run, evaluation(answers_of(60, 54, first=1000)))
    assert "the same as on its own test images" in same.sentence("Probe")
    near = measure_external(run, evaluation(answers_of(60, 53, first=1000)))
    assert near.sentence("Probe").endswith("the difference could be chance.")


def test_groups_are_counted_whole(run, monkeypatch):
    """Sixty images of thirty patients, both of a patient right or wrong: half as many observations."""

    def groups(dataset, ids):
        return np.array([f"patient {number // 2}" for number in range(len(ids))]) if dataset == "elsewhere" else None

    answers = answers_of(80, 60, first=1000)
    alone = measure_external(run, evaluation(answers)).scores["accuracy"].external
    monkeypatch.setattr("lib.data.library.image_groups", groups)
    found = measure_external(run, evaluation(answers))
    paired = found.scores["accuracy"].external
    assert (found.num, found.num_units, paired.num_units) == (80, 40, 40)
    assert paired.value == alone.value
    assert paired.high - paired.low > 1.25 * (alone.high - alone.low)  # sqrt(2) for whole pairs
    assert "80 images of 40 patients or groups" in found.sentence("Probe")


def test_images_of_the_own_test_set_are_named(run):
    found = measure_external(run, evaluation(answers_of(60, 45, first=90)))
    assert found.num_shared == 10
    assert "10 of the images are also among its own test images" in found.note


def test_merged_classes_are_merged_in_the_own_test_too(run):
    shares = np.array([[0.5, 0.2, 0.3], [0.3, 0.4, 0.3], [0.1, 0.3, 0.6], [0.4, 0.25, 0.35]])
    table = pd.DataFrame({"image_id": list("wxyz"), "split": "test", "target": [0, 0, 2, 2]})
    table[["probability_0", "probability_1", "probability_2"]] = shares
    table.to_parquet(run.folder / "predictions.parquet")
    # First class against the two others: 0.5, 0.3, 0.1, 0.4 of the first.
    found = measure_external(run, evaluation(answers_of(60, 45, first=1000), merged=[0, 1, 1]))
    assert found.scores["accuracy"].own.value == 0.75


def test_own_values_are_not_defined_where_predictions_are_gone(run):
    (run.folder / "predictions.parquet").unlink()
    found = measure_external(run, evaluation(answers_of(60, 45, first=1000)))
    assert math.isnan(found.scores["accuracy"].delta.value)
    assert found.sentence("Probe").endswith("that it had not seen in its training.")


def test_out_of_fold_results_are_those_of_the_folds(run):
    answers = answers_of(60, 45, fold=np.arange(60) % 3)
    found = measure_external(run, evaluation(answers, images="out_of_fold"))
    assert found.scores["accuracy"].external.method == "folds"
    assert math.isnan(found.scores["accuracy"].delta.value)


def test_an_evaluation_with_a_missing_class_and_too_few_images_has_no_interval(run):
    answers = answers_of(20, 18, first=1000)
    one_class = answers[answers["target"] == 0]
    found = measure_external(run, evaluation(one_class, classes_without_images=["b"]))
    assert found.scores["auroc"].external.reason
    assert "AUROC not defined (no interval" in found.sentence("Probe", METRICS["auroc"])
    assert found.scores["balanced_accuracy"].delta.value == found.scores["balanced_accuracy"].external.value - 0.9
    assert found.scores["accuracy"].external.is_known  # Wilson's, of ten images too


def test_a_result_is_kept_replaced_deleted_and_brought_back(run):
    made = evaluation(answers_of(60, 45, first=1000))
    result = measure_external(run, made, title="Elsewhere")
    store_external(result, made.answers)
    (kept,) = external_results(run.run_id)
    assert kept.to_dict() == result.to_dict()
    assert ExternalResult.from_dict(kept.to_dict()).sentence("x") == result.sentence("x")
    pd.testing.assert_frame_equal(external_answers(kept), made.answers)
    assert list(external_of_runs([run.run_id, "0" * 32])) == [run.run_id]
    store_external(dataclasses.replace(result, made_s=result.made_s - 1), made.answers)
    assert len(external_results(run.run_id)) == 1
    other = measure_external(run, evaluation(answers_of(60, 45, first=1000), mapping="x=a"))
    store_external(other, made.answers)
    assert [one.mapping for one in external_results(run.run_id)] == ["x=a", ""]
    delete_external(run.run_id, other.key)
    assert [one.mapping for one in external_results(run.run_id)] == [""]
    restore_external(run.run_id, other.key)
    assert len(external_results(run.run_id)) == 2
    with pytest.raises(UserError, match="no such result"):
        delete_external(run.run_id, "../..")
    with pytest.raises(UserError, match="no such deleted result"):
        restore_external(run.run_id, "0" * 16)


def test_what_cannot_be_read_is_passed_over(run):
    made = evaluation(answers_of(60, 45, first=1000))
    folder = store_external(measure_external(run, made), made.answers)
    (folder / "result.json").write_text("{}")
    assert external_results(run.run_id) == []
    assert external_of_runs([run.run_id]) == {}
    store_external(measure_external(run, made), made.answers)
    (folder / "answers.parquet").write_text("damaged")
    (kept,) = external_results(run.run_id)
    with pytest.raises(UserError, match="cannot be read; evaluate on it again"):
        external_answers(kept)


def test_pictures_read_the_answers_as_of_a_tested_run(run):
    made = evaluation(answers_of(60, 45, first=1000))
    result = measure_external(run, made)
    store_external(result, made.answers)
    found = external_tested(run, "Probe", result)
    assert found.matrix.tolist() == [[23, 7], [8, 22]]
    assert (found.run.config["dataset"], found.run.config["dataset_version"]) == ("elsewhere", "v1")
    assert found.run.config["strategy"] == "linear_probe"


def test_a_run_of_another_machine_keeps_nothing(run):
    made = evaluation(answers_of(60, 45, first=1000))
    result = dataclasses.replace(measure_external(run, made), run_id="f" * 32)
    with pytest.raises(UserError, match="has no folder on this machine"):
        store_external(result, made.answers)
    assert not run_folder("f" * 32).exists()
