"""The honest card of a method of the table for one picture, and a table of methods over many pictures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.evaluation.metrics import bootstrap_interval
from lib.evaluation.resampling import Estimate, as_plain, estimate_of
from lib.evaluation.verdict import Verdict
from lib.explain.attribution_map import attribute
from lib.explain.faithfulness import (
    Faithfulness,
    FloatArray,
    control_maps,
    faithfulness,
    localisation,
    mean_faithfulness,
    rank_correlation,
)
from lib.explain.honest_card import HonestCard, honest_card
from lib.explain.kernels import grey
from lib.explain.methods import METHODS
from lib.explain.network import default_map_stage, evaluation_view, make_batch
from lib.explain.randomised import randomised_twin
from lib.explain.targets import AT_OR_ABOVE, CLASS, DIFFERENCE, Target, TargetLike, as_target, closed_targets
from lib.models.stages import StagedNetwork
from lib.progress import Progress, ignore_progress

MIN_IMAGES = 50  # from which a method can be judged; a single image is noisy
_BATCH = 16


def explained_probability(target: Target, logits: Tensor) -> Tensor:
    """What is explained as a share (N,) of logits (N, K), between 0 and 1, for curves of removal.

    A class: its probability. A difference: the probability of the first of the two, given one of them. At or above a
    grade: the probability of those grades. The expected grade: its place between the first and the last.
    """
    wide = logits.float()
    if target.kind == CLASS:
        return wide.softmax(dim=1)[:, target.index]
    if target.kind == DIFFERENCE:
        return (wide[:, target.index] - wide[:, target.other]).sigmoid()
    probabilities = wide.softmax(dim=1)
    if target.kind == AT_OR_ABOVE:
        return probabilities[:, target.index :].sum(dim=1)
    grades = torch.arange(wide.shape[1], device=wide.device, dtype=wide.dtype)
    return (probabilities * grades).sum(dim=1) / max(1, wide.shape[1] - 1)


def check_map(
    pixels: np.ndarray[Any, np.dtype[np.uint8]],
    network: StagedNetwork,
    *,
    preprocessing: Any,
    class_names: Sequence[str],
    method: str,
    stage: str | None = None,
    target: TargetLike = None,
    options: Mapping[str, Any] | None = None,
    verdict: Verdict | None = None,
    true_class: int | None = None,
    is_ordinal: bool | None = None,
    retina: np.ndarray | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> HonestCard:
    """The honest card of one map of one picture (S, S, 3); takes what `attribute_image` takes besides.

    `retina` and `masks` lie on `InputTransform.framed(pixels)`. Twins are asked for the same target as the network.

    Raises:
        UserError: unknown method, stage or class; a method that does not fit the network.
    """
    batch = make_batch(pixels, network, preprocessing)
    with evaluation_view(network) as view, torch.no_grad():
        logits = view(batch)
        asked = as_target(target, class_names, is_ordinal=is_ordinal)
        (closed,) = closed_targets(
            asked, logits, verdicts=None if verdict is None else [verdict], true_classes=[true_class]
        )
        map_for = partial(_map_of, method=method, stage=stage, options=options, seed=seed)
        other = None if METHODS.get(method).ignores_target else _runner_up(closed, logits)
        names = class_names or [str(number) for number in range(logits.shape[1])]
        return honest_card(
            view, batch, map_for(closed), lambda found: explained_probability(closed, found),
            brightness=_brightness(batch), retina=retina, masks=masks, seed=seed, progress=progress,
            runner_up=None if other is None else (names[other.index], map_for(other)),
        )  # fmt: skip


def _map_of(
    target: Target, *, method: str, stage: str | None, options: Mapping[str, Any] | None, seed: int
) -> Callable[[Any, Tensor], FloatArray]:
    def map_of(network: Any, batch: Tensor) -> FloatArray:
        found = attribute(network, batch, method=method, stage=stage, target=target, options=options, seed=seed)
        return np.asarray(found[0].raw, dtype=np.float64)

    return map_of


def _runner_up(target: Target, logits: Tensor) -> Target | None:
    """The most probable class but the explained one; only a class has one."""
    if target.kind != CLASS or logits.shape[1] < 2:
        return None
    order = logits[0].argsort(descending=True).tolist()
    return Target(CLASS, next(index for index in order if index != target.index))


def _brightness(batch: Tensor) -> FloatArray:
    """The picture's brightness as the network's input has it; its scale does not count for edges."""
    rgb = batch[0].float().cpu().permute(1, 2, 0).numpy()
    return grey(np.asarray(255 * (rgb - rgb.min()) / max(float(np.ptp(rgb)), 1e-9)))


# Many pictures


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """A method over many images: its numbers less the mean of the controls on the same image, and what is left of it.

    `likeness` is the rank correlation of its map with that of random weights; `pointing` the share of hits on masks
    and `pointing_chance` what chance would hit; `num_empty` the images where the map was zero, which are left out.
    """

    method: str
    num_images: int
    num_empty: int
    gain: Estimate
    deletion: Estimate
    insertion: Estimate
    road: Estimate
    likeness: Estimate
    pointing: Estimate
    pointing_chance: Estimate
    mass: Estimate
    mass_chance: Estimate

    @property
    def beats_controls(self) -> bool:
        """Whether the interval of the gain lies above zero."""
        return self.gain.low > 0

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; what is not defined is None."""
        found: dict[str, Any] = as_plain(asdict(self))
        return found

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "MethodRow":
        """The inverse of `to_dict`."""
        read: dict[str, Any] = {
            key: estimate_of(value) if isinstance(value, dict) else value for key, value in content.items()
        }
        return cls(**read)


@dataclass(frozen=True)
class Picture:
    """One image of the table: its square (S, S, 3), its masks on the framed square, and its patient ("" for none)."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    group: str = ""
    mask: np.ndarray | None = None


def pictures_of(dataset: Any, preprocessing: Any, number: int, *, seed: int = 0) -> list[Picture]:
    """So many images of a data set, drawn from the seed, of each patient one at most while there are others."""
    inputs = InputTransform.of(preprocessing)
    groups = dataset.table["group_id"].astype(str).to_numpy()
    order = np.random.default_rng(seed).permutation(len(groups))
    first: set[str] = set()
    rows: list[int] = []
    again: list[int] = []
    for row in order:
        name = groups[row] or f"#{row}"
        (again if name in first else rows).append(int(row))
        first.add(name)
    found = []
    for row in [*rows, *again][:number]:
        mask = dataset.mask(row)
        seen = None if mask is None else inputs.framed_mask(mask > 0)
        found.append(Picture(np.array(dataset.pixels[row]), str(groups[row]), seen))
    return found


def method_table(
    network: StagedNetwork,
    pictures: Sequence[Picture],
    *,
    preprocessing: Any,
    methods: Sequence[str],
    stage: str | None = None,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> list[MethodRow]:
    """Each method on each picture, its predicted class explained, against the controls and one random twin.

    The means have bootstrap intervals over groups where pictures share one.

    Raises:
        UserError: unknown stage or method, or one that does not fit the network.
    """
    if len(pictures) < 2:
        raise UserError(f"A method is judged by two images or more, better {MIN_IMAGES}; received {len(pictures)}.")
    at_stage = [method for method in methods if METHODS.get(method).is_at_stage]
    chosen = stage or (default_map_stage(network) if at_stage else None)
    found: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    total = len(pictures) * len(methods)
    with evaluation_view(network) as view, torch.no_grad():
        size = int(make_batch(pictures[0].pixels, view, preprocessing).shape[-1])
        twin = randomised_twin(view, input_size_px=size, seed=seed)
        for number, picture in enumerate(pictures):
            batch = make_batch(picture.pixels, view, preprocessing)
            target = Target(CLASS, int(view(batch).argmax()))
            judge = _Judge(view, batch, target, seed)
            for index, method in enumerate(methods):
                at = chosen if METHODS.get(method).is_at_stage else None
                map_of = _map_of(target, method=method, stage=at, options=None, seed=seed)
                found[method].append(judge.measure(map_of(view, batch), map_of(twin, batch), picture.mask))
                progress(number * len(methods) + index + 1, total, METHODS.get(method).title)
    groups = [picture.group for picture in pictures]
    return [_row(method, rows, groups, seed) for method, rows in found.items()]


class _Judge:
    """Removal curves of one picture; controls of one resolution are measured once."""

    def __init__(self, network: StagedNetwork, batch: Tensor, target: Target, seed: int) -> None:
        self.network, self.batch, self.target, self.seed = network, batch, target, seed
        self.image = batch[0].float().cpu().numpy()
        self.controls: dict[tuple[int, int], list[Faithfulness]] = {}

    def answers(self, images: FloatArray) -> FloatArray:
        rows = torch.from_numpy(np.asarray(images, dtype=np.float32)).to(self.batch)
        parts = [explained_probability(self.target, self.network(part)) for part in rows.split(_BATCH)]
        return torch.cat(parts).double().cpu().numpy()

    def faithfulness(self, values: FloatArray) -> Faithfulness:
        return faithfulness(self.image, values, self.answers, seed=self.seed)

    def measure(self, own: FloatArray, twin: FloatArray, mask: np.ndarray | None) -> dict[str, float]:
        """The numbers of one map; none where it has no evidence."""
        if not np.abs(own).max() > 0:
            return {}
        cells = (int(own.shape[0]), int(own.shape[1]))
        if cells not in self.controls:
            brightness = _brightness(self.batch)
            self.controls[cells] = [
                self.faithfulness(values) for values in control_maps(brightness, cells, seed=self.seed).values()
            ]
        less = self.faithfulness(own).less(mean_faithfulness([*self.controls[cells], self.faithfulness(twin)]))
        numbers = {**asdict(less), "gain": less.gain, "likeness": rank_correlation(own, twin)}
        place = localisation(own, mask, seed=self.seed) if mask is not None else None
        if place is not None:
            numbers |= {"pointing": float(place.pointing), "pointing_chance": place.pointing_chance}
            numbers |= {"mass": place.mass, "mass_chance": place.area}
        return numbers


def _row(method: str, rows: Sequence[Mapping[str, float]], groups: Sequence[str], seed: int) -> MethodRow:
    def interval(key: str) -> Estimate:
        found = np.array([row.get(key, math.nan) for row in rows])
        kept = np.flatnonzero(np.isfinite(found))
        if not len(kept):
            return Estimate(math.nan, math.nan, math.nan)
        values, names = found[kept], [groups[int(row)] for row in kept]
        low, high = bootstrap_interval(lambda drawn, _: float(drawn.mean()), values, values, names, seed=seed)
        return Estimate(float(values.mean()), low, high)

    keys = ("gain", "deletion", "insertion", "road", "likeness", "pointing", "pointing_chance", "mass", "mass_chance")
    num_empty = sum(not row for row in rows)
    return MethodRow(
        method=method, num_images=len(rows), num_empty=num_empty, **{key: interval(key) for key in keys}
    )  # fmt: skip
