"""Heads that are fitted, not iterated: logistic regression on frozen features, and nearest neighbours."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from lib.errors import Stopped
from lib.evaluation.metrics import log_loss
from lib.training.optimization import class_weights

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from torch import nn

    from lib.models.head_layers import NearestNeighborsHead

Fitted = TypeVar("Fitted")
Head = TypeVar("Head", bound="nn.Module")
# Inverse strength of the L2 penalty on standardised features. With hundreds of features and images the useful range is
# small; the ends are there for tiny and for large data sets.
PENALTY_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_MAX_ITERATIONS = 500
_MIN_SHARED_SIZE = 8_000_000  # values in the matrix of features from which on several threads help


@dataclass(frozen=True)
class Probe(Generic[Head]):
    """A fitted head on raw features; `penalty` is the C that had the lowest validation loss of `val_losses`."""

    head: Head
    penalty: float
    val_losses: dict[float, float]


def fit_linear_probe(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    train_rows: np.ndarray,
    val_rows: np.ndarray,
    num_classes: int,
    weighting: str = "auto",
    on_fit: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> "Probe[nn.Linear]":
    """Standardise and fit logistic regression (Kornblith et al. 2019, arXiv 1805.08974).

    Scaler and weights see training rows only, the penalty is chosen by the loss of the validation rows.

    Args:
        features: pooled features of all images, (N, D).
        targets: classes of all images, (N,).
        train_rows: rows to fit on; every class must be among them.
        val_rows: rows that choose the penalty.
        num_classes: K.
        weighting: "auto", "balanced" or "none" (optimization.class_weights).
        on_fit: called after each fit with (done, total).
        should_stop: asked before each fit.

    Raises:
        Stopped: `should_stop()` turned true.
    """
    from sklearn.preprocessing import StandardScaler

    from lib.models.folding import linear_from_logistic_regression

    scaler = StandardScaler().fit(features[train_rows])
    scaled_train, scaled_val = scaler.transform(features[train_rows]), scaler.transform(features[val_rows])
    weights = class_weights(targets[train_rows], num_classes, weighting)

    def fit(penalty: float) -> "tuple[float, LogisticRegression]":
        model = _fit_logistic_regression(scaled_train, targets[train_rows], penalty, weights)
        return log_loss(targets[val_rows], model.predict_proba(scaled_val)), model

    penalty, model, losses = best_penalty(PENALTY_GRID, fit, on_fit=on_fit, should_stop=should_stop)
    return Probe(linear_from_logistic_regression(scaler, model), penalty, losses)


def best_penalty(
    grid: Sequence[float],
    fit: Callable[[float], tuple[float, Fitted]],
    *,
    on_fit: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> tuple[float, Fitted, dict[float, float]]:
    """Fit once for each penalty; the lowest validation loss wins, of equals the later.

    Args:
        grid: penalties to try, at least one.
        fit: penalty to (validation loss, what was fitted).
        on_fit: called after each fit with (done, total).
        should_stop: asked before each fit.

    Returns:
        The penalty, what was fitted with it, and the loss of each penalty.

    Raises:
        Stopped: `should_stop()` turned true.
    """
    losses: dict[float, float] = {}
    best: tuple[float, Fitted] | None = None
    for index, penalty in enumerate(grid):
        if should_stop():
            raise Stopped("Stopped while fitting.")
        losses[penalty], fitted = fit(penalty)
        if losses[penalty] <= min(losses.values()):
            best = (penalty, fitted)
        on_fit(index + 1, len(grid))
    assert best is not None  # noqa: S101 (the grid is not empty)
    return *best, losses


def fit_nearest_neighbors(
    head: "NearestNeighborsHead", features: np.ndarray, targets: np.ndarray, *, train_rows: np.ndarray
) -> None:
    """Let the head keep the training rows."""
    head.fit(features[train_rows], targets[train_rows].astype(np.int64))


def fit_quietly(model: Any, features: np.ndarray, targets: np.ndarray) -> None:
    """Fit an estimator of scikit-learn, without its warning that the last digit has not converged.

    Weak penalties on separable features never get there, and the validation loss decides anyway.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, targets)


def weights_by_class(weights: np.ndarray | None) -> dict[int, float] | None:
    """Class weights (K,) as scikit-learn takes them."""
    return None if weights is None else dict(enumerate(weights.tolist()))


def _fit_logistic_regression(
    features: np.ndarray, targets: np.ndarray, penalty: float, weights: np.ndarray | None
) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=penalty, max_iter=_MAX_ITERATIONS, class_weight=weights_by_class(weights))
    # Products this small end before a second thread has woken: 0.7 s on one thread, 4 to 60 s on two that wait for
    # each other (640 images, 1,024 features, two cores, idle to busy).
    with threadpool_limits(1 if features.size < _MIN_SHARED_SIZE else None):
        fit_quietly(model, features, targets)
    return model
