"""What the fits of a run read: which images, preprocessed, or outputs of frozen stages that are computed once and kept.

A head that is fitted in one go is fitted on training and validation images together. What is chosen (the penalty),
fitted on its answers (thresholds, Platt's scale) or reported as validation comes from heads of the same kind that had
not seen the image: five folds over the same images, groups whole (`Development`).
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.augmentation import AS_IT_IS, POLICIES, View, finite_views
from lib.data.edit_log import open_states
from lib.data.enhancement import NO_ENHANCEMENT, NONE, enhanced_images, fit_chain
from lib.data.enhancement import PHASE as ENHANCING
from lib.data.library import dataset_folder, descriptions, open_dataset
from lib.data.splits import TRAIN, VAL, group_numbers, held_out_folds
from lib.data.subset import apply_protocol
from lib.disk_cache import cache_limit_bytes
from lib.distributed import ALONE, Ranks
from lib.errors import UserError
from lib.features.cache import FeatureSet, read_or_extract
from lib.features.extraction import UNPOOLED, FeatureRequest
from lib.features.frozen_stages import FrozenStages
from lib.models.backbones import BACKBONES
from lib.models.heads import HEADS
from lib.models.seen_images import SEEN_FILE, SeenImages, load_seen
from lib.training.config import TrainConfig
from lib.training.events import Listener, PhaseStarted, ShouldStop, progress_events
from lib.training.inputs import BatchTransform, CachedInputs, FrozenPrefix, ImageInputs, Inputs
from lib.training.network import Compute, last_frozen_stage, trained_part
from lib.training.protocols import Dataset
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from lib.models.classifier import Classifier

# Activations below the trained stages are kept on disk up to this size; beyond it they are computed in each epoch.
MAX_ACTIVATION_BYTES = 2 * 2**30


@dataclass(frozen=True)
class CachedPart:
    """Outputs of `stage`, pooled by `pooling`, that enter the classifier after `after`; `views` are shown in training.

    Every image is computed as it is and once more for every other view.
    """

    stage: str
    pooling: str
    after: str | None
    views: tuple[View, ...]

    @property
    def all_views(self) -> tuple[View, ...]:
        """The views that are kept, the image as it is first."""
        return (AS_IT_IS, *(view for view in self.views if view != AS_IT_IS))


class Preparation:
    """Images, features and activations of one run, shared by its fits (folds).

    `images` is the data set, from the first `enhance` on with the config's preprocessing, whose chain `enhancement`
    is; `seconds` is what all of the preparation took so far, at `images_per_second` at best.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        compute: Compute,
        *,
        listener: Listener,
        should_stop: ShouldStop,
        ranks: Ranks = ALONE,
    ) -> None:
        """Set up, without any work yet."""
        self.config, self.dataset, self.compute = config, dataset, compute
        self.listener, self.should_stop, self.ranks = listener, should_stop, ranks
        self.strategy, self.spec = STRATEGIES.get(config.strategy), BACKBONES.get(config.backbone)
        self.image_ids: list[str] = dataset.table["image_id"].tolist()
        self.images: Any = dataset
        self.enhancement = NO_ENHANCEMENT
        self.seconds = self.images_per_second = 0.0
        self.size_px = config.input_size_px or self.spec.input_size_px
        self.to_input = BatchTransform(self.size_px, self.spec.mean, self.spec.std, compute.device, self.spec.resizing)
        self._sets: dict[tuple[str, str, str, View], FeatureSet] = {}

    def enhance(self, split: np.ndarray) -> None:
        """Take the images after the config's preprocessing, whose mean colour is that of the split's training part."""
        if self.config.preprocessing == NONE:
            return
        started, progress = time.perf_counter(), progress_events(ENHANCING, self.listener)
        self.listener(PhaseStarted(ENHANCING))
        stored: Any = self.dataset.pixels
        self.enhancement = fit_chain(self.config.preprocessing, stored, np.flatnonzero(split == "train"))
        self.images = enhanced_images(self.dataset, self.enhancement, progress=progress, should_stop=self.should_stop)
        self.seconds += time.perf_counter() - started

    def inputs(self, classifier: "Classifier") -> Inputs:
        """What the trained part reads: cached features or activations where stages are frozen, else images."""
        part = self.cached_part(classifier)
        if part is not None:
            return self._cached_inputs(part)
        return ImageInputs(
            self.images.pixels, self.image_ids, self.to_input, self.config.seed, self.config.augmentation,
            frozen=self.frozen_prefix(classifier),
        )  # fmt: skip

    def frozen_prefix(self, classifier: "Classifier") -> FrozenPrefix | None:
        """The stages that are never trained, for images that no cache can hold; None where all are trained."""
        last = last_frozen_stage(self.config)
        if last is None or not self.spec.num_parameters:
            return None
        stages = FrozenStages(classifier.stages, size_px=self.size_px, engine=self.compute.engine, last=last)
        return FrozenPrefix(stages, last, self.compute.engine_batch_size)

    def plain_features(self, classifier: "Classifier") -> np.ndarray:
        """Pooled features (N, D) of all images as they are, as the classifier's head reads them."""
        return np.asarray(self._feature_set(self._plain_part(classifier), AS_IT_IS).features)

    def kept_part(self, classifier: "Classifier") -> CachedPart | None:
        """What the cache keeps: also where only the probe that training starts from reads it."""
        return self._plain_part(classifier) if self.strategy.starts_from_probe else self.cached_part(classifier)

    def requests(self, part: CachedPart) -> list[FeatureRequest]:
        """All that the fits read of `part` from the cache, for the images as they are preprocessed now."""
        return [self._request(part, view) for view in part.all_views]

    def cached_part(self, classifier: "Classifier") -> CachedPart | None:
        """Which outputs of frozen stages are computed once and kept; None where every epoch starts from images."""
        views = self.views() if self.strategy.is_iterative else ()
        reads_map = HEADS.get(classifier.head_options["name"]).reads == "map"
        if views is not None and self.strategy.trains_backbone == "none":
            if not reads_map:
                return CachedPart(classifier.feature_stage, classifier.pooling, None, views)
            if self._fits_cache(classifier, classifier.feature_stage, views):
                return CachedPart(classifier.feature_stage, UNPOOLED, None, views)
        elif views is not None and trained_part(self.config) == "partial":
            cut = last_frozen_stage(self.config)
            if cut is not None and self._fits_cache(classifier, cut, views):
                return CachedPart(cut, UNPOOLED, cut, views)
        return None

    def views(self) -> tuple[View, ...] | None:
        """The views that training shows, if a cache can hold them all; None if every epoch draws new ones."""
        policy, num_views = POLICIES.get(self.config.augmentation), self.config.num_views
        if not policy.is_finite and not num_views:
            return None
        views = finite_views(policy, num_views=num_views or 0, seed=self.config.seed)
        return () if views == (AS_IT_IS,) else views

    def _plain_part(self, classifier: "Classifier") -> CachedPart:
        return CachedPart(classifier.feature_stage, classifier.pooling, None, ())

    def _cached_inputs(self, part: CachedPart) -> CachedInputs:
        sets = {
            view: self._feature_set(part, view, copies_left=len(part.all_views) - position).features
            for position, view in enumerate(part.all_views)
        }
        plain, shown = sets[AS_IT_IS], tuple(sets[view] for view in part.views)
        return CachedInputs(plain, shown, self.image_ids, self.config.seed, part.after, self.compute.device)

    def _request(self, part: CachedPart, view: View) -> FeatureRequest:
        """One view of a part, under the name by which bulk extraction (`needed_features`) keeps it too."""
        config = self.config
        return FeatureRequest(
            self.images, config.backbone, config.weights, config.seed, part.stage, part.pooling, self.size_px,
            self.compute.dtype, view, self.compute.device, self.compute.engine, self.compute.engine_batch_size,
        )  # fmt: skip

    def _feature_set(self, part: CachedPart, view: View, *, copies_left: int = 1) -> FeatureSet:
        key = (self.enhancement.key, part.stage, part.pooling, view)
        if key not in self._sets:
            phase = "Extracting features" + (f" ({view.title})" if view.title else "")
            self.listener(PhaseStarted(phase))
            found = read_or_extract(
                self._request(part, view),
                copies_left=copies_left,
                ranks=self.ranks,
                progress=progress_events(phase, self.listener),
                should_stop=self.should_stop,
            )
            self.seconds += found.seconds
            self.images_per_second = max(self.images_per_second, found.images_per_second)
            self._sets[key] = found
        return self._sets[key]

    def _fits_cache(self, classifier: "Classifier", stage: str, views: tuple[View, ...]) -> bool:
        import torch

        image = torch.zeros(1, 3, self.size_px, self.size_px, device=self.compute.device)
        with torch.no_grad():
            num_values = classifier.eval().forward_until(image, stage).numel()
        num_bytes = num_values * 4 * len(self.image_ids) * len({AS_IT_IS, *views})
        return num_bytes <= min(MAX_ACTIVATION_BYTES, cache_limit_bytes())


MAX_FOLDS = 5
Folds = tuple[tuple[np.ndarray, np.ndarray], ...]


def fit_splits(dataset: Dataset, config: TrainConfig) -> list[np.ndarray]:
    """The split (N,) of each fit of a resolved config: one, or with folds each fold's and that of the last fit.

    The last fit, whose classifier is kept, trains on all images but the validation part of fold 0.
    """
    if not config.num_folds:
        return [dataset.split(config.split_seed)]
    folds = [dataset.split(config.split_seed, num_folds=config.num_folds, fold=k) for k in range(config.num_folds)]
    return [*folds, np.where(folds[0] == "test", "train", folds[0])]


def trained_version(manifest: Mapping[str, Any]) -> str | None:
    """The version of the data set that a saved classifier was trained on."""
    about = manifest.get("dataset")
    version = about.get("version") if isinstance(about, dict) else manifest.get("dataset_version")
    return None if version is None else str(version)


def trained_config(manifest: Mapping[str, Any]) -> Any:
    """The settings of a saved classifier's training that say which images took part; defaults where it has none."""
    said = manifest.get("config")
    return SimpleNamespace(**{"split_seed": 0, "num_folds": None, **(said if isinstance(said, dict) else {})})


def seen_by(bundle: Path, manifest: Mapping[str, Any], predictions: Path | None = None) -> SeenImages:
    """The images that a saved classifier has seen: the list in its bundle, or what can be known without one.

    Classifiers of earlier versions keep no list. Their split is drawn again where their data set is in the library as
    it was; else the run's own predictions tell those of validation, and with folds all images.

    Args:
        bundle: its folder.
        manifest: of the bundle.
        predictions: predictions.parquet of its run, which may be missing.

    Raises:
        UserError: the list is damaged.
    """
    if (bundle / SEEN_FILE).is_file():
        return load_seen(bundle / SEEN_FILE)
    config, version = trained_config(manifest), trained_version(manifest)
    for description in descriptions():
        name = description["spec"]["name"]
        with suppress(UserError):  # damaged
            if version in open_states(dataset_folder(name), description):
                taken = apply_protocol(open_dataset(name, version=version), config)
                split, ids = fit_splits(taken, config)[-1], taken.table["image_id"].to_numpy()
                return SeenImages.of(ids[split == "train"], ids[split == "val"])
    if predictions is None or not predictions.is_file():
        return SeenImages(is_complete=False)
    import pandas as pd

    table = pd.read_parquet(predictions, columns=["image_id", "split"])
    if config.num_folds:  # every image is tested in turn, and the kept classifier saw them all
        return SeenImages.of(table["image_id"], ())
    return SeenImages.of((), table["image_id"][table["split"] == "val"], is_complete=False)


@dataclass(frozen=True, eq=False)
class Development:
    """The images of one fit.

    Attributes:
        rows: those that the kept head is fitted on, (n,).
        folds: pairs of rows to fit on and rows held out; no row is held out twice.
        units: the group of every image of the data set (N,), a number of its own where it has none.
    """

    rows: np.ndarray
    folds: Folds
    units: np.ndarray

    @property
    def held_rows(self) -> np.ndarray:
        """All rows that are held out, fold after fold."""
        return np.concatenate([held for _, held in self.folds])

    @property
    def is_out_of_fold(self) -> bool:
        """Whether the kept head is fitted on rows whose answers came from other heads; else validation stays apart."""
        return bool(np.isin(self.held_rows, self.rows).any())


def development_of(targets: np.ndarray, table: Any, split: np.ndarray, config: TrainConfig) -> Development:
    """The images of a fit on a split (N,): training and validation together, each held out once.

    Where a setting caps the number of training images, validation images must not add to them and stay apart.
    """
    units, train, val = _parts(table, split)
    if config.max_train_per_class is not None:
        return Development(train, ((train, val),), units)
    return _held_out(targets, units, np.sort(np.concatenate([train, val])), config.split_seed, ((train, val),))


def development_apart(targets: np.ndarray, table: Any, split: np.ndarray, config: TrainConfig) -> Development:
    """The same on training images alone, for a head that further training starts from and validates beside."""
    units, train, val = _parts(table, split)
    return _held_out(targets, units, train, config.split_seed, ((train, val),))


def development_within(targets: np.ndarray, rows: np.ndarray, *, seed: int = 0) -> Development:
    """Fit on `rows` of images that all stand alone, each held out once; every class needs two of them."""
    return _held_out(targets, np.arange(len(targets)), rows, seed, ())


def _parts(table: Any, split: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    units = group_numbers(table["group_id"].to_numpy(), len(split))
    return units, np.flatnonzero(split == TRAIN), np.flatnonzero(split == VAL)


def _held_out(targets: np.ndarray, units: np.ndarray, rows: np.ndarray, seed: int, otherwise: Folds) -> Development:
    """Rows in folds of whole groups, or `otherwise` where there are too few for any."""
    held = held_out_folds(targets, units, rows, most=MAX_FOLDS, seed=seed)
    folds = tuple((np.setdiff1d(rows, part, assume_unique=True), part) for part in held)
    return Development(rows, folds or otherwise, units)
