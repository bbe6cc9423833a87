"""Metrics under weights: with weights of one they are the metrics, with any others those of a table written out."""

import numpy as np
import pytest

from lib.evaluation.metric_table import METRICS
from lib.evaluation.resampling import Units, draws_of, scorer_of

NUM, NUM_UNITS = 90, 40


def made(num_classes, seed=0):
    """Answers that are often right, some of them equal, of images in units of several."""
    random = np.random.default_rng(seed)
    targets = random.integers(num_classes, size=NUM)
    probabilities = random.dirichlet(np.ones(num_classes), NUM) + 0.4 * np.eye(num_classes)[targets]
    probabilities = np.round(probabilities / probabilities.sum(1, keepdims=True), 2)
    return targets, probabilities, random.permutation(np.arange(NUM) % NUM_UNITS), random


@pytest.mark.parametrize("num_classes", [2, 5, 60])
@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_weights_are_repetitions(metric, num_classes):
    targets, probabilities, unit, random = made(num_classes)
    weights = np.vstack([np.ones(NUM_UNITS), random.integers(0, 4, size=(6, NUM_UNITS))]).astype(float)
    found = scorer_of(metric, targets, probabilities, Units(unit, NUM_UNITS))(weights)
    for own, value in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(NUM), own[unit].astype(int))
        assert value == pytest.approx(metric.compute(targets[rows], probabilities[rows]), abs=1e-12)


def test_many_positives_and_few_take_two_ways_to_one_area():
    random = np.random.default_rng(1)
    targets = (np.arange(300) < 30).astype(int)
    scores = np.round(random.random(300) + 0.3 * targets, 1)
    probabilities = np.stack([-scores, scores], axis=1)  # of 270 and of 30 images, and one area
    weights = random.integers(0, 3, size=(5, 300)).astype(float)
    areas = []
    for chosen in (0, 1):
        one_sided = np.zeros_like(probabilities)
        one_sided[:, chosen] = probabilities[:, chosen]
        found = scorer_of(METRICS["auroc"], targets, one_sided, Units.of(None, 300))(weights)
        areas.append(2 * found - 0.5)  # the other class answers the same for all images: an area of one half
    assert areas[0] == pytest.approx(areas[1], abs=1e-12)


def test_a_class_without_an_image_in_a_draw_is_left_out_and_no_class_at_all_is_not_defined():
    targets, probabilities = np.array([0, 1, 2]), np.eye(3)
    scorer = scorer_of(METRICS["auroc"], targets, probabilities, Units.of(None, 3))
    assert scorer(np.array([[1.0, 1, 1], [1, 1, 0], [2, 0, 0]]))[:2].tolist() == [1.0, 1.0]
    assert np.isnan(scorer(np.array([[2.0, 0, 0]]))[0])
    kappa = scorer_of(METRICS["quadratic_weighted_kappa"], targets, probabilities, Units.of(None, 3))
    assert np.isnan(kappa(np.array([[3.0, 0, 0]]))[0])


def test_folds_are_scored_by_themselves():
    targets, probabilities, unit, _ = made(5)
    folds = np.arange(NUM) % 3
    scorer = scorer_of(METRICS["auroc"], targets, probabilities, Units(unit, NUM_UNITS), folds)
    expected = np.mean([METRICS["auroc"].compute(targets[folds == f], probabilities[folds == f]) for f in range(3)])
    assert scorer(np.ones((1, NUM_UNITS)))[0] == pytest.approx(expected)


def test_many_units_are_drawn_in_blocks_as_few_are_at_once(monkeypatch):
    targets, probabilities, unit, _ = made(5)
    scorer = scorer_of(METRICS["accuracy"], targets, probabilities, Units(unit, NUM_UNITS))
    at_once = draws_of(scorer, NUM_UNITS, num_draws=500)
    monkeypatch.setattr("lib.evaluation.resampling._MOST_KEPT", 40 * NUM_UNITS)
    in_blocks = draws_of(scorer, NUM_UNITS, num_draws=500)
    assert len(in_blocks) == 500
    assert in_blocks.mean() == pytest.approx(at_once.mean(), abs=0.02)
    assert in_blocks.std() == pytest.approx(at_once.std(), rel=0.2)
