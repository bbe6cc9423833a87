"""By what classes and splits differ besides what they show: one class much brighter, one split from another camera.

Such a difference is a shortcut: a network may learn it in place of the subject. Its size is the probability of
superiority (McGraw and Wong 1992, https://doi.org/10.1037/0033-2909.111.2.361): in how many of 100 pairs of one image
here and one of the others the first has more of it; 50 is no difference. It needs no scale and no normal distribution,
and it is the area under the ROC curve of telling the two apart by the measure alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.data.dataset import Dataset
from lib.data.image_measures import MEASURES
from lib.data.splits import TEST, TRAIN, VAL

if TYPE_CHECKING:
    import pandas as pd

_LEAST_SIZE = (
    0.135  # away from one half: 64 of 100 pairs, about what half a standard deviation gives in normal distributions
)
_Z, _ERROR_RATE = 1.959964, 0.05
_SPLIT_WORDS = {TEST: "Test images", VAL: "Validation images"}


@dataclass(frozen=True)
class Contrast:
    """How one class or split differs from others in one measure.

    Attributes:
        measure: its name in `MEASURES`.
        who: the class, or the split ("test", "val").
        is_split: whether a split is held against the training images, or else a class against all other images.
        superiority: share of pairs in which the image of `who` has more; `low` and `high` are its 95 % interval.
        z: of the test of Mann and Whitney: how many standard errors of no difference it is away from one half.
        median: of `who`; `other_median` of the others, in the unit of the measure.
        num: images of `who`, those of a group counted once; `num_others` of the others.
    """

    measure: str
    who: str
    is_split: bool
    superiority: float
    low: float
    high: float
    z: float
    median: float
    other_median: float
    num: int
    num_others: int

    @property
    def size(self) -> float:
        """How far it is away from no difference, 0 to 0.5."""
        return abs(self.superiority - 0.5)

    @property
    def sentence(self) -> str:
        """It in words, with effect size, interval and both medians."""
        measure = MEASURES[self.measure]
        is_more = self.superiority >= 0.5
        ends = (self.low, self.high) if is_more else (1 - self.high, 1 - self.low)
        pairs = f"{_hundred(0.5 + self.size)} of 100 pairs ({_hundred(ends[0])} to {_hundred(ends[1])})"
        who = _SPLIT_WORDS[self.who] if self.is_split else f"Images of {self.who!r}"
        others = "the training images" if self.is_split else "the others"
        return (
            f"{who} {measure.more if is_more else measure.less} than {others} in {pairs}: median "
            f"{measure.text(self.median)} against {measure.text(self.other_median)}."
        )


def find_contrasts(dataset: Dataset, split: np.ndarray, measures: "pd.DataFrame") -> list[Contrast]:
    """Every class against the others, and validation and test against training, in every measure; largest first.

    `measures` are those of `image_measures`, `split` (N,) names the part of each image; one that is in none of the
    three does not count. Images of one group (a patient) in a class are one case, with their mean.
    """
    is_used = np.isin(split, (TRAIN, VAL, TEST))
    cases = _cases(dataset, split, measures)[is_used]
    names = list(MEASURES)
    classes = cases.groupby(["target", "unit"], sort=True)[names].mean().reset_index()
    parts = cases.groupby(["part", "unit"], sort=True)[names].mean().reset_index()
    found: list[Contrast] = []
    for name in names:
        own, values = classes["target"].to_numpy(), classes[name].to_numpy()
        for target in np.unique(own[own >= 0]).astype(int):
            here = own == target
            found += _contrast(name, dataset.class_names[target], values[here], values[~here], is_split=False)
        part, values = parts["part"].to_numpy(), parts[name].to_numpy()
        for tested in (TEST, VAL):
            found += _contrast(name, tested, values[part == tested], values[part == TRAIN], is_split=True)
    return sorted(found, key=lambda one: -one.size)


def what_stands_out(contrasts: list[Contrast], *, most: int = 5) -> list[Contrast]:
    """Contrasts that are large and no chance, largest first, of each class or split no more than two.

    Large: at least 64 of 100 pairs. No chance: at 5 % divided by the number of contrasts looked at (Bonferroni).
    """
    from scipy.stats import norm

    limit = float(norm.isf(_ERROR_RATE / 2 / max(1, len(contrasts))))
    taken: list[Contrast] = []
    for one in contrasts:
        is_told_twice = sum((other.who, other.is_split) == (one.who, one.is_split) for other in taken) >= 2
        if one.size >= _LEAST_SIZE and abs(one.z) >= limit and not is_told_twice and not _is_mirror(one, taken):
            taken.append(one)
    return taken[:most]


def superiority(values: np.ndarray, others: np.ndarray) -> float:
    """Share of pairs in which one of `values` (n,) is larger than one of `others` (m,); equal ones count half."""
    ordered = np.sort(others)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(others))


def superiority_interval(share: float, num: int, num_others: int) -> tuple[float, float]:
    """Its 95 % interval, which is no point even where two sides are wholly apart.

    Newcombe 2006, method 5 (https://doi.org/10.1002/sim.2324): the shares whose own error reaches as far as this one.
    """
    from scipy.optimize import brentq

    half = (num + num_others) / 2 - 1

    def excess(true: float) -> float:
        spread = 1 + half * ((1 - true) / (2 - true) + true / (1 + true))
        return float((share - true) ** 2 - _Z**2 * true * (1 - true) * spread / num / num_others)

    # A share of 0 or 1 is itself a solution, which is not the end that is looked for.
    low = 0.0 if share <= 0 else brentq(excess, 0.0, min(share, 1 - 1e-9))
    high = 1.0 if share >= 1 else brentq(excess, max(share, 1e-9), 1.0)
    return float(low), float(high)


def _contrast(measure: str, who: str, values: np.ndarray, others: np.ndarray, *, is_split: bool) -> Iterator[Contrast]:
    """One contrast; none where either side has fewer than two cases."""
    if min(len(values), len(others)) < 2:
        return
    share = superiority(values, others)
    z = (share - 0.5) / np.sqrt((len(values) + len(others) + 1) / 12 / len(values) / len(others))
    low, high = superiority_interval(share, len(values), len(others))
    medians = float(np.median(values)), float(np.median(others))
    yield Contrast(measure, who, is_split, share, low, high, float(z), *medians, len(values), len(others))


def _cases(dataset: Dataset, split: np.ndarray, measures: "pd.DataFrame") -> "pd.DataFrame":
    groups = dataset.table["group_id"].to_numpy(dtype=object)
    units = [str(group) if group else f"\0{row}" for row, group in enumerate(groups)]
    return measures[list(MEASURES)].assign(target=dataset.table["target"].to_numpy(), part=split, unit=units)


def _is_mirror(one: Contrast, taken: list[Contrast]) -> bool:
    """Whether the same was said of the other of two classes."""
    mirrored = 1 - one.superiority
    return any(
        not one.is_split and not other.is_split and other.measure == one.measure
        and abs(other.superiority - mirrored) < 1e-9 and other.num == one.num_others
        for other in taken
    )  # fmt: skip


def _hundred(share: float) -> str:
    return f"{100 * share:.0f}"
