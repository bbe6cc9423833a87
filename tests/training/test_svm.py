import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lib.errors import Stopped
from lib.training.svm import PENALTY_GRID, fit_linear_svm, platt_scale
from tests.training.test_fitting import blobs

TRAIN, VAL = np.arange(40), np.arange(40, 60)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_head_keeps_the_margins_of_scikit_learn_on_raw_features(num_classes: int) -> None:
    features, targets = blobs(num_classes=num_classes)
    found = fit_linear_svm(features, targets, train_rows=TRAIN, val_rows=VAL, num_classes=num_classes)
    assert found.penalty == min(found.val_losses, key=lambda penalty: found.val_losses[penalty])
    assert tuple(found.val_losses) == PENALTY_GRID
    scaler = StandardScaler().fit(features[TRAIN])
    machine = LinearSVC(C=found.penalty, dual="auto", max_iter=2000, random_state=0)
    machine.fit(scaler.transform(features[TRAIN]), targets[TRAIN])
    margins = machine.decision_function(scaler.transform(features[VAL])).reshape(20, -1)
    with torch.no_grad():
        own = features[VAL] @ found.head.weight.numpy().T + found.head.bias.numpy()
        probabilities = found.head(torch.from_numpy(features[VAL])).softmax(1).numpy()
    np.testing.assert_allclose(own, margins, atol=1e-4)
    odds = 1 / (1 + np.exp(-(margins * found.head.scale.detach().numpy() + found.head.offset.detach().numpy())))
    expected = np.hstack([1 - odds, odds]) if num_classes == 2 else odds / odds.sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


def test_platt_scale_is_the_maximum_of_his_smoothed_likelihood() -> None:
    margins, targets = np.array([-2.0, -1.0, 0.5, 1.0, 3.0])[:, None], np.array([0, 0, 0, 1, 1])
    scale, offset = platt_scale(margins, targets)
    soft = np.where(targets == 1, 3 / 4, 1 / 5)  # (2 + 1) / (2 + 2) and 1 / (3 + 2)

    def loss(a: float, b: float) -> float:
        odds = 1 / (1 + np.exp(-(a * margins[:, 0] + b)))
        return float(-(soft * np.log(odds) + (1 - soft) * np.log(1 - odds)).sum())

    best = loss(scale[0], offset[0])
    assert all(best <= loss(scale[0] + a, offset[0] + b) for a, b in [(0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01)])


def test_rows_outside_train_and_val_have_no_influence() -> None:
    features, targets = blobs()
    rows = {"train_rows": np.arange(30), "val_rows": np.arange(30, 45), "num_classes": 3}
    first = fit_linear_svm(features, targets, **rows)
    features[45:], targets[45:] = 1e6, 0
    second = fit_linear_svm(features, targets, **rows)
    assert all(torch.equal(a, b) for a, b in zip(first.head.parameters(), second.head.parameters(), strict=True))


def test_stop_between_fits() -> None:
    features, targets = blobs()
    told: list[int] = []
    with pytest.raises(Stopped):
        fit_linear_svm(
            features, targets, train_rows=TRAIN, val_rows=VAL, num_classes=3,
            on_fit=lambda done, total: told.append(done), should_stop=lambda: len(told) == 2,
        )  # fmt: skip
    assert told == [1, 2]
