import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lib.errors import Stopped
from lib.evaluation.metrics import log_loss
from lib.models.head_layers import NearestNeighborsHead
from lib.training.preparation import Development, development_within
from lib.training.sklearn_heads import (
    PENALTY_GRID,
    SVM_PENALTY_GRID,
    choose_penalty,
    fit_linear_probe,
    fit_linear_svm,
    fit_nearest_neighbors,
    platt_scale,
)


@pytest.fixture(scope="module")
def _quick_network() -> None:
    """All penalties are tried here."""


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


ROWS, NEW = np.arange(45), np.arange(45, 60)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_head_keeps_the_margins_of_scikit_learn_on_raw_features(num_classes: int) -> None:
    features, targets = blobs(num_classes=num_classes)
    development = development_within(targets, ROWS)
    found = fit_linear_svm(features, targets, development=development, num_classes=num_classes)
    assert found.penalty == min(found.losses, key=lambda penalty: found.losses[penalty])
    assert tuple(found.losses) == SVM_PENALTY_GRID[: len(found.losses)]
    scaler = StandardScaler().fit(features[ROWS])
    machine = LinearSVC(C=found.penalty, dual="auto", max_iter=2000, random_state=0)
    machine.fit(scaler.transform(features[ROWS]), targets[ROWS])
    margins = machine.decision_function(scaler.transform(features[NEW])).reshape(len(NEW), -1)
    with torch.no_grad():
        own = features[NEW] @ found.head.weight.numpy().T + found.head.bias.numpy()
        probabilities = found.head(torch.from_numpy(features[NEW])).softmax(1).numpy()
    np.testing.assert_allclose(own, margins, atol=1e-4)
    odds = 1 / (1 + np.exp(-(margins * found.head.scale.detach().numpy() + found.head.offset.detach().numpy())))
    expected = np.hstack([1 - odds, odds]) if num_classes == 2 else odds / odds.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


def _held_margins(features: np.ndarray, targets: np.ndarray, development: Development, penalty: float) -> np.ndarray:
    parts = []
    for rows, held in development.folds:
        scaler = StandardScaler().fit(features[rows])
        machine = LinearSVC(C=penalty, dual="auto", max_iter=2000, tol=1e-2, random_state=0)
        machine.fit(scaler.transform(features[rows]), targets[rows])
        parts.append(machine.decision_function(scaler.transform(features[held])).reshape(len(held), -1))
    return np.concatenate(parts)


def test_scale_comes_from_held_out_margins_and_held_out_answers_from_the_scale_of_other_folds() -> None:
    features, targets = blobs(num_classes=2)
    development = development_within(targets, ROWS)
    found = fit_linear_svm(features, targets, development=development, num_classes=2)
    margins, held = _held_margins(features, targets, development, found.penalty), development.held_rows
    scale, offset = platt_scale(margins, targets[held])
    assert found.head.scale.detach().numpy() == pytest.approx(scale, rel=1e-4)
    assert found.head.offset.detach().numpy() == pytest.approx(offset, rel=1e-4)
    first = len(development.folds[0][1])
    scale, offset = platt_scale(margins[first:], targets[held[first:]])
    odds = 1 / (1 + np.exp(-(scale * margins[:first] + offset)))
    np.testing.assert_allclose(found.held_out[:first], np.hstack([1 - odds, odds]), atol=1e-6)


def test_a_single_fold_is_scaled_by_itself() -> None:
    features, targets = blobs()
    units = np.arange(60)
    found = fit_linear_svm(features, targets, development=Development(ROWS, ((ROWS, NEW),), units), num_classes=3)
    assert found.held_out.shape == (len(NEW), 3)
    assert found.held_out.sum(1) == pytest.approx(1.0)


def test_platt_scale_is_the_maximum_of_his_smoothed_likelihood() -> None:
    margins, targets = np.array([-2.0, -1.0, 0.5, 1.0, 3.0])[:, None], np.array([0, 0, 0, 1, 1])
    scale, offset = platt_scale(margins, targets)
    soft = np.where(targets == 1, 3 / 4, 1 / 5)  # (2 + 1) / (2 + 2) and 1 / (3 + 2)

    def loss(a: float, b: float) -> float:
        odds = 1 / (1 + np.exp(-(a * margins[:, 0] + b)))
        return float(-(soft * np.log(odds) + (1 - soft) * np.log(1 - odds)).sum())

    best = loss(scale[0], offset[0])
    assert all(best <= loss(scale[0] + a, offset[0] + b) for a, b in [(0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)])


def test_rows_outside_have_no_influence_on_a_machine() -> None:
    features, targets = blobs()
    development = development_within(targets, ROWS)
    first = fit_linear_svm(features, targets, development=development, num_classes=3)
    features[45:], targets[45:] = 1e6, 0
    second = fit_linear_svm(features, targets, development=development, num_classes=3)
    assert all(torch.equal(a, b) for a, b in zip(first.head.parameters(), second.head.parameters(), strict=True))


def test_stop_between_fits() -> None:
    features, targets = blobs()
    told: list[int] = []
    with pytest.raises(Stopped):
        fit_linear_svm(
            features, targets, development=development_within(targets, ROWS), num_classes=3,
            on_fit=lambda done, total: told.append(done), should_stop=lambda: len(told) == 2,
        )  # fmt: skip
    assert told == [1, 2]
