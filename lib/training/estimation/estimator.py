"""Measures what a training will take: a few real steps on a few images, the rest worked out; and what caches hold."""

import dataclasses
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch

from lib.data.augmentation import POLICIES
from lib.data.dataset import takes_part
from lib.data.enhancement import EnhancementChain, enhanced_images, fit_chain, is_enhanced, named_images
from lib.errors import Stopped, UserError
from lib.features.extraction import UNPOOLED, FeatureRequest
from lib.features.frozen_stages import FrozenStages
from lib.models.backbones import BACKBONES
from lib.models.freezing import parameter_summary
from lib.models.heads import HEADS
from lib.precision import autocast
from lib.progress import Progress
from lib.runtime import peak_rss_mib
from lib.training.config import TrainConfig
from lib.training.estimation.trial_steps import NUM_STEPS, SAVING_S, TrialSteps, epochs_within, run_trial_steps
from lib.training.events import Listener, ShouldStop, ignore_events, never_stop
from lib.training.inputs import CachedInputs, FitData, ImageInputs, Inputs
from lib.training.network import Compute, untrained_classifier
from lib.training.preparation import CachedPart, Preparation, development_within, fit_splits
from lib.training.protocols import Dataset
from lib.training.session import TrainingSession
from lib.training.sklearn_heads import fit_linear_probe

if TYPE_CHECKING:
    from lib.models.classifier import Classifier

_EXTRACTION_BATCH = 32
_MAX_PROBE_ROWS = 2000
_MADE_UP_SHIFT = 0.1  # of the centres of made-up classes, in deviations
_STEPS = NUM_STEPS + 1


class Estimator:
    """One measurement: a session that is never trained, and a few images of the split's parts."""

    def __init__(
        self, config: TrainConfig, dataset: Dataset, compute: Compute, progress: Progress, should_stop: ShouldStop
    ) -> None:
        self.config, self.dataset, self.compute = config, dataset, compute
        self.progress, self.should_stop = progress, should_stop
        self.session = TrainingSession(config, dataset, compute, listener=ignore_events, should_stop=should_stop)
        self.preparation, self.strategy = self.session.preparation, self.session.strategy
        self.images = EnhancementPlan(dataset, config, should_stop)
        self.rows = {part: np.flatnonzero(self.images.splits[0] == part) for part in ("train", "val", "test")}

    def estimate(self, seconds_start: float) -> dict[str, Any]:
        """Measure the fields of an `Estimate`, given the seconds that it took to come here; raises Stopped."""
        self.progress(0, 3, "building the network")
        started = time.perf_counter()
        self.classifier: Classifier = self.session.new_classifier()
        self.part = self.preparation.cached_part(self.classifier)
        self.kept_part = self.preparation.kept_part(self.classifier)
        seconds_start += time.perf_counter() - started + self.images.fit_s
        self.progress(1, 3, "measuring features")
        preprocessing_s = self.images.seconds(self._sample_rows())
        features_s = self._seconds_of_features()
        self.progress(2, 3, f"measuring {NUM_STEPS} steps")
        measured = self._trial_steps() if self.strategy.is_iterative else None
        epochs, epoch_s, after_s = 0, 0.0, SAVING_S  # of a head that is fitted in one go
        if measured:
            num_train, num_val, num_test = (len(self.rows[part]) for part in ("train", "val", "test"))
            after_s = measured.after_s(num_train=num_train, num_val=num_val, num_test=num_test)
            epoch_s = measured.epoch_s(num_train=num_train, num_val=num_val, batch_size=self.config.batch_size)
            epochs = self.config.epochs or 1
            if self.config.time_budget_s:
                left_s = self.config.time_budget_s - seconds_start - preprocessing_s - features_s - after_s
                epochs = epochs_within(left_s, epoch_s, most=epochs)
        training_s = epochs * epoch_s
        if measured is None or self.strategy.starts_from_probe:
            training_s += self._seconds_of_fit()
        num_fits = self.config.num_folds + 1 if self.config.num_folds else 1
        # Features are held in memory; activations at a cut are read from disk as they are needed.
        kept = self.kept_part
        kept_mib = 0.0 if kept is None or kept.pooling == UNPOOLED else self._outputs_mib(kept)
        mapped_mib = self._mapped_mib()
        self.progress(3, 3, "done")
        return {
            "stages": [
                (part.stage, part.title, part.num_parameters, part.is_trainable)
                for part in parameter_summary(self.classifier)
            ],
            "epochs": epochs,
            "num_steps_measured": measured.num_steps if measured else 0,
            "step_s": measured.step_s if measured else 0.0,
            "epoch_s": epoch_s,
            "seconds_start": seconds_start,
            "seconds_preprocessing": preprocessing_s,
            "seconds_features": features_s,
            "seconds_training": training_s * num_fits,
            "seconds_evaluation": after_s,
            "peak_rss_mib": peak_rss_mib() + kept_mib + mapped_mib,
            "mapped_mib": mapped_mib,
            "device_mib": _device_mib(self.compute.device),
            "device": self.compute.device,
            "num_images": int(takes_part(self.dataset).sum()),
            "cache_mib": self.images.mib + self.features.mib,
            "cache_why": "; ".join(filter(None, (self.images.why, self.features.why))),
        }

    def _seconds_of_features(self) -> float:
        """Seconds for all frozen outputs that are not in the cache."""
        part, preparation, named = self.kept_part, self.preparation, self.images.named
        self.num_missing = 0
        if part is None:
            self.features: CachePlan = plan_cache(preparation, None, num_values=0, num_missing=0)
            return 0.0
        wanted = [dataclasses.replace(one, dataset=images) for images in named for one in preparation.requests(part)]
        self.num_missing = sum(not request.path.is_file() for request in wanted)
        self._sample(part)
        self.features = plan_cache(
            preparation, part,
            num_values=self._outputs[0].size, num_missing=self.num_missing, num_versions=len(named),
        )  # fmt: skip
        return self.num_missing * len(self.dataset.table) * self._image_s

    def _sample_rows(self) -> np.ndarray:
        """Rows of training images for all steps, then 8 of validation; few different ones where each is to be made."""
        most = 4 * _EXTRACTION_BATCH if self.images.is_made else _EXTRACTION_BATCH
        num_rows = min(_STEPS * self.config.batch_size, 4 * _EXTRACTION_BATCH)
        return np.concatenate([np.resize(self.rows["train"][:most], num_rows), np.resize(self.rows["val"], 8)])

    def _sample(self, part: CachedPart) -> None:
        """Compute the frozen outputs (n, ...) of the images that the steps need, and how long one image takes."""
        rows, outputs, seconds = self._sample_rows(), [], []
        self._frozen = FrozenStages(
            self.classifier.stages, size_px=self.preparation.size_px, engine=self.compute.engine, last=part.stage
        )
        step = min(_EXTRACTION_BATCH, self.compute.engine_batch_size)
        for start in range(0, len(rows), step):
            started = time.perf_counter()
            outputs.append(self._frozen_outputs(rows[start : start + step], part))
            seconds.append((time.perf_counter() - started) / len(outputs[-1]))
        self._image_s = statistics.median(seconds[1:] or seconds)
        self._sampled_rows, self._outputs = rows, np.concatenate(outputs)

    def _frozen_outputs(self, rows: np.ndarray, part: CachedPart) -> np.ndarray:
        from lib.models.head_layers import pool_features

        batch = self.preparation.to_input(self.images.pixels[rows])
        with torch.inference_mode(), autocast(self.compute.device, self.compute.dtype):
            hidden = self._frozen.forward_until(batch, part.stage)
        hidden = hidden.float()
        if part.pooling != UNPOOLED:
            num_prefix = self.classifier.spec.stage(part.stage).num_prefix_tokens
            hidden = pool_features(hidden, part.pooling, num_prefix)
        return hidden.cpu().numpy()

    def _trial_steps(self) -> TrialSteps:
        targets = self.session.targets
        if self.part is None:
            inputs: Inputs = ImageInputs(
                self.images.pixels, self.preparation.image_ids, self.preparation.to_input, self.config.seed,
                self.config.augmentation,
            )  # fmt: skip
            order = self._sample_rows()
            train, val = (self.rows["train"], self.rows["val"]) if self.images.is_made else (order[:-8], order[-8:])
        else:
            ids = [self.preparation.image_ids[row] for row in self._sampled_rows]
            views = tuple(self._outputs for _ in self.part.views)
            inputs = CachedInputs(self._outputs, views, ids, self.config.seed, self.part.after, self.compute.device)
            targets = targets[self._sampled_rows]
            order = np.arange(len(ids))
            train, val = order[:-8], order[-8:]
        spec = self.dataset.spec
        data = FitData(inputs, targets, train, val, spec.num_classes, spec.is_ordinal)
        return run_trial_steps(self.classifier, data, self.config, self.compute, should_stop=self.should_stop)

    def _seconds_of_fit(self) -> float:
        """Seconds to fit a head that has no epochs, on made-up features of the true number, a few thousand at most."""
        if HEADS.get(self.classifier.head_options["name"]).keeps_samples or self.kept_part is None:
            return 0.1
        num_fitted = len(self.rows["train"])
        if not self.strategy.starts_from_probe:
            num_fitted += len(self.rows["val"])
        num_rows = max(2 * self.dataset.spec.num_classes, min(num_fitted, _MAX_PROBE_ROWS))
        generator, num_classes = np.random.default_rng(0), self.dataset.spec.num_classes
        spread, mean = self._outputs.std(0), self._outputs.mean(0)
        shape, targets = (num_rows, *self._outputs.shape[1:]), np.arange(num_rows) % num_classes
        # Classes that lie a little apart: where nothing tells them apart, weak penalties would not even be tried.
        centres = _MADE_UP_SHIFT * generator.standard_normal((num_classes, *shape[1:]))
        drawn = centres[targets] + generator.standard_normal(shape)
        features = (mean + spread * drawn).astype(np.float32).reshape(num_rows, -1)
        development = development_within(targets, np.arange(num_rows))
        started = time.perf_counter()
        fit_linear_probe(
            features, targets, development=development, num_classes=num_classes, should_stop=self.should_stop
        )
        return (time.perf_counter() - started) * num_fitted / num_rows

    def _mapped_mib(self) -> float:
        """What the files of images and activations add that the training maps and reads through, as far as it fits."""
        part, num_files = self.part, 0
        if part is None or self.num_missing:  # all images are read, preprocessed ones where they are made besides
            num_files = 2 if self.images.mib else 1
        mib = num_files * self.images.store_mib * (1 - len(set(self._sample_rows())) / len(self.dataset.table))
        mib += self._outputs_mib(part) if part is not None and part.pooling == UNPOOLED else 0.0
        return min(mib, psutil.virtual_memory().available / 2**20)

    def _outputs_mib(self, part: CachedPart) -> float:
        num_copies = len(part.all_views) * len(self.images.named)
        return float(self._outputs[0].size * 4 * len(self.dataset.table) * num_copies / 2**20)


def _device_mib(device: str) -> float:
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.startswith("cuda") else 0.0


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
