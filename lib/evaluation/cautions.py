"""What must be said of results before anybody believes them: one sentence a caution."""

import math
from collections.abc import Sequence

import numpy as np

from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import Metric
from lib.evaluation.metrics import Z

TINY_CLASS = 10  # test images, below which one image moves a recall by more than ten points
MANY_LOOKS = 5
_MOST_NAMED = 4


def constant_predictor(label: str, answers: np.ndarray, class_names: Sequence[str]) -> str:
    """What a run that calls every image the same is worth; "" for any other."""
    if not len(answers) or (answers != answers[0]).any():
        return ""
    return (
        f"{label} calls every image {class_names[int(answers[0])]}: it tells nothing apart, its kappa is 0 or not "
        "defined, and its accuracy is the share of that class."
    )


def class_cautions(targets: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Of a test set: a single class, classes without an image, and classes with few."""
    counts = np.bincount(targets, minlength=len(class_names))
    present = [name for name, count in zip(class_names, counts, strict=True) if count]
    if len(present) == 1:
        only = present[0]
        return [f"All test images are of one class ({only}): kappa and AUROC are not defined, accuracy is its recall."]
    found = []
    if absent := [name for name, count in zip(class_names, counts, strict=True) if not count]:
        found.append(
            f"The test set has no image of {_named(absent)}: balanced accuracy and AUROC are means over the other "
            "classes, and nothing is known of these."
        )
    if tiny := [f"{name} ({count})" for name, count in zip(class_names, counts, strict=True) if 0 < count < TINY_CLASS]:
        smallest = int(counts[counts > 0].min())
        found.append(
            f"Few test images of {_named(tiny)}: in the smallest class one image moves the recall by "
            f"{100 / smallest:.0f} percentage points."
        )
    return found


def many_looks(num_looks: int, num_images: int, metric: Metric, best: Interval) -> str:
    """What the best of so many runs on one test set looks like by chance; "" for few runs or where it is not known."""
    if num_looks < MANY_LOOKS or not best.is_known:
        return ""
    error = (best.high - best.low) / (2 * Z)
    by = metric.difference_text(largest_of(num_looks) * error)
    return (
        f"{num_looks} runs were tested on these {num_images} images: by chance alone the best of {num_looks} equal "
        f"runs would look up to {by} better than it is. Confirm it on images that no run was chosen by."
    )


def largest_of(num: int) -> float:
    """The expected largest of `num` standard normal values (0.56 of two, 1.54 of ten)."""
    from scipy.special import ndtr

    x = np.linspace(-8, 8, 4001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return float((x * num * density * ndtr(x) ** (num - 1)).sum() * (x[1] - x[0]))


def _named(names: Sequence[str]) -> str:
    shown = [name if len(name) <= 40 else f"{name[:39]}…" for name in names[:_MOST_NAMED]]
    if more := len(names[_MOST_NAMED:]):
        return f"{', '.join(shown)} and {more} more {'class' if more == 1 else 'classes'}"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
