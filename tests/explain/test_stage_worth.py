import json
import math

import numpy as np
import pytest

from lib.errors import UserError
from lib.evaluation.metric_table import ACCURACY, KAPPA
from lib.evaluation.resampling import Estimate
from lib.explain.stage_worth import PRETRAINED, RANDOM, RUN, StageRow, StageWorth, judge_answers

TARGETS = np.array([0, 1] * 50)


def right(*numbers: int) -> list[np.ndarray]:
    """Answers of stages of which so many are right, the same images being hard for all."""
    return [np.where(np.arange(100) < number, TARGETS, 1 - TARGETS) for number in numbers]


def bare_rows(number: int) -> list[StageRow]:
    return [
        StageRow(stage=f"s{n}", title=f"Stage {n}", num_features=4, head_parameters=10, right_parameters=100)
        for n in range(1, number + 1)
    ]


def make_worth(
    pretrained: list[int] | None,
    random: list[int] | None = None,
    run: list[int] | None = None,
    **changes: object,
) -> StageWorth:
    """A table of stages of which so many of 100 answers are right."""
    given = {PRETRAINED: pretrained, RANDOM: random, RUN: run}
    answers = {curve: right(*numbers) for curve, numbers in given.items() if numbers is not None}
    rows = bare_rows(max(len(own) for own in answers.values()))
    judged, best, top, of_run = judge_answers(
        rows, answers, TARGETS, metric=ACCURACY, num_classes=2, groups=None
    )  # fmt: skip
    facts: dict[str, object] = {
        "dataset": "pets", "dataset_title": "Pets", "dataset_version": "v1", "backbone": "resnet18",
        "backbone_title": "ResNet-18", "pretrained_on": "ImageNet", "metric": "accuracy", "is_ordinal": False,
        "chance": 0.5, "commonest_class": "cat", "num_fitted": 400, "num_scored": 100, "num_units": 100,
    }  # fmt: skip
    return StageWorth(rows=judged, best=best, top=top, best_of_run=of_run, **{**facts, **changes})  # type: ignore[arg-type]


def test_points_and_differences_are_those_of_the_same_images():
    worth = make_worth([60, 90, 80], [50, 60, 70], [60, 95])
    first, second, third = worth.rows
    assert second.pretrained.value == 0.9
    assert second.borrowed.value == pytest.approx(0.3)
    assert third.behind.value == pytest.approx(0.1)
    assert second.behind.value == 0
    assert second.gained.value == pytest.approx(0.05)
    assert (first.gained.value, first.gained.low, first.gained.high) == (0, 0, 0)
    assert third.run is third.gained is None  # the run's network ends before
    assert (worth.best, worth.top, worth.best_of_run) == (1, 1, 1)


def test_the_best_stage_is_the_earliest_within_one_standard_error_of_the_highest():
    # A difference of 1 in 100 has a standard error of about 1 in 100, one of 4 an error of about 2.
    assert (make_worth([60, 89, 90]).best, make_worth([60, 89, 90]).top) == (1, 2)
    assert make_worth([60, 86, 90]).best == 2


def test_json_and_back_also_of_what_is_not_defined():
    worth = make_worth([60, 90], [50, 60], [70], seconds={"pretrained": 2.5})
    assert StageWorth.from_dict(json.loads(json.dumps(worth.to_dict()))) == worth
    odd = StageRow(**{**vars(worth.rows[0]), "random": Estimate(0.1, math.nan, math.nan)})
    content = make_worth([60, 90]).to_dict() | {"rows": [vars(odd) | {"random": {"value": 0.1, "low": None,
                                                "high": None, "error": None}}]}  # fmt: skip
    content["rows"][0] = {k: vars(v) if isinstance(v, Estimate) else v for k, v in content["rows"][0].items()}
    assert math.isnan(StageWorth.from_dict(content).rows[0].random.low)


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="of format 99"):
        StageWorth.from_dict(make_worth([60]).to_dict() | {"format_version": 99})


def test_an_unknown_stage_names_those_there_are():
    with pytest.raises(UserError, match=r"no stage 'stem' here\. Choose one of: s1, s2"):
        make_worth([60, 70]).number("stem")


def test_without_a_pretrained_curve_the_run_decides():
    worth = make_worth(None, [50, 60, 55], [60, 95])
    assert (worth.main, worth.curves) == (RANDOM, (RANDOM, RUN))
    assert worth.best_of_run == 1


def test_a_kappa_that_is_defined_nowhere_is_one_sentence():
    ones = np.zeros(8, dtype=np.int64)
    with pytest.raises(UserError, match="kappa of no stage is defined: the 8 images to score are all of one class"):
        judge_answers(bare_rows(1), {PRETRAINED: [ones]}, ones, metric=KAPPA, num_classes=3, groups=None)
