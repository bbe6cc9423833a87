"""Measures what a training will take: a few real steps on a few images, and the rest worked out from them."""

import dataclasses
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil

from lib.features.extraction import UNPOOLED
from lib.features.frozen_stages import FrozenStages
from lib.models.freezing import parameter_summary
from lib.models.heads import HEADS
from lib.precision import autocast
from lib.progress import Progress
from lib.runtime import peak_rss_mib
from lib.training.config import TrainConfig
from lib.training.estimation import Estimate
from lib.training.estimation.cache_plan import CachePlan, EnhancementPlan, plan_cache
from lib.training.estimation.time_budget import epochs_within
from lib.training.estimation.trial_steps import NUM_STEPS, SAVING_S, TrialSteps, run_trial_steps
from lib.training.events import ShouldStop, ignore_events
from lib.training.fit_splits import development_within
from lib.training.inputs import CachedInputs, FitData, ImageInputs, Inputs
from lib.training.network import Compute
from lib.training.preparation import CachedPart
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

    def estimate(self, seconds_start: float) -> Estimate:
        """Measure, given the seconds that it took to come here; raises Stopped."""
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
        return Estimate(
            stages=[
                (part.stage, part.title, part.num_parameters, part.is_trainable)
                for part in parameter_summary(self.classifier)
            ],
            epochs=epochs,
            num_steps_measured=measured.num_steps if measured else 0,
            step_s=measured.step_s if measured else 0.0,
            epoch_s=epoch_s,
            seconds_start=seconds_start,
            seconds_preprocessing=preprocessing_s,
            seconds_features=features_s,
            seconds_training=training_s * num_fits,
            seconds_evaluation=after_s,
            peak_rss_mib=peak_rss_mib() + kept_mib + mapped_mib,
            mapped_mib=mapped_mib,
            device_mib=_device_mib(self.compute.device),
            device=self.compute.device,
            num_images=len(self.dataset.table),
            cache_mib=self.images.mib + self.features.mib,
            cache_why="; ".join(filter(None, (self.images.why, self.features.why))),
        )

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
        import torch

        from lib.models.classifier import pool_features

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
    import torch

    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.startswith("cuda") else 0.0
