"""Fits a head in one go, whatever kind it is: linear probe, linear SVM or nearest neighbours."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lib.training.events import ShouldStop
from lib.training.fit_splits import Development
from lib.training.fitting import fit_linear_probe, fit_nearest_neighbors
from lib.training.svm import fit_linear_svm


@dataclass(frozen=True)
class FittedHead:
    """A head on raw features, and the answers (n, K) to `Development.held_rows` by heads that had not seen them."""

    head: Any
    held_out: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)


def fit_head(
    name: str,
    untrained: Any,
    features: np.ndarray,
    targets: np.ndarray,
    *,
    development: Development,
    num_classes: int,
    weighting: str,
    device: str = "cpu",
    on_fit: Callable[[int, int], None] = lambda done, total: None,
    should_stop: ShouldStop = lambda: False,
) -> FittedHead:
    """Fit the head `name` of the table; `untrained` is one of it, with its options, and stays as it is.

    Args:
        name: of a head that is not iterated, or "linear".
        untrained: a module.
        features: pooled features of all images, (N, D).
        targets: classes of all images, (N,).
        development: rows to fit on and how they are held out.
        num_classes: K.
        weighting: "auto", "balanced" or "none".
        device: where the head goes.
        on_fit: called after each fit with (done, total).
        should_stop: asked before each fit.

    Raises:
        Stopped: `should_stop()` turned true.
    """
    if name == "nearest_neighbors":
        head = copy.deepcopy(untrained)
        return FittedHead(head, fit_nearest_neighbors(head, features, targets, development=development))
    fit: Callable[..., Any] = fit_linear_svm if name == "linear_svm" else fit_linear_probe
    probe = fit(
        features, targets, development=development, num_classes=num_classes, weighting=weighting, on_fit=on_fit,
        should_stop=should_stop,
    )  # fmt: skip
    return FittedHead(probe.head.to(device), probe.held_out, {"penalty": probe.penalty})
