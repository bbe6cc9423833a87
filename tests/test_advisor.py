import numpy as np
import pytest

from lib.advisor import StageReading, feature_distance, logme, recommend


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
    advice = recommend(least, readings(distance))
    assert (advice.strategy, advice.feature_stage) == (strategy, stage)
    assert str(least) in advice.reason
    assert "CS231n" in advice.source


def test_distance_is_in_deviations_of_the_source() -> None:
    features = np.array([[1.0, 10.0], [3.0, 14.0]])  # means 2 and 12, deviations 1 and 2
    assert feature_distance(features, np.array([2.0, 12.0]), np.array([1.0, 4.0])) == pytest.approx(0.0)
    # One deviation off in one of two channels: sqrt((1 + 0) / 2).
    assert feature_distance(features, np.array([1.0, 12.0]), np.array([1.0, 4.0])) == pytest.approx(np.sqrt(0.5))


def test_logme_is_the_evidence_of_the_linear_model_and_prefers_features_that_tell() -> None:
    generator = np.random.default_rng(0)
    targets = np.arange(60) % 2
    telling = generator.normal(size=(60, 5)) + 3 * targets[:, None]
    noise = generator.normal(size=(60, 5))
    assert logme(telling, targets) > logme(noise, targets) + 0.2
    assert np.isfinite(logme(generator.normal(size=(20, 50)), np.arange(20) % 2))  # more channels than images
