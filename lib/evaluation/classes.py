"""How well each class is told apart, with intervals, and which two are confused most.

Shares of independent images have Wilson's interval. F1 is a share too: with J = TP / (TP + FP + FN), F1 = 2J / (1 + J)
rises with J, so Wilson's ends of J give those of F1 (Lam 2023, arXiv:2309.14621, the indirect Wilson score method).
Where images share a group, whole groups are drawn instead; of few groups a bootstrap is too narrow, so they have
Wilson's interval with groups for images, which is at least as wide as it should be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.evaluation.metrics import LEVEL, class_report, group_members, wilson_interval

MEASURES = {"precision": "Precision", "recall": "Recall", "f1": "F1"}
_NUM_DRAWS = 2000
_AT_ONCE = 100
_FEW_GROUPS = 30  # with fewer that have the class, no bootstrap


def class_intervals(
    targets: np.ndarray,
    answers: np.ndarray,
    class_names: Sequence[str],
    *,
    groups: np.ndarray | Sequence[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """`class_report` with the 95 % interval of each figure: columns precision_low, precision_high and so on.

    NaN where a fraction has no denominator, so also where no image of a class was tested.

    Args:
        targets: true classes (N,).
        answers: the given ones (N,).
        class_names: of all K classes.
        groups: patients or the like (N,); an empty name is a group of one. A figure of few groups, or whose draws are
            all alike (all of a class right, say), has Wilson's interval with groups for images.
        seed: of the draws.
    """
    num = len(class_names)
    matrix = np.bincount(np.asarray(targets) * num + np.asarray(answers), minlength=num**2).reshape(num, num)
    report = class_report(matrix, list(class_names))
    hits, counts, called = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    denominators = {"precision": called, "recall": counts, "f1": counts + called - hits}
    ends = {name: _wilson(name, hits, total) for name, total in denominators.items()}
    if groups is not None:
        members = group_members(groups, len(targets))
        if len(members) < len(targets):
            ends = _drawn(np.asarray(targets), np.asarray(answers), members, num, seed=seed)
    for name, (low, high) in ends.items():
        report[f"{name}_low"], report[f"{name}_high"] = low, high
    return report


def _wilson(name: str, hits: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = [wilson_interval(float(hit), int(num)) if num else (math.nan, math.nan)
             for hit, num in zip(hits, totals, strict=True)]  # fmt: skip
    low, high = np.array(pairs).T
    return (2 * low / (1 + low), 2 * high / (1 + high)) if name == "f1" else (low, high)


def _drawn(
    targets: np.ndarray, answers: np.ndarray, members: list[np.ndarray], num: int, *, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ends of the percentile intervals of each measure and class (K,), over draws of whole groups."""
    group = np.empty(len(targets), dtype=np.int64)
    for number, rows in enumerate(members):
        group[rows] = number

    def per_group(classes: np.ndarray, counted: np.ndarray) -> np.ndarray:
        cells = group[counted] * num + classes[counted]
        return np.bincount(cells, minlength=len(members) * num).reshape(len(members), num).astype(np.float32)

    everything = np.ones(len(targets), dtype=bool)
    counts = (per_group(targets, targets == answers), per_group(targets, everything), per_group(answers, everything))
    generator, num_groups = np.random.default_rng(seed), len(members)
    values: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
    for _ in range(0, _NUM_DRAWS, _AT_ONCE):
        weights = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_AT_ONCE)
        hits, true, called = (weights.astype(np.float32) @ one for one in counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            for name, value in (
                ("precision", hits / called),
                ("recall", hits / true),
                ("f1", 2 * hits / (true + called)),
            ):
                values[name].append(value)
    of_groups = {"precision": counts[2], "recall": counts[1], "f1": counts[1] + counts[2]}
    return {name: _ends(name, np.concatenate(drawn), counts[0], of_groups[name]) for name, drawn in values.items()}


def _ends(name: str, drawn: np.ndarray, hits: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (K,) from draws (D, K) and the counts of each group (G, K) that they were drawn from."""
    low, high = np.full(drawn.shape[1], math.nan), np.full(drawn.shape[1], math.nan)
    for column, values in enumerate(drawn.T):
        kept = values[np.isfinite(values)]
        num_groups, num_hits, total = int((totals[:, column] > 0).sum()), hits[:, column].sum(), totals[:, column].sum()
        if not num_groups:
            continue
        if num_groups >= _FEW_GROUPS and len(kept) > len(values) / 2 and np.ptp(kept) > 0:
            low[column], high[column] = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            continue
        share = num_hits / (total - num_hits if name == "f1" else total)  # of F1: J
        found = _wilson(name, np.array([share * num_groups]), np.array([num_groups]))
        low[column], high[column] = found[0][0], found[1][0]
    return low, high


@dataclass(frozen=True)
class Confusion:
    """So many images of class `target` were called `predicted`: the share of the class that they are."""

    target: int
    predicted: int
    number: int
    share: float


def commonest_confusion(matrix: np.ndarray) -> Confusion | None:
    """The cell off the diagonal with the most images of counts (K, K); None where there is no error.

    Of equal ones the one with the largest share of its class, then the first.
    """
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    if not wrong.any():
        return None
    totals = np.maximum(np.asarray(matrix).sum(1), 1)
    cells = [divmod(int(cell), len(wrong)) for cell in np.flatnonzero(wrong == wrong.max())]
    target, predicted = max(cells, key=lambda cell: wrong[cell] / totals[cell[0]])
    number = int(wrong[target, predicted])
    return Confusion(target, predicted, number, number / int(totals[target]))


def confusion_sentence(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    """What is confused most, in words: how many images of which class were called what, and the way back."""
    found, num = commonest_confusion(matrix), int(np.asarray(matrix).sum())
    if found is None:
        return f"No error: all {num} images are in their class."
    names, back = class_names, int(matrix[found.predicted, found.target])
    num_wrong = num - int(np.asarray(matrix).diagonal().sum())
    one = "image" if found.number == 1 else "images"
    words = (
        f"Most often, {names[found.target]} was called {names[found.predicted]}: {found.number} {one}, "
        f"{100 * found.share:.0f}\u00a0% of the class"
    )
    return f"{words}; the other way round {back}. In all {num_wrong} of {num} images are wrong."
