"""A linear support vector machine on frozen features, with Platt's scale so that it gives probabilities."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lib.evaluation.metrics import log_loss
from lib.training.fitting import Probe, best_penalty, fit_quietly, weights_by_class
from lib.training.optimization import class_weights

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC

    from lib.models.head_layers import SupportVectorHead

# The weight of a margin violation, on standardised features.
PENALTY_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_MAX_ITERATIONS = 2000
_MIN_SCALE = 1e-3  # a scale below zero would turn the machine's answer round


def fit_linear_svm(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    num_classes: int,
    weighting: str = "auto",
    on_fit: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> "Probe[SupportVectorHead]":
    """Standardise, fit one machine a class against the rest, and scale their margins on the validation images.

    Machines see training rows only; C and Platt's scale come from the validation rows (Platt 1999, with his smoothed
    targets, so that a separable set gives finite scales).

    Args:
        features: pooled features of all images, (N, D).
        targets: classes of all images, (N,).
        train_rows: rows to fit on; every class must be among them.
        val_rows: rows that choose C and the scale.
        num_classes: K.
        weighting: "auto", "balanced" or "none" (optimization.class_weights).
        on_fit: called after each fit with (done, total).
        should_stop: asked before each fit.

    Raises:
        Stopped: `should_stop()` turned true.
    """
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    from lib.models.folding import support_vector_head

    scaler = StandardScaler().fit(features[train_rows])
    scaled_train, scaled_val = scaler.transform(features[train_rows]), scaler.transform(features[val_rows])
    weights = class_weights(targets[train_rows], num_classes, weighting)

    def fit(penalty: float) -> "tuple[float, SupportVectorHead]":
        with threadpool_limits(1):  # products this small only wait for a second thread
            machine = _fit(scaled_train, targets[train_rows], penalty, weights)
            margins = machine.decision_function(scaled_val).reshape(len(val_rows), -1)
            scale, offset = platt_scale(margins, targets[val_rows])
        head = support_vector_head(scaler, machine, scale, offset)
        return log_loss(targets[val_rows], _probabilities(head, features[val_rows])), head

    penalty, head, losses = best_penalty(PENALTY_GRID, fit, on_fit=on_fit, should_stop=should_stop)
    return Probe(head, penalty, losses)


def platt_scale(margins: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset (R,) that turn margins (N, R) into log-odds: of class 1 for R = 1, else of each class.

    Platt's targets are (n+ + 1) / (n+ + 2) and 1 / (n- + 2) instead of 1 and 0; each image enters as a weighted pair.
    """
    from sklearn.linear_model import LogisticRegression

    scales, offsets = [], []
    for column in range(margins.shape[1]):
        is_class = targets == (1 if margins.shape[1] == 1 else column)
        num_in, num_out = int(is_class.sum()), int((~is_class).sum())
        soft = np.where(is_class, (num_in + 1) / (num_in + 2), 1 / (num_out + 2))
        spread = float(margins[:, column].std()) or 1.0
        doubled = np.concatenate([margins[:, column]] * 2)[:, None] / spread
        labels = np.repeat([1, 0], len(soft))
        fitted = LogisticRegression(C=1e6).fit(doubled, labels, sample_weight=np.concatenate([soft, 1 - soft]))
        scales.append(max(float(fitted.coef_[0, 0]) / spread, _MIN_SCALE))
        offsets.append(float(fitted.intercept_[0]))
    return np.array(scales), np.array(offsets)


def _fit(features: np.ndarray, targets: np.ndarray, penalty: float, weights: np.ndarray | None) -> "LinearSVC":
    from sklearn.svm import LinearSVC

    by_class = weights_by_class(weights)
    machine = LinearSVC(C=penalty, class_weight=by_class, dual="auto", max_iter=_MAX_ITERATIONS, random_state=0)
    fit_quietly(machine, features, targets)
    return machine


def _probabilities(head: "SupportVectorHead", features: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return head(torch.from_numpy(np.ascontiguousarray(features)).float()).double().softmax(1).numpy()
