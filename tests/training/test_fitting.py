import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lib.errors import Stopped
from lib.evaluation.metrics import log_loss
from lib.models.head_layers import NearestNeighborsHead
from lib.training.fit_splits import Development, development_within
from lib.training.fitting import PENALTY_GRID, choose_penalty, fit_linear_probe, fit_nearest_neighbors


def blobs(num_images: int = 60, *, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    targets = np.arange(num_images) % num_classes
    features = generator.normal(size=(num_images, 5)) * [1, 10, 0.1, 1, 1] + 1.5 * np.eye(5)[targets] * [
        1,
        10,
        0.1,
        1,
        1,
    ]
    return features.astype(np.float32), targets


@pytest.mark.parametrize("num_classes", [2, 3])
def test_head_repeats_scikit_learn_on_all_rows_at_the_chosen_penalty(num_classes: int) -> None:
    features, targets = blobs(num_classes=num_classes)
    development = development_within(targets, np.arange(50))
    probe = fit_linear_probe(features, targets, development=development, num_classes=num_classes)
    assert probe.penalty == min(probe.losses, key=lambda penalty: probe.losses[penalty])
    assert tuple(probe.losses) == PENALTY_GRID[: len(probe.losses)]
    scaler = StandardScaler().fit(features[:50])
    model = LogisticRegression(C=probe.penalty, max_iter=500).fit(scaler.transform(features[:50]), targets[:50])
    expected = model.predict_proba(scaler.transform(features[50:]))
    with torch.no_grad():
        found = probe.head(torch.from_numpy(features[50:])).softmax(1).numpy()
    assert found == pytest.approx(expected, abs=1e-4)


def test_held_out_answers_come_from_fits_without_the_image() -> None:
    features, targets = blobs()
    development = development_within(targets, np.arange(60))
    probe = fit_linear_probe(features, targets, development=development, num_classes=3)
    expected = []
    for rows, held in development.folds:
        scaler = StandardScaler().fit(features[rows])
        model = LogisticRegression(C=probe.penalty, max_iter=500).fit(scaler.transform(features[rows]), targets[rows])
        expected.append(model.predict_proba(scaler.transform(features[held])))
    np.testing.assert_allclose(probe.held_out, np.concatenate(expected), atol=5e-3)
    assert probe.losses[probe.penalty] == pytest.approx(log_loss(targets[development.held_rows], probe.held_out))


def test_labels_of_noise_learned_by_heart_do_not_show_in_held_out_answers() -> None:
    generator = np.random.default_rng(0)
    features, targets = generator.normal(size=(120, 200)).astype(np.float32), np.arange(120) % 2
    development = development_within(targets, np.arange(120))
    probe = fit_linear_probe(features, targets, development=development, num_classes=2)
    held = (probe.held_out.argmax(1) == targets[development.held_rows]).mean()
    with torch.no_grad():
        fitted = (probe.head(torch.from_numpy(features)).argmax(1).numpy() == targets).mean()
    assert held < 0.65 < fitted


def test_rows_outside_have_no_influence() -> None:
    features, targets = blobs()
    development = development_within(targets, np.arange(45))
    first = fit_linear_probe(features, targets, development=development, num_classes=3)
    features[45:], targets[45:] = 1e6, 0
    second = fit_linear_probe(features, targets, development=development, num_classes=3)
    assert torch.equal(first.head.weight, second.head.weight)
    assert np.array_equal(first.held_out, second.held_out)


def test_rare_class_is_weighed_up_in_the_fit_and_in_the_choice() -> None:
    generator = np.random.default_rng(1)
    targets = np.array([0] * 54 + [1] * 6)
    features = (generator.normal(size=(60, 2)) + targets[:, None]).astype(np.float32)
    development, recalls = development_within(targets, np.arange(60)), []
    for weighting in ("none", "auto"):
        probe = fit_linear_probe(features, targets, development=development, num_classes=2, weighting=weighting)
        with torch.no_grad():
            predicted = probe.head(torch.from_numpy(features)).argmax(1).numpy()
        recalls.append((predicted[targets == 1] == 1).mean())
    assert recalls[0] < recalls[1]
    weights = np.array([60 / (2 * 54), 60 / (2 * 6)])
    assert probe.losses[probe.penalty] == pytest.approx(
        log_loss(targets[development.held_rows], probe.held_out, weights)
    )


def test_stop_and_progress_between_fits() -> None:
    features, targets = blobs()
    development = development_within(targets, np.arange(60))
    told: list[tuple[int, int]] = []
    with pytest.raises(Stopped):
        fit_linear_probe(
            features, targets, development=development, num_classes=3,
            on_fit=lambda done, total: told.append((done, total)), should_stop=lambda: len(told) == 2,
        )  # fmt: skip
    total = 5 * len(PENALTY_GRID) + 1
    assert told == [(1, total), (2, total)]
    fit_linear_probe(
        features, targets, development=development, num_classes=3,
        on_fit=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1] == (total, total)


def test_penalties_beyond_a_clear_loss_are_not_tried_and_equals_go_to_the_weaker() -> None:
    losses = {1: 3.0, 2: 1.0, 3: 1.0, 4: 1.01, 5: 1.03, 6: 0.1}
    tried: list[tuple[int, int]] = []

    def answer(fold: int, penalty: int) -> np.ndarray:
        tried.append((fold, penalty))
        return np.array([losses[penalty]])

    penalty, answers, found = choose_penalty(
        tuple(losses), 2, answer, lambda pooled: float(pooled.mean()), on_fit=lambda *_: None, should_stop=lambda: False
    )
    assert (penalty, answers.tolist()) == (3, [1.0, 1.0])
    assert list(found) == [1, 2, 3, 4, 5]
    assert tried[:4] == [(0, 1), (1, 1), (0, 2), (1, 2)]


def test_a_neighbour_of_the_same_group_has_no_vote_by_hand() -> None:
    # Rows 0 and 1 are one patient and alike; without each other, the next one decides: row 2, of the other class.
    features = np.array([[1, 0], [1, 0.01], [0.9, 0.3], [0, 1]], dtype=np.float32)
    targets, rows = np.array([0, 0, 1, 1]), np.arange(4)
    development = Development(rows, ((rows[2:], rows[:2]), (rows[:2], rows[2:])), np.array([7, 7, 8, 9]))
    untrained = NearestNeighborsHead(2, 2, num_neighbors=1)
    found = fit_nearest_neighbors(features, targets, development=development, untrained=untrained)
    head, held_out = found.head, found.held_out
    assert (found.facts, len(untrained.features)) == ({}, 0)
    assert held_out.argmax(1).tolist() == [1, 1, 0, 1]
    assert held_out.max(1) == pytest.approx(0.995)  # 0.99 + 0.01 / 2
    with torch.no_grad():
        assert head(torch.from_numpy(features)).argmax(1).tolist() == targets.tolist()  # itself is the nearest
