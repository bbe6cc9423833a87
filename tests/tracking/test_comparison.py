"""Several runs by one metric: what is compared with what, the correction, the verdict and the cautions."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lib.errors import UserError
from lib.evaluation.comparison import PairedComparison, compare_paired, holm
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS
from lib.tracking.comparison import compare, summary_sentence
from lib.tracking.records import RunRecord
from lib.tracking.tested import TestedRun

NUM = 120
TARGETS = np.repeat(np.arange(3), 40)
NAMES = ["low", "middle", "high"]
STUDY_1 = {
    # Rows = true grade, columns = predicted; accuracy and kappa as published (VGG16, 2016).
    "LR": ([[15, 19, 17, 9, 0], [20, 24, 10, 5, 1], [12, 13, 13, 12, 10], [7, 4, 11, 24, 14], [4, 2, 11, 10, 33]],
           0.36333, 0.51096),
    "MLP1": ([[40, 6, 8, 0, 0], [5, 46, 12, 2, 0], [7, 5, 46, 4, 2], [5, 5, 8, 31, 11], [2, 3, 6, 9, 37]],
             0.66667, 0.74558),
    "MLP2": ([[36, 11, 4, 1, 2], [13, 45, 4, 1, 2], [5, 15, 35, 5, 4], [5, 8, 6, 31, 10], [4, 1, 3, 6, 43]],
             0.63333, 0.70822),
    "FT1": ([[32, 7, 10, 4, 1], [13, 37, 11, 4, 0], [7, 3, 45, 6, 3], [1, 4, 8, 32, 15], [0, 3, 3, 12, 39]],
            0.61667, 0.74487),
    "FT2": ([[34, 11, 6, 2, 1], [5, 49, 8, 3, 0], [6, 12, 40, 5, 1], [3, 9, 10, 30, 8], [1, 3, 7, 10, 36]],
            0.63, 0.72214),
}  # fmt: skip


def run(name: str, **tags: str) -> RunRecord:
    return RunRecord(
        run_id=name, name=name, state="finished", message="", ending="", created_s=0.0, ended_s=1.0,
        config={"dataset": "eyes"}, metrics={}, folder=Path("nowhere"), tags=tags,
    )  # fmt: skip


def answers_of(name: str, *, wrong: int = 0, offset: int = 0, seed: int = 0, **changes) -> TestedRun:
    """Answers of which `wrong` in a row from `offset` on are one grade off; not quite sure."""
    answers = TARGETS.copy()
    rows = np.arange(offset, offset + wrong) % NUM
    answers[rows] = (answers[rows] + 1) % 3
    random = np.random.default_rng(seed)
    probabilities = np.eye(3)[answers] + random.uniform(0.05, 0.3, (NUM, 3))
    probabilities /= probabilities.sum(1, keepdims=True)
    ids = np.array([f"{number:03d}" for number in range(NUM)])
    own = {"run": run(name), "targets": TARGETS, "image_ids": ids, "class_names": NAMES, **changes}
    return TestedRun(label=name, probabilities=probabilities, is_ordinal=True, **own)


def compared(*several: TestedRun, metric=ACCURACY, **settings):
    by_id = {one.run.run_id: one for one in several}
    runs, labels = [one.run for one in several], {one.run.run_id: one.label for one in several}
    return compare(runs, metric, labels, lambda run: by_id[run.run_id], **settings)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_rows_stand_in_order_of_any_metric_and_p_values_are_corrected_together(metric):
    several = [answers_of("bad", wrong=50), answers_of("good", wrong=5, seed=1), answers_of("fair", wrong=20, seed=2)]
    found = compared(*several, metric=metric)
    worths = [metric.worth(row.value.value) for row in found.rows]
    assert worths == sorted(worths, reverse=True)
    best, second, third = (row.label for row in found.rows)
    if metric.key != "calibration_error":
        assert (best, second, third) == ("good", "fair", "bad")
    assert found.best == best
    pairs = [pair.found for pair in found.pairs]
    assert [pair.names for pair in pairs] == [(best, second), (best, third), (second, third)]
    assert [pair.p_holm for pair in pairs] == holm([pair.p_value for pair in pairs])
    by_name = {one.label: one for one in several}
    for pair in pairs:
        one, other = (by_name[name].probabilities for name in pair.names)
        alone = compare_paired(TARGETS, one, other, metric=metric)
        assert (pair.difference, pair.p_value, pair.low) == (alone.difference, alone.p_value, alone.low)
        assert pair.is_first_better
    assert f"{best} has the {'lowest' if metric.is_lower_better else 'highest'} {metric.word}" in found.verdict
    assert "Holm-corrected for 3 tests" in found.verdict
    assert all("after Holm's correction for 3 tests" in pair.sentence for pair in found.pairs)
    assert json.loads(json.dumps(found.to_dict()))["metric"] == metric.key


def test_two_runs_need_no_correction_and_a_small_lead_is_not_shown():
    found = compared(answers_of("a", wrong=10), answers_of("b", wrong=11, offset=60))
    assert "Holm" not in found.verdict
    assert found.verdict == (
        "a has the highest accuracy: 91.7\u00a0% (85.3\u00a0% to 95.4\u00a0%). It is ahead of b by 0.8 percentage "
        "points (-6.9 to 8.5), but that could be chance (n = 120, the same images)."
    )
    assert found.pairs[0].sentence.startswith("Not shown: a is 0.8 percentage points ahead of b, which could be chance "
                                              "at n = 120")  # fmt: skip


def test_lower_is_better_is_worded_so():
    found = compared(answers_of("sure", wrong=2), answers_of("torn", wrong=60), metric=METRICS["log_loss"])
    assert found.best == "sure"
    assert found.pairs[0].found.difference < 0
    assert found.pairs[0].sentence.startswith("The log loss of sure is ")
    assert " lower than that of torn (" in found.pairs[0].sentence


def test_patients_count_whole_and_one_patient_says_nothing():
    groups = np.array([f"p{number // 2}" for number in range(NUM)])
    found = compared(answers_of("a", wrong=10, groups=groups), answers_of("b", wrong=30, groups=groups))
    assert found.rows[0].value.num_units == 60
    assert "n = 120 of 60 patients or groups" in found.pairs[0].sentence
    few = np.array([f"p{number // 6}" for number in range(NUM)])
    found = compared(answers_of("a", wrong=10, groups=few), answers_of("b", wrong=30, groups=few))
    assert found.rows[0].value.reason.startswith("too few patients")
    assert "no interval: too few patients" in found.pairs[0].sentence
    one = np.array(["p"] * NUM)
    found = compared(answers_of("a", wrong=10, groups=one), answers_of("b", wrong=30, groups=one))
    assert "all 120 images are of one patient or group" in found.pairs[0].sentence
    assert not found.pairs[0].found.is_significant


def test_runs_of_other_images_are_compared_on_what_they_share_or_not_at_all():
    whole, part = answers_of("whole", wrong=20), answers_of("part", wrong=5)
    part = part.taking(np.arange(60))
    found = compared(whole, part)
    assert found.pairs[0].found.n == 60
    assert found.pairs[0].sentence.endswith("(On the 60 test images that they share.)")
    assert any("Not all were tested on the same images" in caution for caution in found.cautions)
    apart = compared(answers_of("whole").taking(np.arange(60, 120)), part)
    assert apart.pairs[0].found is None
    assert apart.pairs[0].sentence == "Not compared: whole and part share no test images (use one --split-seed)."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": "other"}, "were tested on different data sets"),
        ({"target_map": "any_dr"}, "tell different classes apart (target_map none and any_dr)"),
    ],
)
def test_runs_of_other_data_or_classes_are_not_compared(changes, sentence):
    other = dataclasses.replace(run("b"), config={"dataset": "eyes", **changes})
    found = compared(answers_of("a"), answers_of("b", wrong=9, run=other))
    assert found.pairs[0].found is None
    assert sentence in found.pairs[0].sentence
    assert found.pairs[0].to_dict()["n"] == 0


def test_a_run_without_predictions_has_its_sentence_and_the_others_are_compared():
    several = {"a": answers_of("a", wrong=3), "b": answers_of("b", wrong=40)}

    def read(one):
        if one.run_id not in several:
            raise UserError("The run gone has no predictions.")
        return several[one.run_id]

    found = compare(
        [run(name) for name in ("a", "gone", "b")], ACCURACY, {name: name for name in ("a", "b", "gone")}, read
    )
    assert "Not compared: The run gone has no predictions." in found.cautions
    assert [pair.found is None for pair in found.pairs].count(False) == 1
    assert found.best == "a"


def test_folds_are_compared_by_the_means_that_are_shown():
    folds = np.arange(NUM) % 4
    a, b = answers_of("a", wrong=10, folds=folds), answers_of("b", wrong=30, seed=1, folds=folds)
    found = compared(a, b, metric=METRICS["auroc"])
    values = [row.value.value for row in found.rows]
    assert found.rows[0].value.method == "folds"
    assert found.pairs[0].found.difference == pytest.approx(values[0] - values[1])
    assert found.pairs[0].sentence.endswith("(Means over the same folds.)")
    mixed = compared(a, answers_of("b", wrong=30, folds=(folds + np.arange(NUM) // 60) % 4))
    assert mixed.pairs[0].sentence.endswith("(All folds counted together.)")


def series(name, wrongs):
    return [answers_of(f"{name}{seed}", wrong=wrong, offset=5 * seed, run=run(f"{name}{seed}", group_id=name))
            for seed, wrong in enumerate(wrongs)]  # fmt: skip


def test_seeds_of_a_series_are_one_row_with_mean_and_standard_deviation():
    found = compared(*series("a", (10, 12, 14)), *series("b", (40, 44, 42)))
    assert len(found.rows) == 2
    best = found.rows[0]
    shares = 1 - np.array([10, 12, 14]) / NUM
    assert best.values == pytest.approx(shares)
    assert best.value.value == pytest.approx(shares.mean())
    assert best.value.high - best.value.value == pytest.approx(shares.std(ddof=1))
    assert "standard deviation of 3 seeds" in best.words(ACCURACY)
    assert found.pairs[0].found.is_significant
    assert "Welch's p" in found.pairs[0].sentence


def test_what_a_series_cannot_be_tested_against_has_a_sentence():
    found = compared(*series("a", (10, 12, 14)), answers_of("single", wrong=30))
    assert "one is a series of seeds and one a single run" in found.pairs[0].sentence
    more = compared(*series("a", (10, 12, 14)), answers_of("single", wrong=5), answers_of("worse", wrong=90))
    assert more.verdict.endswith("Not tested against a0 · 3 seeds.")
    short = compared(*series("a", (10, 12)), *series("b", (40, 44, 42)))
    assert "needs 3 seeds each, and has 2 and 3" in short.pairs[0].sentence
    same = compared(*series("a", (10, 10, 10)), *series("b", (20, 20, 20)))
    assert "every seed of" in same.pairs[0].sentence


def test_cautions_are_said():
    constant = dataclasses.replace(answers_of("stubborn"), probabilities=np.tile([0.1, 0.8, 0.1], (NUM, 1)))
    rows = np.r_[0:45, 80:84]  # 40 low, 5 middle, 4 high
    found = compared(answers_of("a").taking(rows), constant.taking(rows), num_looks={"x": 3})
    said = "\n".join(found.cautions)
    assert "stubborn calls every image middle" in said
    assert "Few test images of middle (5) and high (4)" in said
    absent = compared(answers_of("a").taking(np.arange(80)), answers_of("b", wrong=9).taking(np.arange(80)))
    assert any("no image of high" in caution for caution in absent.cautions)
    one = compared(
        answers_of("a").taking(np.arange(40)), answers_of("b", wrong=9).taking(np.arange(40)), metric=METRICS["auroc"]
    )
    assert any("of one class (low)" in caution for caution in one.cautions)
    assert one.rows[0].value.reason.startswith("not defined")
    assert one.verdict == ""
    assert "the AUROC of a and b is not defined" in one.pairs[0].sentence


def test_many_looks_say_what_chance_alone_would_give():
    several = answers_of("a", wrong=30), answers_of("b", wrong=31)
    test_set = compared(*several).rows[0].test_set
    assert not any("looks" in caution or "runs were tested" in caution for caution in compared(*several).cautions)
    found = compared(*several, num_looks={test_set: 20})
    caution = next(caution for caution in found.cautions if "runs were tested" in caution)
    # The standard error of 75 % of 120 is about 4 points; the best of 20 normal values lies 1.87 of them above.
    assert caution.startswith("20 runs were tested on these 120 images")
    assert "would look up to 7." in caution


def test_unordered_classes_have_no_kappa():
    plain = [
        dataclasses.replace(answers_of(name, wrong=wrong), is_ordinal=False) for name, wrong in (("a", 3), ("b", 9))
    ]
    found = compared(*plain, metric=KAPPA)
    assert [row.value.reason for row in found.rows] == ["kappa needs ordered classes"] * 2
    assert found.pairs[0].sentence == "Not compared: kappa needs ordered classes."


@pytest.mark.parametrize("name", STUDY_1)
def test_the_first_studys_figures_follow_from_its_matrices(name):
    matrix, accuracy, kappa = STUDY_1[name]
    matrix = np.array(matrix)
    targets, answers = np.repeat(np.indices((5, 5)).reshape(2, -1), matrix.ravel(), axis=1)
    assert len(targets) == 300
    assert ACCURACY.compute(targets, np.eye(5)[answers]) == pytest.approx(accuracy, abs=5e-6)
    assert KAPPA.compute(targets, np.eye(5)[answers]) == pytest.approx(kappa, abs=5e-6)


def difference(value: float, is_significant: bool) -> PairedComparison:
    p_value = 0.01 if is_significant else 0.5
    return PairedComparison(
        metric="accuracy", names=("A", "B"), values=(0.5 + value, 0.5), difference=value, p_value=p_value, n=40
    )


def test_many_runs_are_compared_in_one_sentence():
    made = [difference(d, shown) for d, shown in ((0.2, True), (0.3, True), (0.01, False))]
    others = list(zip(("MLP", "Partial", "Full"), made, strict=True))
    assert summary_sentence(others) == (
        "It is ahead of MLP and Partial by 20.0 to 30.0 percentage points, more than by chance; its lead over Full "
        "could be chance (n = 40, the same images)."
    )
    assert summary_sentence(others[2:]) == (
        "It is ahead of Full by 1.0 percentage points, but that could be chance (n = 40, the same images)."
    )
    assert summary_sentence(others * 3).startswith("It is ahead of 6 of the others by 20.0 to 30.0 percentage points")
    assert summary_sentence(others[:2] * 3).startswith("It is ahead of all 6 others by 20.0 to 30.0 percentage points")


@pytest.mark.parametrize("metric", [ACCURACY, METRICS["balanced_accuracy"]])
def test_of_many_runs_each_is_compared_with_the_best_and_corrected_for_all_pairs(metric):
    several = [
        answers_of(f"run {number}", wrong=2 if number == 3 else 50 + number, seed=number) for number in range(20)
    ]
    found = compared(*several, metric=metric)
    assert found.best == "run 3"
    assert len(found.pairs) == 19
    assert {pair.found.num_tests for pair in found.pairs} == {190}
    # The smallest p value of 2,000 swaps would not survive 190 tests.
    assert all(pair.found.is_significant for pair in found.pairs)
    assert "ahead of all 19 others" in found.verdict


def test_a_deleted_data_set_is_said_to_hide_the_patients():
    found = compared(answers_of("a", wrong=3), answers_of("b", wrong=9))
    assert any("The data set eyes is not in the library" in caution for caution in found.cautions)
