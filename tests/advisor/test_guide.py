import json

import numpy as np
import pytest

from lib.advisor.guide import Advice, Readings, StageReading, recommend
from lib.advisor.measurement import feature_distance, logme, nearest_centroid_accuracy


def readings(distance: float | None, scores: tuple[float | None, ...] = (0.1, 0.4, 0.2, 0.9)) -> tuple:
    return tuple(StageReading(f"block{number}", distance, score) for number, score in enumerate(scores, 1))


@pytest.mark.parametrize(
    ("least", "distance", "strategy", "stage"),
    [
        (4, 5.0, "linear_probe", None),
        (40, 0.3, "linear_probe", None),
        (40, 3.0, "linear_probe", "block2"),  # the best of the earlier stages, not the last
        (40, None, "linear_probe", "block2"),
        (400, 0.3, "full_finetuning", None),
        (400, 3.0, "full_finetuning", None),
    ],
)
def test_guide_of_four_scenarios(least: int, distance: float | None, strategy: str, stage: str | None) -> None:
    advice = recommend(Readings(least_per_class=least, num_classes=2, stages=readings(distance)))
    assert (advice.strategy, advice.feature_stage) == (strategy, stage)
    assert str(least) in advice.reason
    assert "CS231n" in advice.source


def test_the_reason_calls_a_stage_by_its_title() -> None:
    found = Readings(least_per_class=40, num_classes=2, stages=readings(3.0))
    assert "the earlier stage Block 2 (block2)." in recommend(found, {"block2": "Block 2 (block2)"}).reason
    assert "the earlier stage block2." in recommend(found).reason


def test_distance_is_in_deviations_of_the_source() -> None:
    features = np.array([[1.0, 10.0], [3.0, 14.0]])  # means 2 and 12, deviations 1 and 2
    mean, variance = features.mean(axis=0), features.var(axis=0)
    assert feature_distance(mean, variance, np.array([2.0, 12.0]), np.array([1.0, 4.0])) == pytest.approx(0.0)
    # One deviation off in one of two channels: sqrt((1 + 0) / 2).
    assert feature_distance(mean, variance, np.array([1.0, 12.0]), np.array([1.0, 4.0])) == pytest.approx(np.sqrt(0.5))


def test_logme_is_the_evidence_of_the_linear_model_and_prefers_features_that_tell() -> None:
    generator = np.random.default_rng(0)
    targets = np.arange(60) % 2
    telling = generator.normal(size=(60, 5)) + 3 * targets[:, None]
    noise = generator.normal(size=(60, 5))
    assert logme(telling, targets) > logme(noise, targets) + 0.2
    assert np.isfinite(logme(generator.normal(size=(20, 50)), np.arange(20) % 2))  # more channels than images


@pytest.mark.parametrize(("accuracy", "is_similar"), [(0.95, True), (0.55, False), (None, False)])
def test_without_a_distance_the_nearest_centroid_decides(accuracy: float | None, *, is_similar: bool) -> None:
    found = Readings(least_per_class=400, num_classes=2, stages=readings(None), nearest_centroid=accuracy)
    assert found.is_similar is is_similar
    assert "unknown distance" in recommend(found).reason


@pytest.mark.parametrize("least", [4, 40, 400])
@pytest.mark.parametrize("distance", [0.1, 3.0, None])
def test_features_that_separate_the_classes_are_probed_whatever_the_guide_says(
    least: int, distance: float | None
) -> None:
    found = Readings(
        least_per_class=least, num_classes=2, stages=readings(distance), nearest_centroid=1.0, num_scored=128
    )
    advice = recommend(found)
    assert (advice.strategy, advice.feature_stage, advice.epochs) == ("linear_probe", None, None)
    assert "frozen features already separate the classes (their nearest centroid finds 100 %" in advice.reason
    assert "fine-tune" not in advice.reason
    assert "every stage has to adapt" not in advice.reason
    assert advice.to_dict()["is_separated"] is True


@pytest.mark.parametrize(
    ("accuracy", "num_scored", "num_classes"),
    [
        (1.0, 8, 2),  # Wilson: 8 of 8 may be 0.68, a skill of 0.35
        (0.9, 500, 2),  # a skill of 0.8
        (0.62, 500, 5),
        (None, 0, 2),
    ],
)
def test_features_that_do_not_separate_them_or_may_not_leave_the_guide_its_say(
    accuracy: float | None, num_scored: int, num_classes: int
) -> None:
    found = Readings(least_per_class=400, num_classes=num_classes, stages=readings(3.0), nearest_centroid=accuracy,
                     num_scored=num_scored)  # fmt: skip
    assert recommend(found).strategy == "full_finetuning"
    assert "separate" not in recommend(found).reason


def test_near_the_source_but_at_the_level_of_guessing_is_not_called_sound() -> None:
    found = Readings(least_per_class=40, num_classes=2, stages=readings(0.1), nearest_centroid=0.52, num_scored=80)
    reason = recommend(found).reason
    assert "should hold" not in reason
    assert "say little of these classes (their nearest centroid finds 52 %" in reason


def test_advice_survives_json() -> None:
    advice = recommend(Readings(least_per_class=40, num_classes=3, stages=readings(0.2), nearest_centroid=0.7))
    assert Advice.from_dict(json.loads(json.dumps(advice.to_dict()))) == advice


def test_nearest_centroid_tells_blobs_apart_and_guesses_at_noise() -> None:
    generator = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], [40, 40, 3])
    features = generator.normal(size=(len(targets), 4))
    assert nearest_centroid_accuracy(features + 5 * targets[:, None], targets) == pytest.approx(1.0)
    guess = nearest_centroid_accuracy(features[:80], targets[:80])
    assert guess is not None
    assert 0.3 < guess < 0.7
    assert nearest_centroid_accuracy(features[:3], np.array([0, 1, 1])) is None  # one class has one image


def test_fellow_images_of_a_patient_do_not_give_the_class_away() -> None:
    alike = np.repeat(np.random.default_rng(0).normal(size=(12, 200)), 2, axis=0)
    targets, patients = np.repeat(np.arange(12) % 2, 2), np.repeat(np.arange(12), 2)
    leaked, honest = nearest_centroid_accuracy(alike, targets), nearest_centroid_accuracy(alike, targets, patients)
    assert leaked is not None
    assert honest is not None
    assert honest < 0.7 < 0.8 < leaked
