import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lib.errors import Stopped
from lib.training.fit_splits import Development, development_within
from lib.training.svm import PENALTY_GRID, fit_linear_svm, platt_scale
from tests.training.test_fitting import blobs

ROWS, NEW = np.arange(45), np.arange(45, 60)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_head_keeps_the_margins_of_scikit_learn_on_raw_features(num_classes: int) -> None:
    features, targets = blobs(num_classes=num_classes)
    development = development_within(targets, ROWS)
    found = fit_linear_svm(features, targets, development=development, num_classes=num_classes)
    assert found.penalty == min(found.losses, key=lambda penalty: found.losses[penalty])
    assert tuple(found.losses) == PENALTY_GRID[: len(found.losses)]
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


def test_rows_outside_have_no_influence() -> None:
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
