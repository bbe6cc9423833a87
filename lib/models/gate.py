"""Does an image look like the training images? Distance to them in feature space, limit set by held-out images.

Distance = mean cosine distance to the five nearest training images (deep nearest neighbours, Sun et al. 2022, arXiv
2204.06507). Limit = split conformal (Vovk et al. 2005): of n held-out images the distance of rank
ceil((n + 1) * 0.95). So at most 5 % of new images from the training images' own source are turned away, on average over
draws, for any backbone, since nothing is assumed about the features. With fewer than 19 images no finite limit keeps
that promise: it is the largest distance seen, and the rate rises to 1 / (n + 1), which the gate states.

Mahalanobis distance with Ledoit-Wolf shrinkage did as well on unit vectors, but on raw features let blank images and
text through. With few images the limit is loose, and features that tell little apart flag little: a passed gate is no
proof of fitness.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.models.bundle_files import read_side_file, write_side_file

GATE_FILE = "reference.safetensors"  # beside the classifier in its bundle
FALSE_ALARM_RATE = 0.05
NUM_NEIGHBORS = 5
MAX_REFERENCE_ROWS = 2000
MAX_REFERENCE_BYTES = 32 * 2**20
_CHUNK_ROWS = 256
_FACTS: dict[str, Any] = {"threshold": float, "false_alarm_rate": float, "num_calibration": int, "num_neighbors": int}


@dataclass(frozen=True, eq=False)
class Gate:
    """Training features to compare with, and the limit.

    Attributes:
        reference: features of training images as unit vectors, float16, (M, D).
        threshold: the largest distance that still passes.
        false_alarm_rate: the promised share of images like the training images that are turned away all the same.
        num_calibration: validation images that set the threshold, each compared with none of its own group.
    """

    reference: np.ndarray
    threshold: float
    false_alarm_rate: float
    num_calibration: int
    num_neighbors: int = NUM_NEIGHBORS

    def distance(self, features: np.ndarray, is_own: np.ndarray | None = None) -> np.ndarray:
        """Distances (N,) of pooled features (N, D), in 0 .. 2; infinite where a feature is not finite.

        `is_own` (N, M) marks rows of the reference that an image is not compared with: itself, or its own patient.
        """
        features = np.asarray(features)
        if features.ndim != 2 or features.shape[1] != self.reference.shape[1]:
            raise ValueError(f"Expected features (N, {self.reference.shape[1]}), got {features.shape}.")
        reference = self.reference.astype(np.float32)
        num_neighbors = min(self.num_neighbors, len(reference))
        distances = np.empty(len(features), dtype=np.float32)
        for start in range(0, len(features), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            similarity = _unit_rows(features[chunk]) @ reference.T
            if is_own is not None:
                similarity[is_own[chunk]] = -np.inf
            nearest = np.partition(similarity, -num_neighbors, axis=1)[:, -num_neighbors:]
            is_other = np.isfinite(nearest)
            means = np.where(is_other, nearest, 0.0).sum(1) / np.maximum(is_other.sum(1), 1)
            distances[chunk] = np.maximum(0.0, 1.0 - means)
        distances[~np.isfinite(features).all(1)] = np.inf
        return distances


def fit_gate(
    train_features: np.ndarray,
    val_features: np.ndarray,
    *,
    seed: int = 0,
    train_units: np.ndarray | None = None,
    val_units: np.ndarray | None = None,
) -> Gate:
    """A gate from pooled features of training (N, D) and validation (M, D) images of one network.

    At most 2,000 training rows (32 MiB) are kept, drawn by `seed`. Validation images may be training images if groups
    are given: an image is not compared with its own group, so not with itself, where its distance would be zero. The
    promise holds then as well: each image has fewer to be compared with than a new one will have, so that the limit is
    no tighter (full conformal prediction with one's neighbours, Vovk et al. 2005).

    `train_units` (N,) and `val_units` (M,) are group numbers; None if no validation image is among the training images.

    Raises:
        ValueError: no training or validation images, widths that differ, or features that are not finite.
    """
    train_features, val_features = np.asarray(train_features), np.asarray(val_features)
    if not len(train_features) or not len(val_features):
        raise ValueError(
            f"The gate needs training and validation images, got {len(train_features)}, {len(val_features)}."
        )
    if not np.isfinite(train_features).all() or not np.isfinite(val_features).all():
        raise ValueError("The features hold NaN or infinity: the network that made them has diverged.")
    most = max(NUM_NEIGHBORS, min(MAX_REFERENCE_ROWS, MAX_REFERENCE_BYTES // (2 * train_features.shape[1])))
    rows = np.arange(len(train_features))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=most, replace=False))
    # Unit vectors before float16: raw features of a random network may be 1e-9 or 1e12, outside its range.
    reference = _unit_rows(train_features[rows]).astype(np.float16)
    num = len(val_features)
    open_gate = Gate(reference, math.inf, max(FALSE_ALARM_RATE, 1 / (num + 1)), num)
    rank = min(num, math.ceil((num + 1) * (1 - FALSE_ALARM_RATE)))
    is_own = None if train_units is None or val_units is None else val_units[:, None] == train_units[rows]
    limit = float(np.sort(open_gate.distance(val_features, is_own))[rank - 1])
    # A little slack: another batch size or number type moves distances in the sixth digit, which must turn nobody away.
    return Gate(reference, limit * 1.001 + 1e-5, open_gate.false_alarm_rate, num)


def save_gate(path: Path, gate: Gate) -> None:
    """Write a gate as one safetensors file, atomically."""
    facts = {name: repr(getattr(gate, name)) for name in _FACTS}
    write_side_file(path, {"reference": np.ascontiguousarray(gate.reference)}, facts)


def load_gate(path: Path) -> Gate:
    """Read what `save_gate` wrote; raises UserError if the file is damaged, newer or not a gate."""
    gate = read_side_file(
        path,
        lambda arrays, facts: Gate(arrays["reference"], **{name: kind(facts[name]) for name, kind in _FACTS.items()}),
        title="The gate file",
        owner="run",
        remedy="train the run again",
    )
    reference = gate.reference
    is_sound = reference.ndim == 2 and len(reference) and reference.dtype == np.float16 and gate.num_neighbors > 0
    if not is_sound or not math.isfinite(gate.threshold) or not np.isfinite(reference).all():
        raise UserError(f"The gate file {path.name} of this run is damaged; train the run again.")
    return gate


def _unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, float32; a row of zeros stays (its cosine distance to anything is one)."""
    wide = np.nan_to_num(features.astype(np.float64), posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
