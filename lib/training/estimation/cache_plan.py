"""What caches will take on the disk before a training: of frozen features and of preprocessed images. No torch here."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.augmentation import POLICIES
from lib.data.enhancement import EnhancementChain, enhanced_images, fit_chain, is_enhanced, named_images
from lib.errors import Stopped, UserError
from lib.features.extraction import UNPOOLED, FeatureRequest
from lib.models.backbones import BACKBONES
from lib.training.config import TrainConfig
from lib.training.events import Listener, ShouldStop, ignore_events, never_stop
from lib.training.fit_splits import fit_splits
from lib.training.network import Compute, untrained_classifier
from lib.training.preparation import CachedPart, Preparation
from lib.training.protocols import Dataset

_BATCH = 8  # images at a time while they are timed


@dataclass(frozen=True)
class CachePlan:
    """`mib` that are still to be written, 0.0 where all is there or nothing is kept; `why` is a phrase."""

    mib: float
    why: str


def plan_cache(
    preparation: Preparation, part: CachedPart | None, *, num_values: int, num_missing: int, num_versions: int = 1
) -> CachePlan:
    """Size and reason for what a training keeps; `part` is None if every epoch starts from images.

    An image has `num_values` float32 numbers in one view. `num_missing` views of the part are not in the cache, counted
    for each of the `num_versions` of the images, which folds may preprocess in their own way.
    """
    if part is None:
        return CachePlan(0.0, why_uncached(preparation))
    what, stages = ("activations" if part.pooling == UNPOOLED else "features"), f"the frozen stages up to {part.stage}"
    if preparation.strategy.starts_from_probe:
        stages = f"{part.stage} for the probe that it starts from"
    num_views, num_copies = len(part.all_views), len(part.all_views) * num_versions
    views = "" if num_views == 1 else f" in {num_views} views"
    if not num_missing:
        return CachePlan(0.0, f"all {what} of {part.stage}{views} are in the cache")
    there = f", {num_copies - num_missing} of them there already" if 0 < num_missing < num_copies else ""
    views += f" for {num_versions} mean colours" if num_versions > 1 else ""
    mib = num_missing * len(preparation.dataset.table) * num_values * 4 / 2**20
    return CachePlan(mib, f"{what} of {stages}{views}{there}")


def why_uncached(preparation: Preparation) -> str:
    """Why a training that keeps nothing starts each epoch from images, as a phrase."""
    config, strategy = preparation.config, preparation.strategy
    if strategy.trains_backbone == "all":
        return "every stage is trained, so each epoch starts from images"
    if preparation.views() is None:
        title = POLICIES.get(config.augmentation).title.lower()
        return f"the augmentation ({title}) draws new images each epoch; num_views keeps a fixed number of them"
    first = BACKBONES.get(config.backbone).stage_names[0]
    if config.unfreeze_from == first:
        return "no stage below the first trained one is frozen"
    return "activations at the cut would exceed the limit"


class MadePixels:
    """A data set's images after a chain of steps, made when they are asked for and then remembered."""

    def __init__(self, dataset: Dataset, chain: EnhancementChain) -> None:
        self._pixels, self._chain = dataset.pixels, chain
        self._made: dict[int, np.ndarray] = {}
        self._seconds: list[float] = []

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Images (n, S, S, 3) uint8 of the rows (n,)."""
        unknown = np.array([row for row in dict.fromkeys(rows.tolist()) if row not in self._made], dtype=np.int64)
        for start in range(0, len(unknown), _BATCH):
            batch, started = unknown[start : start + _BATCH], time.perf_counter()
            self._made.update(zip(batch.tolist(), self._chain(self._pixels[batch]), strict=True))
            self._seconds.append((time.perf_counter() - started) / len(batch))
        return np.stack([self._made[row] for row in rows.tolist()])

    @property
    def image_s(self) -> float:
        """Seconds of one image; the first batch, which loads code, does not count where there are more."""
        return statistics.median(self._seconds[1:] or self._seconds) if self._seconds else 0.0


class EnhancementPlan:
    """The preprocessing of a config's fits, fitted as they fit it, with the images that the cache still lacks.

    `pixels[rows]` are images (n, S, S, 3) as the first fit reads them: from the cache where they are kept, else made on
    the spot; then few should be asked for. `splits` are those of all fits, and `named` are the images of each of their
    chains as caches know them, the first fit's first. `fit_s` are the seconds of looking at training images for their
    mean colour, which every training spends; all images take `store_mib` as they are stored.
    """

    def __init__(self, dataset: Dataset, config: TrainConfig, should_stop: ShouldStop = never_stop) -> None:
        """Fit the chains; raises Stopped if `should_stop()` turned true."""
        started, self.splits = time.perf_counter(), fit_splits(dataset, config)
        found: list[EnhancementChain] = []
        stored: Any = dataset.pixels
        for split in self.splits:
            if should_stop():
                raise Stopped("Stopped while measuring.")
            found.append(fit_chain(config.preprocessing, stored, np.flatnonzero(split == "train")))
            if not found[0].needs_mean:
                break
        self.chains = tuple(dict.fromkeys(found))
        self.fit_s = time.perf_counter() - started if self.chains[0].needs_mean else 0.0
        self.named = [named_images(dataset, chain) for chain in self.chains]
        self._missing = [chain for chain in self.chains if not is_enhanced(dataset, chain)]
        self.is_made = self.chains[0] not in self._missing
        self.pixels: Any = pixels_after(dataset, self.chains[0])
        self.store_mib = float(np.prod(stored.shape)) / 2**20
        self._dataset = dataset

    @property
    def mib(self) -> float:
        """What is still to be written; 0.0 where all is in the cache or nothing is preprocessed."""
        return len(self._missing) * self.store_mib

    @property
    def why(self) -> str:
        """What is still to be written, as a phrase; empty for nothing."""
        if not self._missing:
            return ""
        times = f" for {len(self._missing)} mean colours" if len(self._missing) > 1 else ""
        return f"preprocessed images ({self.chains[0].text.replace('+', ', ')}){times}"

    def seconds(self, rows: np.ndarray) -> float:
        """Seconds to make what is missing, measured with the images of `rows` (n,); 0.0 where nothing is missing."""
        if not self._missing:
            return 0.0
        made = MadePixels(self._dataset, self._missing[0]) if self.is_made else self.pixels
        made[rows]
        return len(self._missing) * len(self._dataset.pixels) * float(made.image_s)


def pixels_after(dataset: Dataset, chain: EnhancementChain) -> Any:
    """A data set's images after a chain, by rows: those in the cache, else `MadePixels`."""
    return enhanced_images(dataset, chain).pixels if is_enhanced(dataset, chain) else MadePixels(dataset, chain)


def needed_features(
    config: TrainConfig,
    dataset: Dataset,
    compute: Compute,
    *,
    listener: Listener = ignore_events,
    should_stop: ShouldStop = never_stop,
) -> Iterator[FeatureRequest]:
    """Yield, each once, the requests that a training makes, by the very code that makes them then (`Preparation`).

    Images are preprocessed on the way, for each fit whose mean colour differs (folds), and kept for the training.
    `config` is resolved, and `dataset` the part that the training reads.

    Raises:
        Stopped: `should_stop()` turned true.
        UserError: such a training keeps nothing.
    """
    preparation = Preparation(config, dataset, compute, listener=listener, should_stop=should_stop)
    classifier = untrained_classifier(config, num_classes=dataset.spec.num_classes).to(compute.device)
    part = preparation.kept_part(classifier)
    if part is None:
        raise UserError(f"There is nothing to extract for this training: {why_uncached(preparation)}.")
    seen = set()
    for split in fit_splits(dataset, config):
        preparation.enhance(split)
        if preparation.enhancement.key not in seen:
            seen.add(preparation.enhancement.key)
            yield from preparation.requests(part)
