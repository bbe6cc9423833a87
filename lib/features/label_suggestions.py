"""Which image to label next, and what it may be: by its nearest labelled neighbours in a pretrained network's features.

The first images are chosen to be far from each other (k-centre, Gonzalez 1985), so that every kind of picture is seen
early; then the image comes first about which the neighbours disagree most (uncertainty sampling, Lewis and Gale 1994).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import digest_of
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.progress import Progress, ignore_progress

_FORMAT = 1
NUM_NEIGHBOURS = 5
NUM_DIVERSE = 8  # labels before the neighbours have a say; more where there are more classes
_MOST_ASKED, _MOST_KNOWN = 1000, 4000  # images that are compared at once: a choice takes a tenth of a second


@dataclass(frozen=True)
class Suggestion:
    """The next image, and what its neighbours say.

    `target` is -1 while too few images are labelled; `share` of the `num` nearest labelled images (0 to 1, the nearer
    the heavier) are of that class.
    """

    row: int
    target: int = -1
    share: float = float("nan")
    num: int = 0
    num_agreeing: int = 0
    nearest: tuple[int, ...] = ()  # rows of the nearest labelled images, the nearest first


def kept_features(dataset: Any) -> np.ndarray | None:
    """What `labelling_features` computed for these images before, without importing torch; None where it did not."""
    found = read_entry(_path(dataset), len(dataset.pixels), is_mapped=False)
    return None if found is None else np.asarray(found)


def labelling_features(dataset: Any, *, device: str = "cpu", progress: Progress = ignore_progress) -> np.ndarray:
    """Unit vectors (N, D), float32, of all images by the default network, kept in the cache of features.

    Raises:
        WeightsUnavailable: its pretrained weights are not at hand.
    """
    if (kept := kept_features(dataset)) is not None:
        return kept
    from lib.data.augmentation import AS_IT_IS
    from lib.features.cache import read_or_extract
    from lib.features.engine import FrozenPart, choose_engine
    from lib.features.extraction import FeatureRequest
    from lib.models.backbones import BACKBONES
    from lib.models.weights import default_backbone
    from lib.precision import choose_dtype

    spec, dtype = BACKBONES.get(default_backbone()), choose_dtype(device)[0]
    part = FrozenPart(spec.name, "pretrained", 0, spec.feature_stage, spec.input_size_px, dtype)
    engine = choose_engine(part, device=device, num_images=len(dataset.pixels), progress=progress)
    request = FeatureRequest(
        dataset, spec.name, "pretrained", 0, spec.feature_stage, spec.pooling, spec.input_size_px,
        "float32" if engine.name == "onnx" else dtype, AS_IT_IS, device, engine.name, engine.batch_size,
    )  # fmt: skip
    found = np.asarray(read_or_extract(request, progress=progress).features, dtype=np.float32)
    vectors = unit_rows(found.reshape(len(found), -1))
    for _ in write_entry(_path(dataset), iter([vectors]), len(vectors)):
        pass
    return vectors


def _path(dataset: Any) -> Path:
    from lib.models.weights import default_backbone

    return entry_path("features", digest_of(["labelling", _FORMAT, dataset.content_version, default_backbone()]))


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Features (N, D) as unit vectors."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(lengths, 1e-12)).astype(np.float32)


def suggest_next(features: np.ndarray, targets: np.ndarray, waiting: np.ndarray, *, num_classes: int) -> Suggestion:
    """The image of `waiting` (m,), at least one, that is to be labelled next.

    Args:
        features: unit vectors (N, D).
        targets: classes (N,), -1 without a label.
        waiting: rows that have no label and were not passed over.
        num_classes: that can be given.
    """
    known = np.flatnonzero(targets >= 0)
    asked = _some(waiting, _MOST_ASKED)
    if not len(known):
        return Suggestion(_most_central(features, asked))
    recent = known if len(known) <= _MOST_KNOWN else _some(known, _MOST_KNOWN)
    near = features[asked] @ features[recent].T  # cosines (m, n)
    if len(known) < max(NUM_DIVERSE, 2 * num_classes) or len(np.unique(targets[known])) < 2:
        row = int(near.max(1).argmin())  # the farthest from all that are labelled
        return suggest_label(features, targets, int(asked[row]), num_classes=num_classes)
    votes = _votes(near, targets[recent], num_classes)
    ordered = np.sort(votes, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    # Of equally open ones the one in the middle of unlabelled company teaches most.
    row = int(np.lexsort((near.max(1), np.round(margin, 2)))[0])
    return suggest_label(features, targets, int(asked[row]), num_classes=num_classes)


def suggest_label(features: np.ndarray, targets: np.ndarray, row: int, *, num_classes: int) -> Suggestion:
    """What the nearest labelled images say of one image; arguments as of `suggest_next`."""
    known = np.flatnonzero((targets >= 0) & (np.arange(len(targets)) != row))
    if len(known) < 2 or len(np.unique(targets[known])) < 2:
        return Suggestion(row)
    cosines = features[known] @ features[row]
    nearest = np.argsort(-cosines, kind="stable")[:NUM_NEIGHBOURS]
    votes = _votes(cosines[None, nearest], targets[known[nearest]], num_classes)[0]
    target = int(votes.argmax())
    agreeing = int((targets[known[nearest]] == target).sum())
    return Suggestion(row, target, float(votes[target]), len(nearest), agreeing, tuple(known[nearest].tolist()))


def _votes(cosines: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Shares (m, K) of the nearest `NUM_NEIGHBOURS` of (m, n), weighted by exp(10 cos), the nearer the heavier."""
    num = min(NUM_NEIGHBOURS, cosines.shape[1])
    nearest = np.argpartition(-cosines, num - 1, axis=1)[:, :num]
    weights = np.exp(10 * np.take_along_axis(cosines, nearest, axis=1))
    votes = np.zeros((len(cosines), num_classes))
    np.add.at(votes, (np.arange(len(cosines))[:, None], targets[nearest]), weights)
    return votes / votes.sum(1, keepdims=True)


def _most_central(features: np.ndarray, rows: np.ndarray) -> int:
    """The image nearest to the mean of all: a usual one to begin with."""
    return int(rows[(features[rows] @ features[rows].mean(0)).argmax()])


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly over them."""
    if len(rows) <= most:
        return rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(int))]
