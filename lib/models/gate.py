"""Does an image look like the training images? Distances to them in feature space, limits set by held-out images.

Images are compared at several stages of a network, and by the energy of the classifier's answer. Distance = mean cosine
distance to the five nearest training images (deep nearest neighbours, Sun et al. 2022, arXiv
2204.06507). Limit = split conformal (Vovk et al. 2005): of n held-out images the distance of rank
ceil((n + 1) * 0.95). So at most 5 % of new images from the training images' own source are turned away, on average over
draws of the held-out images, for any backbone, since nothing is assumed about the features; for one such draw it is
more or less, as `false_alarm_range` says, and poor images among the held-out ones take their part of it unless they
are left out (lib/training/domain.py). With fewer than 19 images no finite limit keeps that promise: it is the largest
distance seen, and the rate rises to 1 / (n + 1), which the gate states.

The promise is one for all comparisons together: each is put on a scale of its own (median and ninth decile of the
held-out images), and the limit is the conformal one of the largest. An image is turned away where any one is beyond.

Energy (Liu et al. 2020, arXiv 2010.03759) = -logsumexp of the logits, which are centred here, since their sum says
nothing in a softmax: that makes it the mean of the logarithms of the probabilities, so that answers out of fold do.

A network that was fine-tuned on the training images tells other images badly apart: what it does not need, it forgets.
Features of a pretrained network, the "judge", are compared then (lib/training/domain.py).

Mahalanobis distance with Ledoit-Wolf shrinkage did as well on unit vectors, but on raw features let blank images and
text through. With few images the limit is loose, and features that tell little apart flag little: a passed gate is no
proof of fitness.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.models.bundle_files import read_side_file, write_side_file

GATE_FILE = "reference.safetensors"  # beside the classifier in its bundle
FALSE_ALARM_RATE = 0.05
OWN_STAGES = "own"  # the judge is the classifier's own frozen network
ENERGY_TITLE = "Energy"
NUM_NEIGHBORS = 5
MAX_REFERENCE_ROWS = 2000
MAX_REFERENCE_BYTES = 32 * 2**20
_CHUNK_ROWS = 256
_FACTS: dict[str, Any] = {"threshold": float, "false_alarm_rate": float, "num_calibration": int, "num_neighbors": int}


Comparison = tuple[str, float, float]  # title, value, limit


@dataclass(frozen=True, eq=False)
class StageLimit:
    """What is compared at one stage: features of training images as unit vectors, float16, (M, D), and the limit."""

    name: str
    title: str
    limit: float
    reference: np.ndarray

    @cached_property
    def vectors(self) -> np.ndarray:
        """The reference as float32 (M, D), made once: to make it for each image costs more than to compare it."""
        return self.reference.astype(np.float32)


@dataclass(frozen=True)
class EnergyLimit:
    """Energies are told above `origin`, the median of held-out images; `limit` is the largest that passes."""

    origin: float
    limit: float

    def values(self, probabilities: np.ndarray) -> np.ndarray:
        """Energies (N,) above the usual one, 0 where below it, of probabilities (N, K)."""
        return np.maximum(0.0, energies(probabilities) - self.origin)


@dataclass(frozen=True, eq=False)
class ReferenceImages:
    """Which images the reference rows are: ids, classes as numbers of `class_names`, patients as numbers, each (M,)."""

    image_ids: tuple[str, ...]
    targets: np.ndarray
    groups: np.ndarray
    class_names: tuple[str, ...]

    def taken(self, rows: np.ndarray) -> "ReferenceImages":
        """Some of them."""
        ids = tuple(self.image_ids[row] for row in rows)
        return ReferenceImages(ids, self.targets[rows], self.groups[rows], self.class_names)

    def is_related(self, image_id: str, others: Sequence[str] = ()) -> np.ndarray:
        """Which rows (M,) are an image itself, its patient's by what is known here, or among `others`."""
        rows = [self._rows[one] for one in {image_id, *others} if one in self._rows]
        return np.isin(self.groups, self.groups[rows]) if rows else np.zeros(len(self.groups), dtype=bool)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.image_ids)}


@dataclass(frozen=True, eq=False)
class Gate:
    """Training features to compare with, and the limits.

    Attributes:
        reference: features of training images at the last stage as unit vectors, float16, (M, D).
        threshold: the largest distance that still passes; 1 where several comparisons are told in units of their limit.
        false_alarm_rate: the promised share of images like the training images that are turned away all the same.
        num_calibration: held-out images that set the limits, each compared with none of its own group.
        stages: what is compared at which stage, `reference` the last; () in a gate of before there were several, which
            compares what the head reads.
        judge: whose stages: "own" or the name of a pretrained backbone.
        energy: the limit of the energy; None where all answers have one energy.
        images: which images the reference is of; None in older gates.
    """

    reference: np.ndarray
    threshold: float
    false_alarm_rate: float
    num_calibration: int
    num_neighbors: int = NUM_NEIGHBORS
    stages: tuple[StageLimit, ...] = ()
    judge: str = ""
    energy: EnergyLimit | None = None
    images: ReferenceImages | None = None

    def distance(self, features: np.ndarray, is_own: np.ndarray | None = None) -> np.ndarray:
        """Distances (N,) of pooled features (N, D), in 0 .. 2; infinite where a feature is not finite.

        `is_own` (N, M) marks rows of the reference that an image is not compared with: itself, or its own patient.
        """
        return _distances(self.vectors, features, self.num_neighbors, is_own)

    @cached_property
    def vectors(self) -> np.ndarray:
        """The reference as float32 (M, D)."""
        return self.stages[-1].vectors if self.stages else self.reference.astype(np.float32)

    def compare(
        self, readings: Mapping[str, np.ndarray], probabilities: np.ndarray
    ) -> tuple[list[tuple[Comparison, ...]], np.ndarray]:
        """Every comparison of each image, of pooled features (N, D) by stage and probabilities (N, K).

        Also the cosine similarities (N, M) to the reference at the last stage, for `nearest`.
        """
        similarities = [_similarities(one.vectors, readings[one.name]) for one in self.stages]
        found = [
            (one.title, _mean_distances(similarity, readings[one.name], self.num_neighbors), one.limit)
            for one, similarity in zip(self.stages, similarities, strict=True)
        ]
        if self.energy is not None:
            found.append((ENERGY_TITLE, self.energy.values(probabilities), self.energy.limit))
        compared = [
            tuple((title, float(values[row]), limit) for title, values, limit in found)
            for row in range(len(probabilities))
        ]
        return compared, similarities[-1]

    def nearest(
        self, similarities: np.ndarray, num: int, is_hidden: np.ndarray | None = None
    ) -> list[tuple[int, float]]:
        """Rows of the reference nearest to an image by its similarities (M,), with cosine distances."""
        distances = 1.0 - similarities
        if is_hidden is not None:
            distances[is_hidden] = np.inf
        order = np.argsort(distances, kind="stable")[:num]
        return [(int(row), max(0.0, float(distances[row]))) for row in order if np.isfinite(distances[row])]


def false_alarm_range(num_calibration: int) -> tuple[float, float]:
    """Where the share of new images that are turned away lies in 95 of 100 draws of the held-out images.

    Of n held-out images drawn like the new ones, rank k sets the limit; the share of new ones beyond it has the
    distribution Beta(n + 1 - k, k) over draws of the n (Vovk 2012, arXiv 1209.2673, proposition 2a).
    """
    from scipy.special import betaincinv

    rank = min(num_calibration, math.ceil((num_calibration + 1) * (1 - FALSE_ALARM_RATE)))
    low, high = betaincinv(num_calibration + 1 - rank, rank, [0.025, 0.975])
    return float(low), float(high)


def energies(probabilities: np.ndarray) -> np.ndarray:
    """Energies (N,) of answers by their probabilities (N, K): -logsumexp of centred logits."""
    return np.log(np.clip(probabilities, 1e-12, 1.0)).mean(axis=1)


def fit_gate(
    train_features: np.ndarray | Mapping[str, np.ndarray],
    val_features: np.ndarray | Mapping[str, np.ndarray],
    *,
    seed: int = 0,
    train_units: np.ndarray | None = None,
    val_units: np.ndarray | None = None,
    titles: Mapping[str, str] | None = None,
    probabilities: np.ndarray | None = None,
    judge: str = "",
    images: ReferenceImages | None = None,
) -> Gate:
    """A gate from pooled features of training (N, D) and validation (M, D) images, by stage or of what a head reads.

    At most 2,000 training rows (32 MiB) are kept, drawn by `seed`. Validation images may be training images if groups
    are given: an image is not compared with its own group, so not with itself, where its distance would be zero. The
    promise holds then as well: each image has fewer to be compared with than a new one will have, so that the limit is
    no tighter (full conformal prediction with one's neighbours, Vovk et al. 2005).

    Args:
        train_features: of all training images.
        val_features: of the images that set the limits.
        seed: of the draw.
        train_units: group numbers (N,); None if no validation image is among the training images.
        val_units: the same (M,).
        titles: in words, by stage.
        probabilities: answers to the validation images (M, K) by what had not seen them, for the limit of the energy.
        judge: whose stages they are.
        images: which the training images are.

    Raises:
        ValueError: no training or validation images, widths that differ, or features that are not finite.
    """
    by_stage = isinstance(train_features, Mapping)
    train = {key: np.asarray(one) for key, one in _by_stage(train_features).items()}
    val = {key: np.asarray(one) for key, one in _by_stage(val_features).items()}
    last = list(train)[-1]
    num_train, num = len(train[last]), len(val[last])
    if not num_train or not num:
        raise ValueError(f"The gate needs training and validation images, got {num_train}, {num}.")
    if not all(np.isfinite(one).all() for one in (*train.values(), *val.values())):
        raise ValueError("The features hold NaN or infinity: the network that made them has diverged.")
    width = sum(one.shape[1] for one in train.values())
    most = max(NUM_NEIGHBORS, min(MAX_REFERENCE_ROWS, MAX_REFERENCE_BYTES // (2 * width)))
    rows = np.arange(num_train)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=most, replace=False))
    # Unit vectors before float16: raw features of a random network may be 1e-9 or 1e12, outside its range.
    references = {key: _unit_rows(one[rows]).astype(np.float16) for key, one in train.items()}
    is_own = None if train_units is None or val_units is None else val_units[:, None] == train_units[rows]
    values = {key: _distances(references[key], val[key], NUM_NEIGHBORS, is_own) for key in train}
    rate = max(FALSE_ALARM_RATE, 1 / (num + 1))
    if not by_stage:
        return Gate(references[last], _slack(_conformal(values[last])), rate, num)
    origin = 0.0
    if probabilities is not None:
        energy = energies(probabilities)
        if np.ptp(energy) > 1e-6:
            origin = float(np.median(energy))
            values[ENERGY_TITLE] = energy - origin
    limits = _joint_limits(values)
    stages = tuple(StageLimit(key, (titles or {}).get(key, key), limits[key], references[key]) for key in references)
    return Gate(
        references[last], 1.0, rate, num, stages=stages, judge=judge,
        energy=EnergyLimit(origin, limits[ENERGY_TITLE]) if ENERGY_TITLE in limits else None,
        images=None if images is None else images.taken(rows),
    )  # fmt: skip


def save_gate(path: Path, gate: Gate) -> None:
    """Write a gate as one safetensors file, atomically."""
    facts = {name: repr(getattr(gate, name)) for name in _FACTS}
    arrays = {"reference": np.ascontiguousarray(gate.reference)}
    if gate.stages:
        arrays |= {f"stage.{one.name}": np.ascontiguousarray(one.reference) for one in gate.stages[:-1]}
        facts["judge"] = gate.judge
        facts["stages"] = json.dumps([(one.name, one.title, one.limit) for one in gate.stages])
    if gate.energy:
        facts["energy"] = json.dumps((gate.energy.origin, gate.energy.limit))
    if gate.images:
        arrays |= {"targets": gate.images.targets.astype(np.int16), "groups": gate.images.groups.astype(np.int32)}
        facts["images"] = json.dumps({"ids": gate.images.image_ids, "class_names": gate.images.class_names})
    write_side_file(path, arrays, facts)


def load_gate(path: Path) -> Gate:
    """Read what `save_gate` wrote; raises UserError if the file is damaged, newer or not a gate."""
    gate = read_side_file(path, _gate_of, title="The gate file", owner="run", remedy="train the run again")
    references = [gate.reference, *(one.reference for one in gate.stages)]
    is_sound = gate.num_neighbors > 0 and all(
        one.ndim == 2 and len(one) == len(gate.reference) > 0 and one.dtype == np.float16 and np.isfinite(one).all()
        for one in references
    )
    limits = [gate.threshold, *(one.limit for one in gate.stages), *([gate.energy.limit] if gate.energy else [])]
    images = gate.images
    is_told = images is None or (
        len(images.image_ids) == len(images.targets) == len(images.groups) == len(gate.reference)
        and 0 <= images.targets.min() <= images.targets.max() < len(images.class_names)
    )
    if not is_sound or not is_told or not all(math.isfinite(limit) for limit in limits):
        raise UserError(f"The gate file {path.name} of this run is damaged; train the run again.")
    return gate


def _gate_of(arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> Gate:
    gate = Gate(arrays["reference"], **{name: kind(facts[name]) for name, kind in _FACTS.items()})
    if "stages" in facts:
        told = [(str(name), str(title), float(limit)) for name, title, limit in json.loads(facts["stages"])]
        stages = [StageLimit(*one, arrays[f"stage.{one[0]}"]) for one in told[:-1]]
        last = StageLimit(*told[-1], gate.reference)
        gate = replace(gate, stages=(*stages, last), judge=str(facts["judge"]))
    if "energy" in facts:
        origin, limit = map(float, json.loads(facts["energy"]))
        gate = replace(gate, energy=EnergyLimit(origin, limit))
    if "images" in facts:
        told_of: dict[str, list[str]] = json.loads(facts["images"])
        names = tuple(map(str, told_of["class_names"]))
        images = ReferenceImages(tuple(map(str, told_of["ids"])), arrays["targets"], arrays["groups"], names)
        gate = replace(gate, images=images)
    return gate


def _by_stage(features: np.ndarray | Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    return features if isinstance(features, Mapping) else {"": features}


def _conformal(values: np.ndarray) -> float:
    """The value of rank ceil((n + 1) * 0.95) of n, the largest where there are fewer."""
    return float(np.sort(values)[min(len(values), math.ceil((len(values) + 1) * (1 - FALSE_ALARM_RATE))) - 1])


def _slack(limit: float) -> float:
    """A little more: another batch size or number type moves the sixth digit, which must turn nobody away."""
    return limit * 1.001 + 1e-5


def _joint_limits(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Limits that are kept all at once by the promised share of images; `values` (M,) are theirs by comparison."""
    scales = {}
    for key, one in values.items():
        middle, high = np.median(one), np.quantile(one, 0.9)
        scales[key] = float(middle), max(float(high - middle), 1e-6)
    together = np.max([(one - scales[key][0]) / scales[key][1] for key, one in values.items()], axis=0)
    reach = _conformal(together)
    return {key: _slack(middle + reach * width) for key, (middle, width) in scales.items()}


def _distances(
    reference: np.ndarray, features: np.ndarray, num_neighbors: int, is_own: np.ndarray | None = None
) -> np.ndarray:
    reference = reference.astype(np.float32, copy=False)
    features, found = np.asarray(features), []
    for start in range(0, len(features), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        similarities = _similarities(reference, features[chunk])
        if is_own is not None:
            similarities[is_own[chunk]] = -np.inf
        found.append(_mean_distances(similarities, features[chunk], num_neighbors))
    return np.concatenate(found) if found else np.empty(0, np.float32)


def _similarities(reference: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Cosines (N, M) of features (N, D) with unit vectors (M, D).

    By torch: the threads of NumPy's OpenBLAS spin for milliseconds after each product, on the cores that others need.
    """
    import torch

    features = np.asarray(features)
    if features.ndim != 2 or features.shape[1] != reference.shape[1]:
        raise ValueError(f"Expected features (N, {reference.shape[1]}), got {features.shape}.")
    return np.asarray(torch.from_numpy(_unit_rows(features)) @ torch.from_numpy(reference).T)


def _mean_distances(similarities: np.ndarray, features: np.ndarray, num_neighbors: int) -> np.ndarray:
    """Mean cosine distances (N,) to the nearest; infinite where a feature is not finite."""
    num_neighbors = min(num_neighbors, similarities.shape[1])
    nearest = np.partition(similarities, -num_neighbors, axis=1)[:, -num_neighbors:]
    is_other = np.isfinite(nearest)
    means = np.where(is_other, nearest, 0.0).sum(1) / np.maximum(is_other.sum(1), 1)
    distances = np.maximum(0.0, 1.0 - means).astype(np.float32)
    distances[~np.isfinite(features).all(1)] = np.inf
    return distances


def _unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, float32; a row of zeros stays (its cosine distance to anything is one)."""
    wide = np.nan_to_num(features.astype(np.float64), posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
