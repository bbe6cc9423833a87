"""Which images each fit of a run trains on, validates on and is tested with."""

from typing import Any

import numpy as np

from lib.training.config import TrainConfig


def fit_splits(dataset: Any, config: TrainConfig) -> list[np.ndarray]:
    """The split (N,) of each fit of a resolved config: one, or with folds each fold's and that of the last fit.

    The last fit, whose classifier is kept, trains on all images but the validation part of fold 0.
    """
    if not config.num_folds:
        return [dataset.split(config.split_seed)]
    folds = [dataset.split(config.split_seed, num_folds=config.num_folds, fold=k) for k in range(config.num_folds)]
    return [*folds, np.where(folds[0] == "test", "train", folds[0])]
