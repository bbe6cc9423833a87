"""A linear support vector machine on frozen features, with Platt's scale so that it gives probabilities."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lib.evaluation.metrics import log_loss
from lib.training.fit_splits import Development
from lib.training.fitting import FittedHead, choose_penalty, fit_quietly, tell_done, thread_pools, weights_by_class
from lib.training.losses import class_weights

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC
    from torch import nn

    from lib.models.head_layers import SupportVectorHead

# The weight of a margin violation, on standardised features; the strongest penalty first.
PENALTY_GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_MAX_ITERATIONS = 2000
# Of machines that only answer held-out images: a hundred times the usual, which moves margins by a five-hundredth of
# their deviation and halves the time (640 images, 1,024 features, five classes).
_FOLD_TOLERANCE = 1e-2
_MIN_SCALE = 1e-3  # a scale below zero would turn the machine's answer round


def fit_linear_svm(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    development: Development,
    num_classes: int,
    weighting: str = "auto",
    untrained: "nn.Module | None" = None,
    on_fit: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> "FittedHead[SupportVectorHead]":
    """Standardise, fit one machine a class against the rest, and scale their margins to probabilities.

    C and Platt's scale come from the margins of held-out images (Platt 1999, with his smoothed targets, so that a
    separable set gives finite scales); with C, the machines are fitted once more on all. A held-out image's own
    probability comes from the scale of the other folds, where there are others.

    The arguments are those of `fit_linear_probe`.
    """
    from sklearn.preprocessing import StandardScaler

    from lib.models.folding import support_vector_head

    weights = class_weights(targets[development.rows], num_classes, weighting)
    policy = "none" if weights is None else "balanced"
    held_rows = development.held_rows
    fold_of = np.repeat(np.arange(len(development.folds)), [len(held) for _, held in development.folds])

    def answer(fold: int, penalty: float) -> np.ndarray:
        rows, held = development.folds[fold]
        scaler = StandardScaler().fit(features[rows])
        own_weights = class_weights(targets[rows], num_classes, policy)
        machine = _fit(scaler.transform(features[rows]), targets[rows], penalty, own_weights, tolerance=_FOLD_TOLERANCE)
        return _margins(machine, scaler.transform(features[held]))

    def loss(margins: np.ndarray) -> float:
        return log_loss(targets[held_rows], _scaled_apart(margins, targets[held_rows], fold_of), weights)

    penalty, margins, losses = choose_penalty(
        PENALTY_GRID, len(development.folds), answer, loss, on_fit=on_fit, should_stop=should_stop
    )
    scaler = StandardScaler().fit(features[development.rows])
    machine = _fit(scaler.transform(features[development.rows]), targets[development.rows], penalty, weights)
    head = support_vector_head(scaler, machine, *platt_scale(margins, targets[held_rows]))
    tell_done(on_fit, PENALTY_GRID, len(development.folds))
    return FittedHead(head, _scaled_apart(margins, targets[held_rows], fold_of), penalty, losses)


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


def _scaled_apart(margins: np.ndarray, targets: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """Probabilities (n, K) of held-out margins (n, R), each by the scale of the other folds' margins.

    A single fold has no others and is scaled by itself.
    """
    probabilities = np.empty((len(margins), max(2, margins.shape[1])))
    for fold in np.unique(fold_of):
        own = fold_of == fold
        others = ~own if (~own).any() else own
        probabilities[own] = _probabilities(margins[own], *platt_scale(margins[others], targets[others]))
    return probabilities


def _probabilities(margins: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """What the head makes of margins (n, R): probabilities (n, K), float64."""
    odds = 1 / (1 + np.exp(-np.clip(scale * margins + offset, -500, 500)))
    if margins.shape[1] == 1:
        return np.hstack([1 - odds, odds])
    return odds / odds.sum(1, keepdims=True)


def _margins(machine: "LinearSVC", features: np.ndarray) -> np.ndarray:
    return machine.decision_function(features).reshape(len(features), -1)


def _fit(
    features: np.ndarray, targets: np.ndarray, penalty: float, weights: np.ndarray | None, *, tolerance: float = 1e-4
) -> "LinearSVC":
    from sklearn.svm import LinearSVC

    by_class = weights_by_class(weights)
    machine = LinearSVC(
        C=penalty, class_weight=by_class, dual="auto", max_iter=_MAX_ITERATIONS, tol=tolerance, random_state=0
    )
    with thread_pools().limit(limits=1):  # products this small only wait for a second thread
        fit_quietly(machine, features, targets)
    return machine
