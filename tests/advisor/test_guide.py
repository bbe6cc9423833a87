import json
from dataclasses import replace

import pytest

from lib.advisor.guide import (
    Advice,
    Readings,
    StageReading,
    advice_command,
    counted_words,
    kept_advice,
    recommend,
)
from lib.training.config import TrainConfig

CONFIG = TrainConfig(dataset="tiny", backbone="bundled_vgg")


@pytest.mark.parametrize(
    "change",
    [{"num_folds": 3}, {"preprocessing": "clahe"}, {"target_map": "referable"}, {"max_per_class": 9},
     {"max_classes": 3}, {"max_train_per_class": 9}, {"test_fraction": 0.3}, {"split_seed": 1}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_setting_that_counts_has_an_answer_of_its_own(change: dict) -> None:
    changed = replace(CONFIG, **change)
    assert kept_advice("v1", changed) != kept_advice("v1", CONFIG)
    assert kept_advice("v1", replace(CONFIG, epochs=3, optimizer="sgd")) == kept_advice("v1", CONFIG)
    words = advice_command(changed)
    assert (
        TrainConfig(dataset=words[2], backbone=words[4], split_seed=int(words[6])).with_settings(words[8::2]) == changed
    )


def test_what_counts_is_said_in_words() -> None:
    assert counted_words(replace(CONFIG, epochs=3)) == ""
    config = replace(CONFIG, preprocessing="clahe", target_map="referable", num_folds=3, max_per_class=200)
    assert counted_words(config) == "Local contrast (CLAHE), Referable retinopathy, 3 folds, 200 images a class"


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
