"""Sentences say what the numbers bear out, and nothing else."""

import pytest

from lib.evaluation.resampling import Estimate
from lib.explain.concepts import ConceptScore, ConceptTest
from lib.explain.drift_reading import concept_method, concept_sentence, method, reading, reset_sentence, resets_sentence
from tests.explain.test_drift import make_drift, make_reset, make_resets, make_row

SAME = Estimate(1.0, 1.0, 1.0, 0.0)


def test_frozen_stages_stayed_and_the_least_like_stage_is_named() -> None:
    said = reading(
        make_drift(
            make_row("stem", weights=0.0, cka=SAME),
            make_row("low", weights=0.0, cka=SAME),
            make_row("mid", weights=0.01, cka=Estimate(0.99, 0.985, 0.995, 0.01)),
            make_row("high", weights=0.2, cka=Estimate(0.5, 0.4, 0.6, 0.05)),
            make_row("top", weights=0.19, cka=Estimate(0.8, 0.7, 0.9, 0.05)),
        )
    )
    assert (
        "moved the weights of high and top most (up to 20\u00a0% of their length); stem and low did not move at all."
        in said
    )
    assert "What mid and earlier answer to is nearly unchanged (CKA above 0.98)" in said
    assert "the answers of high are the least like those before (CKA 0.50, 0.40 to 0.60)." in said
    assert "top" not in said.split("least like")[1]


def test_stages_whose_intervals_overlap_the_lowest_are_named_with_it() -> None:
    said = reading(
        make_drift(
            make_row("low", cka=Estimate(0.55, 0.45, 0.65, 0.05)), make_row("high", cka=Estimate(0.5, 0.4, 0.6, 0.05))
        )
    )
    assert "the answers of low and high are the least like" in said.casefold()
    assert "(CKA 0.50, 0.40 to 0.60 at high)" in said


def test_a_wide_interval_of_cka_claims_nothing() -> None:
    said = reading(make_drift(make_row("stem", cka=Estimate(0.9, 0.7, 1.0, 0.1))))
    assert "Whether the answers of any stage changed is not shown at n = 50." in said
    still = reading(make_drift(make_row("stem", cka=Estimate(0.995, 0.99, 1.0, 0.002))))
    assert "Still, what all stages answer to is nearly unchanged (CKA above 0.98)." in still


def test_statistics_that_moved_more_than_weights_are_named() -> None:
    said = reading(make_drift(make_row("stem", weights=0.01, statistics=0.5), make_row("high", weights=0.02)))
    assert "BatchNorm's statistics moved more than the weights, most in stem (50\u00a0%)" in said
    only = reading(make_drift(make_row("stem", weights=0.0, normalization=0.1, cka=SAME)))
    assert "moved no weight of a convolution or linear layer, only normalisation" in only
    nothing = reading(make_drift(make_row("stem", weights=0.0, cka=SAME)))
    assert nothing == "No weight moved: the run's network is the one that it started from."


def test_probes_are_spoken_of_where_a_difference_holds_for_all_stages_tried() -> None:
    # 2.1 standard errors: shown alone (95 %), not among four (2.5 are needed).
    gained = [Estimate(0.105, 0.005, 0.205, 0.05), *[Estimate(0.0, -0.1, 0.1, 0.05)] * 3]
    rows = [make_row(f"s{number}", gained=one) for number, one in enumerate(gained)]
    assert "A probe reads no more and no less from any stage than before" in reading(make_drift(*rows))
    assert "A probe reads more from s0 (10.5 points of accuracy (0.5 to 20.5)) than before" in reading(
        make_drift(rows[0])
    )
    rows[1] = make_row("s1", gained=Estimate(-0.3, -0.4, -0.2, 0.05))
    assert "A probe reads less from s1 (30.0 points of accuracy (20.0 to 40.0)) than before" in reading(
        make_drift(*rows)
    )


def test_a_reset_costs_gains_or_is_not_shown() -> None:
    costs, open_, same = (
        make_reset("high", cost=(0.12, 0.04, 0.2)),
        make_reset("low", cost=(0.02, -0.05, 0.09), p_value=0.5),
        make_reset("stem", cost=(0.0, 0.0, 0.0), p_value=1.0, num_changed=0),
    )
    table = make_resets(costs, open_, same)
    assert "With high (High) put back: kappa 0.50 (0.40 to 0.60), accuracy 50.0" in reset_sentence(table, costs)
    assert reset_sentence(table, costs).endswith(
        "It costs 0.12 kappa (0.04 to 0.20) (9 of 50 answers changed, p = 0.001)."
    )
    assert "No difference is shown: a cost of 0.02 kappa (-0.05 to 0.09)" in reset_sentence(table, open_)
    assert reset_sentence(table, same).endswith("No answer changed.")
    gains = make_reset("low", cost=(-0.12, -0.2, -0.04))
    assert "It gains 0.12 kappa (0.04 to 0.20)" in reset_sentence(make_resets(gains), gains)
    undefined = make_reset("low", cost=(float("nan"),) * 3, p_value=float("nan"))
    assert "The difference is not defined on these 50 images." in reset_sentence(make_resets(undefined), undefined)
    assert "-0.00" not in reset_sentence(table, make_reset("low", cost=(-0.001, -0.004, 0.003), p_value=0.9))


def test_all_stages_tried_are_judged_together() -> None:
    """p = 0.03 for one of three stages is chance once three were tried (Holm)."""
    rows = [
        make_reset(name, cost=(0.1, 0.01, 0.2), p_value=p) for name, p in (("stem", 0.5), ("low", 0.9), ("high", 0.03))
    ]
    assert "none of the 3 stages that were tried changes the kappa by more than chance at n = 50" in resets_sentence(
        make_resets(*rows)
    )
    rows[2] = make_reset("high", cost=(0.12, 0.04, 0.2), p_value=0.01)
    everything = make_reset("stem", "low", "high", cost=(0.3, 0.2, 0.4))
    said = resets_sentence(make_resets(*rows, everything))
    assert said == (
        "Put back as it was, high (High) costs 0.12 kappa (0.04 to 0.20); of the other 2 no difference is shown; "
        "all stages together cost 0.30 kappa (0.20 to 0.40)."
    )
    assert resets_sentence(make_resets(everything)) == ""
    assert said in reading(make_drift(make_row("high")), make_resets(*rows, everything))


def test_the_method_says_which_images_and_that_patients_stay_together() -> None:
    said = method(make_drift(make_row("stem")))
    assert "for 50 images of 25 groups (patients), kept together, none of which the run was trained on" in said
    assert "fitted on 100 others" in said
    other = method(make_drift(make_row("stem"), is_held_out=False, num_fitted=0, why_no_probes="Seen."))
    assert "some of which the run may have trained on" in other
    assert "No probes: Seen." in other


def score(concept: str, stage: str, value: float, p_value: float, separation: float = 0.8) -> ConceptScore:
    return ConceptScore(
        concept=concept, stage=stage, score=Estimate(value, value, value, 0.0), random=Estimate(0.5, 0.4, 0.6, 0.05),
        p_value=p_value, separation=Estimate(0.9, separation, 1.0), num_images=20,
    )  # fmt: skip


def make_test(*rows: ConceptScore, notes: tuple[str, ...] = ()) -> ConceptTest:
    return ConceptTest(
        run_id="r", run_label="R", dataset="d", dataset_title="D", class_name="Severe", num_target_images=12,
        num_counterparts=10, num_random=30, counterpart="images without it", rows=rows, notes=notes,
    )  # fmt: skip


def test_concepts_raise_or_lower_a_score_or_are_not_shown() -> None:
    test = make_test(
        score("spot", "low", 0.9, 0.001), score("spot", "high", 1.0, 0.001), score("brick", "low", 0.1, 0.001),
        score("brick", "high", 0.6, 0.3), score("leaf", "low", 1.0, 0.001, separation=0.49),
        score("leaf", "high", 1.0, 0.2), notes=("Moss: only 3 images with it, and a concept needs 10.",),
    )  # fmt: skip
    said = concept_sentence(test)
    assert (
        "Of the score of Severe (12 images of it asked): spot raises it at low and high; brick lowers it at low."
        in said
    )
    assert "Not shown: leaf. Moss: only 3 images" in said
    assert concept_sentence(make_test(score("leaf", "low", 1.0, 0.2))) == (
        "No concept is shown to change the score of Severe (12 images of it asked) more than random directions do."
    )
    assert "no proof of a cause" in concept_method(test)
    assert ConceptTest.from_dict(test.to_dict()).to_dict() == test.to_dict()
    with pytest.raises(ValueError, match="format"):
        ConceptTest.from_dict({**test.to_dict(), "format_version": 0})
