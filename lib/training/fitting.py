"""Heads that are fitted, not iterated: logistic regression on frozen features, and nearest neighbours."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from lib.errors import Stopped
from lib.evaluation.metrics import log_loss
from lib.training.fit_splits import Development
from lib.training.losses import class_weights

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import ThreadpoolController
    from torch import nn

    from lib.models.head_layers import NearestNeighborsHead

Head = TypeVar("Head", bound="nn.Module")
# Inverse strength of the L2 penalty on standardised features, the strongest first. With hundreds of features and images
# the useful range is small; the ends are there for weak signals and for large data sets.
PENALTY_GRID = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_MAX_ITERATIONS = 500
_MIN_SHARED_SIZE = 8_000_000  # values in the matrix of features from which on several threads help
# Along the path of penalties, each fit starts where the one before ended. Ten times the usual tolerance moves the loss
# by less than 0.001 where it is lowest, and halves the time (800 images, 1,024 features, five classes).
_PATH_TOLERANCE = 1e-3
# Weaker penalties than one that is this much worse than the best are not tried: the loss has one valley.
_GIVE_UP = 1.02


@dataclass(frozen=True)
class FittedHead(Generic[Head]):
    """A fitted head on raw features, and the probabilities (n, K) of `Development.held_rows` by heads without them.

    `penalty` is the C, where there is one, that had the lowest of the `losses`, weighted as the fit is, on held-out
    images.
    """

    head: Head
    held_out: np.ndarray
    penalty: float | None = None
    losses: dict[float, float] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What a run records of the fit."""
        return {} if self.penalty is None else {"penalty": self.penalty}


def fit_linear_probe(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    development: Development,
    num_classes: int,
    weighting: str = "auto",
    untrained: "nn.Module | None" = None,
    on_fit: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> "FittedHead[nn.Linear]":
    """Standardise and fit logistic regression (Kornblith et al. 2019, arXiv 1805.08974).

    The penalty is chosen by the answers to held-out images; with it, scaler and weights are fitted once more on all.

    Args:
        features: pooled features of all images, (N, D).
        targets: classes of all images, (N,).
        development: rows to fit on and how they are held out; every class must be in each part that is fitted on.
        num_classes: K.
        weighting: "auto", "balanced" or "none" (losses.class_weights).
        untrained: the head with its options; only nearest neighbours have any.
        on_fit: called after each fit with (done, total).
        should_stop: asked before each fit.

    Raises:
        Stopped: `should_stop()` turned true.
    """
    from sklearn.preprocessing import StandardScaler

    from lib.models.folding import linear_from_logistic_regression

    weights = class_weights(targets[development.rows], num_classes, weighting)
    policy = "none" if weights is None else "balanced"
    path = [
        _new_model(class_weights(targets[rows], num_classes, policy), is_on_path=True) for rows, _ in development.folds
    ]

    def answer(fold: int, penalty: float) -> np.ndarray:
        rows, held = development.folds[fold]
        scaler = StandardScaler().fit(features[rows])
        _fit_logistic_regression(path[fold], penalty, scaler.transform(features[rows]), targets[rows])
        return path[fold].predict_proba(scaler.transform(features[held]))

    def loss(held_out: np.ndarray) -> float:
        return log_loss(targets[development.held_rows], held_out, weights)

    penalty, held_out, losses = choose_penalty(
        PENALTY_GRID, len(path), answer, loss, on_fit=on_fit, should_stop=should_stop
    )
    scaler, model = StandardScaler().fit(features[development.rows]), _new_model(weights, is_on_path=False)
    _fit_logistic_regression(model, penalty, scaler.transform(features[development.rows]), targets[development.rows])
    tell_done(on_fit, PENALTY_GRID, len(path))
    return FittedHead(linear_from_logistic_regression(scaler, model), held_out, penalty, losses)


def choose_penalty(
    grid: Sequence[float],
    num_folds: int,
    answer: Callable[[int, float], np.ndarray],
    loss: Callable[[np.ndarray], float],
    *,
    on_fit: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> tuple[float, np.ndarray, dict[float, float]]:
    """Fit once for each penalty and fold; the lowest loss over all folds wins, of equals the weaker penalty.

    Args:
        grid: penalties to try, the strongest first.
        num_folds: how many folds there are.
        answer: fold and penalty to the answers (n, ...) to the fold's held-out images.
        loss: of the answers of all folds, one after the other.
        on_fit: called after each fit with (done, total).
        should_stop: asked before each fit.

    Returns:
        The penalty, the answers with it, and the loss of each penalty that was tried.

    Raises:
        Stopped: `should_stop()` turned true.
    """
    losses: dict[float, float] = {}
    best: tuple[float, np.ndarray] | None = None
    for index, penalty in enumerate(grid):
        answers = []
        for fold in range(num_folds):
            if should_stop():
                raise Stopped("Stopped while fitting.")
            answers.append(answer(fold, penalty))
            on_fit(index * num_folds + fold + 1, len(grid) * num_folds + 1)
        pooled = np.concatenate(answers).astype(np.float64)
        losses[penalty] = loss(pooled)
        if losses[penalty] <= min(losses.values()):
            best = (penalty, pooled)
        elif losses[penalty] > _GIVE_UP * min(losses.values()):
            break
    assert best is not None  # noqa: S101 (the grid is not empty)
    return *best, losses


def tell_done(on_fit: Callable[[int, int], None], grid: Sequence[float], num_folds: int) -> None:
    """Say that the last fit is done, however many penalties were tried."""
    total = len(grid) * num_folds + 1
    on_fit(total, total)


def fit_nearest_neighbors(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    development: Development,
    untrained: "NearestNeighborsHead",
    **_options: Any,
) -> "FittedHead[NearestNeighborsHead]":
    """A copy of `untrained` that keeps the rows; each held-out row is answered without its own group."""
    import torch

    head = copy.deepcopy(untrained)
    rows, held = development.rows, development.held_rows
    head.fit(features[rows], targets[rows].astype(np.int64))
    with torch.no_grad():
        votes = head.votes_without_own(
            torch.from_numpy(np.ascontiguousarray(features[held])),
            torch.from_numpy(development.units[held]),
            torch.from_numpy(development.units[rows]),
        )
    return FittedHead(head, votes.double().softmax(1).cpu().numpy())


def fit_quietly(model: Any, features: np.ndarray, targets: np.ndarray) -> None:
    """Fit an estimator of scikit-learn, without its warning that the last digit has not converged.

    Weak penalties on separable features never get there, and the loss of held-out images decides anyway.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, targets)


def weights_by_class(weights: np.ndarray | None) -> dict[int, float] | None:
    """Class weights (K,) as scikit-learn takes them."""
    return None if weights is None else dict(enumerate(weights.tolist()))


def _new_model(weights: np.ndarray | None, *, is_on_path: bool) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    tolerance = {"tol": _PATH_TOLERANCE} if is_on_path else {}
    by_class = weights_by_class(weights)
    return LogisticRegression(max_iter=_MAX_ITERATIONS, class_weight=by_class, warm_start=is_on_path, **tolerance)


def _fit_logistic_regression(
    model: "LogisticRegression", penalty: float, features: np.ndarray, targets: np.ndarray
) -> None:
    model.set_params(C=penalty)
    # Products this small end before a second thread has woken: 0.7 s on one thread, 4 to 60 s on two that wait for
    # each other (640 images, 1,024 features, two cores, idle to busy).
    with thread_pools().limit(limits=1 if features.size < _MIN_SHARED_SIZE else None):
        fit_quietly(model, features, targets)


@cache
def thread_pools() -> "ThreadpoolController":
    """The thread pools of the libraries that fit; to look for them takes 10 ms, as much as a small fit."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
