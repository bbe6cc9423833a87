import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lib.errors import Stopped
from lib.training.fitting import PENALTY_GRID, fit_linear_probe


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
def test_head_repeats_scikit_learn_at_the_chosen_penalty(num_classes: int) -> None:
    features, targets = blobs(num_classes=num_classes)
    train_rows, val_rows = np.arange(40), np.arange(40, 60)
    probe = fit_linear_probe(features, targets, train_rows=train_rows, val_rows=val_rows, num_classes=num_classes)
    assert probe.penalty == min(probe.val_losses, key=lambda penalty: probe.val_losses[penalty])
    assert tuple(probe.val_losses) == PENALTY_GRID
    scaler = StandardScaler().fit(features[:40])
    model = LogisticRegression(C=probe.penalty, max_iter=500).fit(scaler.transform(features[:40]), targets[:40])
    expected = model.predict_proba(scaler.transform(features[40:]))
    with torch.no_grad():
        found = probe.head(torch.from_numpy(features[40:])).softmax(1).numpy()
    assert found == pytest.approx(expected, abs=1e-4)


def test_rows_outside_train_and_val_have_no_influence() -> None:
    features, targets = blobs()
    train_rows, val_rows = np.arange(30), np.arange(30, 45)
    first = fit_linear_probe(features, targets, train_rows=train_rows, val_rows=val_rows, num_classes=3)
    features[45:], targets[45:] = 1e6, 0
    second = fit_linear_probe(features, targets, train_rows=train_rows, val_rows=val_rows, num_classes=3)
    assert torch.equal(first.head.weight, second.head.weight)


def test_rare_class_is_weighed_up() -> None:
    generator = np.random.default_rng(1)
    targets = np.array([0] * 45 + [1] * 5 + [0] * 9 + [1])
    features = (generator.normal(size=(60, 2)) + targets[:, None]).astype(np.float32)
    recalls = []
    for weighting in ("none", "auto"):
        probe = fit_linear_probe(
            features, targets, train_rows=np.arange(50), val_rows=np.arange(50, 60), num_classes=2, weighting=weighting
        )
        with torch.no_grad():
            predicted = probe.head(torch.from_numpy(features)).argmax(1).numpy()
        recalls.append((predicted[targets == 1] == 1).mean())
    assert recalls[0] < recalls[1]


def test_stop_and_progress_between_fits() -> None:
    features, targets = blobs()
    told: list[tuple[int, int]] = []
    with pytest.raises(Stopped):
        fit_linear_probe(
            features, targets, train_rows=np.arange(40), val_rows=np.arange(40, 60), num_classes=3,
            on_fit=lambda done, total: told.append((done, total)), should_stop=lambda: len(told) == 2,
        )  # fmt: skip
    assert told == [(1, len(PENALTY_GRID)), (2, len(PENALTY_GRID))]
