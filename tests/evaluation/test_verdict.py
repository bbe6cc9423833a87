"""The verdict where the two rules differ, worked out by hand."""

import numpy as np
import pytest

from lib.evaluation.verdict import GRADED, REFUSED, UNLIKE, Verdict, decide

NAMES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
TORN = np.array([0.3, 0.0, 0.1, 0.2, 0.4])  # expected grade 0.2 + 0.6 + 1.6 = 2.4
LIMITS = (0.5, 1.5, 2.45, 3.5)


def test_the_most_probable_class_and_the_expected_grade_differ():
    by_share, by_grade = decide(TORN, NAMES), decide(TORN, NAMES, limits=LIMITS)
    assert (by_share.class_name, by_share.target, by_share.confidence) == ("Proliferative", 4, 0.4)
    assert (by_grade.class_name, by_grade.target, by_grade.confidence) == ("Moderate", 2, 0.1)
    assert (by_share.rule, by_grade.rule) == ("most probable class", "expected grade")
    assert by_share.expected_grade is None
    assert by_grade.expected_grade == pytest.approx(2.4)
    assert by_share.most_probable == by_grade.most_probable == "Proliferative"
    assert by_share.probabilities == by_grade.probabilities == dict(zip(NAMES, TORN, strict=True))


def test_each_rule_has_its_own_close_call():
    # 0.4 - 0.3 < 0.2; and 2.45 - 2.4 < 0.1.
    by_share, by_grade = decide(TORN, NAMES), decide(TORN, NAMES, limits=LIMITS)
    assert (by_share.is_close_call, by_share.runner_up) == (True, "No DR")
    assert (by_grade.is_close_call, by_grade.runner_up) == (True, "Severe")
    assert by_share.sentence == "A close call: 40 %, and No DR 30 %."
    assert by_grade.sentence == (
        "A close call: expected grade 2.40, limit to Severe 2.45; the most probable class is Proliferative (40.0 %), "
        "this one has 10.0 %."
    )
    clear = decide(TORN, NAMES, limits=(0.5, 1.5, 3.0, 3.5))
    assert not clear.is_close_call
    assert clear.sentence.startswith("Expected grade 2.40; the most probable class is Proliferative")
    below = decide(TORN, NAMES, limits=(0.5, 2.35, 3.0, 3.5))  # 0.05 above the limit to Mild
    assert (below.class_name, below.runner_up, below.is_close_call) == ("Moderate", "Mild", True)


@pytest.mark.parametrize("limits", [None, LIMITS])
def test_a_refused_image_stays_refused_under_both_rules(limits):
    seen = Verdict(status=UNLIKE, distance=0.5, threshold=0.3, reason="Unlike.")
    verdict = decide(TORN, NAMES, limits=limits, seen=seen)
    assert (verdict.status, verdict.class_name, verdict.target, verdict.probabilities) == (UNLIKE, None, None, {})
    assert verdict.scores == tuple(TORN)
    assert (verdict.sentence, verdict.is_close_call, verdict.expected_grade) == ("", False, None)


def test_no_number_is_no_answer():
    verdict = decide(np.array([np.nan, 0.5]), ("a", "b"))
    assert (verdict.status, verdict.class_name) == (REFUSED, None)
    assert "no number" in verdict.reason
    assert decide(np.array([0.25, 0.75]), ("a", "b")).status == GRADED
