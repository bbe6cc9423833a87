import numpy as np
import pytest

from lib.features.label_suggestions import suggest_label, suggest_next, unit_rows


def _at(degrees: list[float]) -> np.ndarray:
    angles = np.radians(degrees)
    return unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def test_the_first_image_is_a_usual_one_and_the_next_ones_are_far_apart():
    features, targets = _at([0, 1, 2, 60, 90]), np.full(5, -1)
    assert suggest_next(features, targets, np.arange(5), num_classes=2).row == 2  # nearest to the mean, 29 degrees
    targets[2] = 0
    found = suggest_next(features, targets, np.array([0, 1, 3, 4]), num_classes=2)
    assert (found.row, found.target) == (4, -1)  # of one class alone nothing is said
    targets[4] = 1
    found = suggest_next(features, targets, np.array([0, 1, 3]), num_classes=2)
    assert found.row == 3


def test_the_neighbours_vote_the_nearer_the_heavier():
    features, targets = _at([0, 2, 4, 30, 32, 3]), np.array([0, 0, 0, 1, 1, -1])
    found = suggest_label(features, targets, 5, num_classes=2)
    weights = np.exp(10 * np.cos(np.radians([3, 1, 1, 27, 29])))
    assert (found.row, found.target, found.num, found.num_agreeing) == (5, 0, 5, 3)
    assert found.share == pytest.approx(weights[:3].sum() / weights.sum(), abs=1e-5)
    assert set(found.nearest[:2]) == {1, 2}


def test_the_image_that_the_neighbours_disagree_about_comes_first():
    degrees = [0, 1, 2, 3, 4, 80, 81, 82, 83, 84, 41.5, 10, 75]
    targets = np.array([0] * 5 + [1] * 5 + [-1] * 3)
    found = suggest_next(_at(degrees), targets, np.array([10, 11, 12]), num_classes=2)
    assert found.row == 10
    again = suggest_next(_at(degrees), targets, np.array([11, 12]), num_classes=2)
    assert again.row in (11, 12)  # what was passed over is not asked again
    assert again.target == (0 if again.row == 11 else 1)


def test_many_images_are_thinned_out_evenly():
    random = np.random.default_rng(0)
    features, targets = unit_rows(random.normal(size=(3000, 8))), np.full(3000, -1)
    targets[:2], waiting = [0, 1], np.arange(2, 3000)
    assert suggest_next(features, targets, waiting, num_classes=2).row in set(waiting.tolist())
