import dataclasses

import numpy as np
import pytest

from lib.evaluation.metric_table import ACCURACY, KAPPA
from lib.evaluation.metrics import accuracy, bootstrap_interval, quadratic_weighted_kappa, wilson_interval
from lib.evaluation.resampling import Estimate, as_plain, draw_scores, estimate_of

TARGETS = np.array([0, 1, 2, 3] * 15)


def answers(*wrong: int) -> np.ndarray:
    """One row of answers for each number of wrong ones, which come first."""
    found = np.tile(TARGETS, (len(wrong), 1))
    for row, number in enumerate(wrong):
        found[row, :number] = (found[row, :number] + 1) % 4
    return found


def certain(one: np.ndarray) -> np.ndarray:
    return np.eye(4)[one]


def test_scores_are_those_of_the_metrics():
    sets = answers(0, 6, 30)
    drawn = draw_scores(ACCURACY, TARGETS, sets, num_classes=4)
    assert drawn.scores == pytest.approx([1.0, 0.9, 0.5])
    graded = draw_scores(KAPPA, TARGETS, sets, num_classes=4)
    assert graded.scores == pytest.approx([quadratic_weighted_kappa(TARGETS, certain(one)) for one in sets])


def test_images_alone_have_wilsons_interval_also_where_all_are_right():
    drawn = draw_scores(ACCURACY, TARGETS, answers(0, 6), num_classes=4)
    assert (drawn.estimate(0).low, drawn.estimate(0).high) == wilson_interval(60, 60)
    assert (drawn.estimate(1).low, drawn.estimate(1).high) == wilson_interval(54, 60)


@pytest.mark.parametrize(("metric", "function"), [(ACCURACY, accuracy), (KAPPA, quadratic_weighted_kappa)])
def test_intervals_of_groups_are_those_of_the_bootstrap(metric, function):
    groups = np.repeat([f"patient {number}" for number in range(20)], 3)
    one = answers(20)[0]
    found = draw_scores(metric, TARGETS, one[None], num_classes=4, groups=groups, num_draws=4000).estimate(0)
    low, high = bootstrap_interval(function, TARGETS, certain(one), groups, n=4000, seed=1)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)
    assert found.error == pytest.approx((high - low) / 3.92, abs=0.02)


def test_whole_groups_are_drawn():
    """Twelve images of a patient that are right or wrong together are one observation, not twelve."""
    groups = np.repeat(list("abcde"), 12)
    alone = draw_scores(KAPPA, TARGETS, answers(12), num_classes=4).estimate(0)
    together = draw_scores(KAPPA, TARGETS, answers(12), num_classes=4, groups=groups).estimate(0)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_groups_that_are_all_right_still_have_an_interval():
    groups = np.repeat(list("abcde"), 12)
    found = draw_scores(ACCURACY, TARGETS, answers(0), num_classes=4, groups=groups).estimate(0)
    assert (found.low, found.high) == wilson_interval(5, 5)


def test_differences_are_paired():
    """Two sets that err on the same images do not differ at all, however uncertain each of them is."""
    drawn = draw_scores(ACCURACY, TARGETS, answers(30, 30, 20), num_classes=4)
    same, better = drawn.difference(0, 1), drawn.difference(2, 0)
    assert (same.value, same.low, same.high, same.error) == (0, 0, 0, 0)
    assert better.value == pytest.approx(1 / 6)
    assert 0 < better.low < 1 / 6 < better.high < 0.3
    assert drawn.difference(0, 2).low == pytest.approx(-better.high)


def test_the_seed_fixes_the_draws():
    first, again, other = (
        draw_scores(KAPPA, TARGETS, answers(20), num_classes=4, seed=seed).draws for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_kappa_that_is_not_defined_has_no_interval():
    targets = np.zeros(8, dtype=np.int64)
    found = draw_scores(KAPPA, targets, targets[None], num_classes=4).estimate(0)
    assert np.isnan([found.value, found.low, found.high]).all()


def test_an_estimate_passes_through_json() -> None:
    found = Estimate(0.5, float("nan"), float("inf"))
    plain = as_plain({"rows": (dataclasses.asdict(found),)})
    assert plain == {"rows": [{"value": 0.5, "low": None, "high": None, "error": None}]}
    again = estimate_of(plain["rows"][0])
    assert again.value == 0.5
    assert np.isnan([again.low, again.high, again.error]).all()
