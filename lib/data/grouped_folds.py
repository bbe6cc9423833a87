"""Stratified folds with whole groups as scikit-learn draws them, fold for fold, in a twentieth of the time.

scikit-learn asks for each group and each fold anew how even the classes would be: 6 s for 20,000 images of 10,000
patients. Here all folds are asked at once, by the same sums in the same order, so that every split stays as it is.
Imports scikit-learn: a second that only who splits should wait for.
"""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

_RELATIVE, _ABSOLUTE = 1e-5, 1e-8  # by which numpy.isclose calls two numbers close


class GroupedFolds(StratifiedGroupKFold):
    """`StratifiedGroupKFold` with the same answers."""

    _goes_to: np.ndarray | None = None

    def _find_best_fold(
        self, y_counts_per_fold: np.ndarray, y_cnt: np.ndarray, group_y_counts: np.ndarray
    ) -> int | None:
        """The fold that a group goes to: counts (F, C) of folds and classes so far, (C,) of all and of the group."""
        num_folds, num_classes = y_counts_per_fold.shape
        if self._goes_to is None or len(self._goes_to) != num_folds:
            self._goes_to = np.eye(num_folds)[:, :, None]
        tried = y_counts_per_fold + self._goes_to * group_y_counts  # [k] is with the group in fold k
        tried /= y_cnt
        # The standard deviation over folds, as numpy.std computes it, without its overhead of 20 us a call.
        tried -= np.add.reduce(tried, axis=1, keepdims=True) / num_folds
        tried *= tried
        unevenness = np.sqrt(np.add.reduce(tried, axis=1) / num_folds)
        evals: list[float] = (np.add.reduce(unevenness, axis=1) / num_classes).tolist()
        sizes: list[float] = np.add.reduce(y_counts_per_fold, axis=1).tolist()
        best, least, least_size = None, np.inf, np.inf
        for fold, (value, size) in enumerate(zip(evals, sizes, strict=True)):
            is_close = least != np.inf and abs(value - least) <= _ABSOLUTE + _RELATIVE * abs(least)
            if value < least or (is_close and size < least_size):
                best, least, least_size = fold, value, size
        return best
