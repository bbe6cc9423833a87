"""Heads that are fitted in one go on frozen features: logistic regression, linear SVM, nearest neighbours."""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import Stopped
from lib.evaluation.metrics import log_loss
from lib.training.events import ShouldStop, never_stop
from lib.training.optimization import class_weights
from lib.training.preparation import Development

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC
    from threadpoolctl import ThreadpoolController

# Inverse strength of the L2 penalty on standardised features, the strongest first. With hundreds of features and images
# the useful range is small; the ends are there for weak signals and for large data sets.
PENALTY_GRID = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# The weight of a margin violation of the SVM.
SVM_PENALTY_GRID = PENALTY_GRID[1:-1]
_MIN_SHARED_SIZE = 8_000_000  # values in the matrix of features from which on several threads help
# Along the path of penalties, each fit starts where the one before ended. Ten times the usual tolerance moves the loss
# by less than 0.001 where it is lowest, and halves the time (800 images, 1,024 features, five classes).
_PATH_TOLERANCE = 1e-3
# Of SVMs that only answer held-out images: a hundred times the usual, which moves margins by a five-hundredth of their
# deviation and halves the time (640 images, 1,024 features, five classes).
_FOLD_TOLERANCE = 1e-2
# Weaker penalties than one that is this much worse than the best are not tried: the loss has one valley.
_GIVE_UP = 1.02
_MIN_SCALE = 1e-3  # of an SVM's margins: a scale below zero would turn its answer round
OnFit = Callable[[int, int], None]


@dataclass(frozen=True)
class FittedHead:
    """A head on raw features.

    `held_out` are the probabilities (n, K) of `Development.held_rows` by heads that had not seen them; `penalty` is the
    C that had the lowest of the `losses`, weighted as the fit is, on held-out images.
    """

    head: Any
    held_out: np.ndarray
    penalty: float | None = None
    losses: dict[float, float] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """What a run tells of it."""
        return {} if self.penalty is None else {"penalty": self.penalty}


def ignore_fits(done: int, total: int) -> None:
    """Listens to no fit."""


def fit_linear_probe(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    development: Development,
    num_classes: int,
    weighting: str = "auto",
    untrained: Any = None,
    on_fit: OnFit = ignore_fits,
    should_stop: ShouldStop = never_stop,
) -> FittedHead:
    """Standardise and fit logistic regression (Kornblith et al. 2019, arXiv 1805.08974).

    The penalty is chosen by the answers to held-out images; with it, scaler and weights are fitted once more on all.

    Args:
        features: pooled features of all images, (N, D).
        targets: classes of all images, (N,).
        development: rows to fit on and how they are held out; every class must be in each part that is fitted on.
        num_classes: K.
        weighting: "auto", "balanced" or "none" (optimization.class_weights).
        untrained: the head with its options; only nearest neighbours have any.
        on_fit: called after each fit with (done, total).
        should_stop: asked before each fit. Raises Stopped.
    """
    from sklearn.preprocessing import StandardScaler

    from lib.models.folding import linear_from_logistic_regression

    rows = development.rows
    weights = class_weights(targets[rows], num_classes, weighting)
    policy = "none" if weights is None else "balanced"
    path = [
        _new_regression(class_weights(targets[part], num_classes, policy), warm_start=True, tol=_PATH_TOLERANCE)
        for part, _ in development.folds
    ]

    def answer(fold: int, penalty: float) -> np.ndarray:
        part, held = development.folds[fold]
        scaler = StandardScaler().fit(features[part])
        _fit_regression(path[fold], penalty, scaler.transform(features[part]), targets[part])
        return path[fold].predict_proba(scaler.transform(features[held]))

    def loss(held_out: np.ndarray) -> float:
        return log_loss(targets[development.held_rows], held_out, weights)

    penalty, held_out, losses = choose_penalty(
        PENALTY_GRID, len(development.folds), answer, loss, on_fit=on_fit, should_stop=should_stop
    )
    scaler, model = StandardScaler().fit(features[rows]), _new_regression(weights)
    _fit_regression(model, penalty, scaler.transform(features[rows]), targets[rows])
    _tell_done(on_fit, PENALTY_GRID, development)
    return FittedHead(linear_from_logistic_regression(scaler, model), held_out, penalty, losses)


def fit_linear_svm(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    development: Development,
    num_classes: int,
    weighting: str = "auto",
    untrained: Any = None,
    on_fit: OnFit = ignore_fits,
    should_stop: ShouldStop = never_stop,
) -> FittedHead:
    """Standardise, fit one machine a class against the rest, and scale their margins to probabilities.

    C and Platt's scale come from the margins of held-out images (Platt 1999, with his smoothed targets, so that a
    separable set gives finite scales); with C, the machines are fitted once more on all. A held-out image's own
    probability comes from the scale of the other folds, where there are others. Arguments as for `fit_linear_probe`.
    Raises Stopped.
    """
    from sklearn.preprocessing import StandardScaler

    from lib.models.folding import support_vector_head

    rows, held_targets = development.rows, targets[development.held_rows]
    weights = class_weights(targets[rows], num_classes, weighting)
    policy = "none" if weights is None else "balanced"
    fold_of = np.repeat(np.arange(len(development.folds)), [len(held) for _, held in development.folds])

    def answer(fold: int, penalty: float) -> np.ndarray:
        part, held = development.folds[fold]
        scaler = StandardScaler().fit(features[part])
        own_weights = class_weights(targets[part], num_classes, policy)
        machine = _fit_svm(scaler.transform(features[part]), targets[part], penalty, own_weights, tol=_FOLD_TOLERANCE)
        return machine.decision_function(scaler.transform(features[held])).reshape(len(held), -1)

    def loss(margins: np.ndarray) -> float:
        return log_loss(held_targets, _scaled_apart(margins, held_targets, fold_of), weights)

    penalty, margins, losses = choose_penalty(
        SVM_PENALTY_GRID, len(development.folds), answer, loss, on_fit=on_fit, should_stop=should_stop
    )
    scaler = StandardScaler().fit(features[rows])
    machine = _fit_svm(scaler.transform(features[rows]), targets[rows], penalty, weights)
    head = support_vector_head(scaler, machine, *platt_scale(margins, held_targets))
    _tell_done(on_fit, SVM_PENALTY_GRID, development)
    return FittedHead(head, _scaled_apart(margins, held_targets, fold_of), penalty, losses)


def fit_nearest_neighbors(
    features: np.ndarray, targets: np.ndarray, *, development: Development, untrained: Any, **_options: Any
) -> FittedHead:
    """A copy of `untrained` keeps the rows; it answers each held-out row without that row's own group."""
    import torch

    rows, held, head = development.rows, development.held_rows, copy.deepcopy(untrained)
    head.fit(features[rows], targets[rows].astype(np.int64))
    with torch.no_grad():
        votes = head.votes_without_own(
            torch.from_numpy(np.ascontiguousarray(features[held])),
            torch.from_numpy(development.units[held]),
            torch.from_numpy(development.units[rows]),
        )
    return FittedHead(head, votes.double().softmax(1).cpu().numpy())


def choose_penalty(
    grid: Sequence[float],
    num_folds: int,
    answer: Callable[[int, float], np.ndarray],
    loss: Callable[[np.ndarray], float],
    *,
    on_fit: OnFit,
    should_stop: ShouldStop,
) -> tuple[float, np.ndarray, dict[float, float]]:
    """Fit once for each penalty and fold; the lowest loss over all folds wins, of equals the weaker penalty.

    `answer` takes fold and penalty and answers the fold's held-out images (n, ...), `loss` is of those of all folds,
    one after the other. Returns the penalty, the answers with it, and the loss of each penalty that was tried; raises
    Stopped.
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


def _tell_done(on_fit: OnFit, grid: Sequence[float], development: Development) -> None:
    """Say that the last fit is done, however many penalties were tried."""
    total = len(grid) * len(development.folds) + 1
    on_fit(total, total)


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
        scale, offset = platt_scale(margins[others], targets[others])
        odds = 1 / (1 + np.exp(-np.clip(scale * margins[own] + offset, -500, 500)))
        probabilities[own] = np.hstack([1 - odds, odds]) if odds.shape[1] == 1 else odds / odds.sum(1, keepdims=True)
    return probabilities


def _new_regression(weights: np.ndarray | None, **options: Any) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=500, class_weight=_by_class(weights), **options)


def _fit_regression(model: "LogisticRegression", penalty: float, features: np.ndarray, targets: np.ndarray) -> None:
    # Products this small end before a second thread has woken: 0.7 s on one thread, 4 to 60 s on two that wait for
    # each other (640 images, 1,024 features, two cores, idle to busy).
    num_threads = 1 if features.size < _MIN_SHARED_SIZE else None
    _fit_quietly(model.set_params(C=penalty), features, targets, num_threads)


def _fit_svm(
    features: np.ndarray, targets: np.ndarray, penalty: float, weights: np.ndarray | None, **options: Any
) -> "LinearSVC":
    from sklearn.svm import LinearSVC

    machine = LinearSVC(
        C=penalty, class_weight=_by_class(weights), dual="auto", max_iter=2000, random_state=0, **options
    )
    _fit_quietly(machine, features, targets, 1)
    return machine


def _fit_quietly(model: Any, features: np.ndarray, targets: np.ndarray, num_threads: int | None) -> None:
    """Fit an estimator of scikit-learn, without its warning that the last digit has not converged.

    Weak penalties on separable features never get there, and the loss of held-out images decides anyway.
    """
    from sklearn.exceptions import ConvergenceWarning

    with _thread_pools().limit(limits=num_threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, targets)


@cache
def _thread_pools() -> "ThreadpoolController":
    """The thread pools of the libraries that fit; to look for them takes 10 ms, as much as a small fit."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _by_class(weights: np.ndarray | None) -> dict[int, float] | None:
    """Class weights (K,) as scikit-learn takes them."""
    return None if weights is None else dict(enumerate(weights.tolist()))
