"""One data set, one config: fit a classifier on a split by the config's strategy, and ask it for predictions."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.augmentation import AS_IT_IS, POLICIES, View, finite_views
from lib.data.enhanced_pixels import PHASE as PREPROCESSING
from lib.data.enhanced_pixels import fitted_images
from lib.data.enhancement import NO_ENHANCEMENT
from lib.data.enhancement import NONE as NO_PREPROCESSING
from lib.disk_cache import cache_limit_bytes
from lib.distributed import ALONE, Ranks
from lib.errors import Stopped
from lib.features.cache import UNPOOLED, FeatureSet, extract_features
from lib.models.backbones import BACKBONES
from lib.models.heads import HEADS
from lib.progress import Progress
from lib.training.checkpoints import CheckpointStore
from lib.training.compute import Compute
from lib.training.config import TrainConfig
from lib.training.events import EpochEnded, Event, Listener, NetworkBuilt, PhaseStarted, Progressed, ShouldStop
from lib.training.fitting import fit_linear_probe, fit_nearest_neighbors
from lib.training.inputs import CachedInputs, FitData, ImageInputs, Inputs, Preprocessing
from lib.training.loop import FitResult, fit
from lib.training.pace import Pace
from lib.training.prediction import predict_features, predict_logits
from lib.training.strategies import STRATEGIES, StrategySpec
from lib.training.svm import fit_linear_svm

if TYPE_CHECKING:
    from pathlib import Path

    from lib.models.classifier import Classifier
    from lib.models.stages import Backbone

# Activations below the trained stages are kept on disk up to this size; beyond it they are computed in each epoch.
MAX_ACTIVATION_BYTES = 2 * 2**30


@dataclass
class FittedClassifier:
    """A trained classifier with what it reads, and how long it took."""

    classifier: "Classifier"
    inputs: Inputs
    seconds: float
    images_per_second: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


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


class TrainingSession:
    """Shares backbone, features and activations between the fits of one run (folds)."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Any,
        compute: Compute,
        *,
        listener: Listener,
        should_stop: ShouldStop,
        on_epoch: "Callable[[Classifier, int], None] | None" = None,
        choose_epochs: "Callable[[Classifier, FitData], int] | None" = None,
        head_bundle: "Path | None" = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Set up, without any work yet.

        `on_epoch` looks at the network before training (0), after each epoch, and once after a fit without any;
        `choose_epochs` says how many epochs there are, given what is about to be trained, instead of the config;
        `head_bundle` is a saved classifier whose head the training starts from; `ranks` train
        together: the others follow what the first one fits (following.py).
        """
        self.choose_epochs, self.head_bundle = choose_epochs, head_bundle
        self.config, self.dataset, self.compute = config, dataset, compute
        self.listener, self.should_stop, self.on_epoch, self.ranks = listener, should_stop, on_epoch, ranks
        self.strategy: StrategySpec = STRATEGIES.get(config.strategy)
        self.spec = BACKBONES.get(config.backbone)
        self.targets: np.ndarray = dataset.table["target"].to_numpy().astype(np.int64)
        self.image_ids: list[str] = dataset.table["image_id"].tolist()
        self.feature_seconds = 0.0
        self.feature_images_per_second = 0.0
        self.training_seconds = 0.0
        self.images: Any = dataset  # from the first fit on: with the config's preprocessing
        self.enhancement = NO_ENHANCEMENT
        self.resumed_seconds = 0.0  # the part of them that was spent before an interruption
        self._sets: dict[tuple[str, str, str, View], FeatureSet] = {}

    def fit(self, split: np.ndarray, checkpoints: CheckpointStore | None = None) -> FittedClassifier:
        """Fit on the "train" rows of `split` (N,), with its "val" rows to choose by."""
        self._preprocess(split)  # the first rank writes the cache that the others read
        self.ranks.announce(split.tolist())
        classifier = self.new_classifier()
        self.listener(_built(classifier))
        inputs = self.inputs(classifier)
        if self.should_stop():
            raise Stopped("Stopped before training.")
        if self.head_bundle is not None:
            from lib.models.learned_head import take_learned_head

            take_learned_head(classifier, self.head_bundle)
        if self.strategy.starts_from_probe:
            self.listener(PhaseStarted("Fitting the linear probe"))
            self._start_from_probe(classifier, split)
        self.listener(PhaseStarted("Training"))
        if not self.strategy.is_iterative and not self.ranks.is_first:
            return FittedClassifier(classifier, inputs, 0.0)  # a head that is not iterated is fitted once
        if not self.strategy.is_iterative:
            return self._fit_head(classifier, inputs, split)
        data = self.data(inputs, split)
        config = self.config
        epochs = self.ranks.from_first(self.choose_epochs(classifier, data) if self.choose_epochs else None)
        if epochs is not None:
            config = dataclasses.replace(config, epochs=epochs)
        result: FitResult = fit(
            classifier,
            data,
            config,
            listener=self._watched(classifier),
            should_stop=self.should_stop,
            checkpoints=checkpoints,
            device=self.compute.device,
            dtype=self.compute.training_dtype,
            ranks=self.ranks,
        )
        self.training_seconds += result.seconds
        self.resumed_seconds += result.resumed_seconds
        facts = {"best_epoch": result.best_epoch, "num_epochs": len(result.history)}
        return FittedClassifier(
            classifier, inputs, result.seconds, result.images_per_second, list(result.history), facts
        )

    def probabilities(self, fitted: FittedClassifier, rows: np.ndarray) -> np.ndarray:
        """Class probabilities (n, K) of rows, float64, computed in float32."""
        logits = predict_logits(
            fitted.classifier, fitted.inputs, rows, device=self.compute.device, should_stop=self.should_stop
        )
        return logits.double().softmax(1).numpy()

    def features(self, fitted: FittedClassifier, rows: np.ndarray) -> np.ndarray:
        """Pooled features (n, D) of rows as the classifier makes them now."""
        return predict_features(
            fitted.classifier, fitted.inputs, rows, device=self.compute.device, should_stop=self.should_stop
        )

    @property
    def used_dtype(self) -> str:
        """The number format of most of the work."""
        return self.compute.dtype if self.strategy.trains_backbone == "none" else self.compute.training_dtype

    def data(self, inputs: Inputs, split: np.ndarray) -> FitData:
        """What a fit on a split (N,) reads."""
        return FitData(
            inputs=inputs,
            targets=self.targets,
            train_rows=np.flatnonzero(split == "train"),
            val_rows=np.flatnonzero(split == "val"),
            num_classes=self.dataset.spec.num_classes,
            is_ordinal=self.dataset.spec.is_ordinal,
        )

    def new_classifier(self) -> "Classifier":
        """The network as it stands before training, its stages frozen as the strategy says."""
        from lib.models.classifier import build_classifier
        from lib.models.freezing import apply_freezing

        config = self.config
        options = {"num_neighbors": config.num_neighbors} if config.head == "nearest_neighbors" else {}
        classifier = build_classifier(
            self._new_backbone(),
            head=config.head or self.strategy.default_head,
            num_classes=self.dataset.spec.num_classes,
            feature_stage=config.feature_stage,
            pooling=config.pooling,
            seed=config.seed,
            input_size_px=config.input_size_px,
            output=config.output,
            **options,
        )
        apply_freezing(
            classifier,
            trains_backbone=self._trained_part,
            unfreeze_from=self._first_trained_stage,
            batchnorm=config.batchnorm,
        )
        return classifier.to(self.compute.device)

    def _new_backbone(self) -> "Backbone":
        from lib.features.backbone import frozen_backbone
        from lib.models.stages import build_backbone

        weights, seed = self.config.weights, self.config.seed
        # Where a head first reads the frozen network, random weights need fitting BatchNorm statistics.
        is_read_frozen = self.strategy.starts_from_probe or self.strategy.unfreezes_gradually
        is_trained = self.strategy.trains_backbone == "all" and not is_read_frozen
        build: Callable[..., Backbone] = build_backbone if is_trained else frozen_backbone
        return build(self.config.backbone, weights=weights, seed=seed)

    @property
    def _trained_part(self) -> str:
        """What is trained at some time: gradual unfreezing may end at a stage as partial fine-tuning begins at one."""
        is_partial = self.strategy.unfreezes_gradually and self.config.unfreeze_from is not None
        return "partial" if is_partial else self.strategy.trains_backbone

    @property
    def _first_trained_stage(self) -> str | None:
        if self._trained_part != "partial":
            return None
        return self.config.unfreeze_from or self.spec.unfreeze_from

    def _preprocess(self, split: np.ndarray) -> None:
        """Take the images after the config's preprocessing, whose mean colour is that of the training part."""
        if self.config.preprocessing == NO_PREPROCESSING:
            return
        pace, progress = Pace(1), paced_progress(PREPROCESSING, self.listener)
        self.listener(PhaseStarted(PREPROCESSING))
        self.images = fitted_images(
            self.dataset,
            self.config.preprocessing,
            np.flatnonzero(split == "train"),
            progress=progress,
            should_stop=self.should_stop,
        )
        self.enhancement = self.images.chain
        self.feature_seconds += pace.seconds

    def inputs(self, classifier: "Classifier") -> Inputs:
        """What the trained part reads: cached features or activations where stages are frozen, else images."""
        part = self.cached_part(classifier)
        if part is not None:
            return self._cached_inputs(part)
        preprocessing = Preprocessing(
            self.config.input_size_px or self.spec.input_size_px, self.spec.mean, self.spec.std, self.compute.device
        )
        return ImageInputs(
            self.images.pixels, self.image_ids, preprocessing, self.config.seed, self.config.augmentation
        )

    def cached_part(self, classifier: "Classifier") -> CachedPart | None:
        """Which outputs of frozen stages are computed once and kept; None where every epoch starts from images."""
        views = self._views() if self.strategy.is_iterative else ()
        reads_map = HEADS.get(classifier.head_options["name"]).reads == "map"
        if views is not None and self.strategy.trains_backbone == "none":
            if not reads_map:
                return CachedPart(classifier.feature_stage, classifier.pooling, None, views)
            if self._fits_cache(classifier, classifier.feature_stage, views):
                return CachedPart(classifier.feature_stage, UNPOOLED, None, views)
        elif views is not None and self._first_trained_stage is not None:
            cut = self._stage_below(self._first_trained_stage)
            if cut is not None and self._fits_cache(classifier, cut, views):
                return CachedPart(cut, UNPOOLED, cut, views)
        return None

    def _views(self) -> tuple[View, ...] | None:
        """The views that training shows, if a cache can hold them all; None if every epoch draws new ones."""
        policy, num_views = POLICIES.get(self.config.augmentation), self.config.num_views
        if not policy.is_finite and not num_views:
            return None
        views = finite_views(policy, num_views=num_views or 0, seed=self.config.seed)
        return () if views == (AS_IT_IS,) else views

    def _cached_inputs(self, part: CachedPart) -> CachedInputs:
        sets = {
            view: self._feature_set(part.stage, part.pooling, view, copies_left=len(part.all_views) - position).features
            for position, view in enumerate(part.all_views)
        }
        plain, shown = sets[AS_IT_IS], tuple(sets[view] for view in part.views)
        return CachedInputs(plain, shown, self.image_ids, self.config.seed, part.after, self.compute.device)

    def _feature_set(self, stage: str, pooling: str, view: View, *, copies_left: int = 1) -> FeatureSet:
        key = (self.enhancement.key, stage, pooling, view)
        if key not in self._sets:
            phase = "Extracting features" + (f" ({view.title})" if view.title else "")
            self.listener(PhaseStarted(phase))
            found = extract_features(
                self.images,
                backbone_name=self.config.backbone,
                weights=self.config.weights,
                seed=self.config.seed,
                feature_stage=stage,
                pooling=pooling,
                input_size_px=self.config.input_size_px,
                dtype=self.compute.dtype,
                view=view,
                device=self.compute.device,
                copies_left=copies_left,
                ranks=self.ranks,
                progress=paced_progress(phase, self.listener),
                should_stop=self.should_stop,
            )
            self.feature_seconds += found.seconds
            self.feature_images_per_second = max(self.feature_images_per_second, found.images_per_second)
            self._sets[key] = found
        return self._sets[key]

    def _stage_below(self, stage: str) -> str | None:
        names = self.spec.stage_names
        index = names.index(stage)
        return names[index - 1] if index else None

    def _fits_cache(self, classifier: "Classifier", stage: str, views: tuple[View, ...]) -> bool:
        return self._activation_bytes(classifier, stage) * len({AS_IT_IS, *views}) <= min(
            MAX_ACTIVATION_BYTES, cache_limit_bytes()
        )

    def _activation_bytes(self, classifier: "Classifier", stage: str) -> int:
        import torch

        size_px = self.config.input_size_px or self.spec.input_size_px
        with torch.no_grad():
            one = classifier.eval().forward_until(
                torch.zeros(1, 3, size_px, size_px, device=self.compute.device), stage
            )
        return one.numel() * 4 * len(self.targets)

    def _fit_head(self, classifier: "Classifier", inputs: Inputs, split: np.ndarray) -> FittedClassifier:
        train_rows, val_rows = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
        pace = Pace(1)
        features = self._feature_set(classifier.feature_stage, classifier.pooling, AS_IT_IS).features
        facts: dict[str, Any] = {}
        if classifier.head_options["name"] == "nearest_neighbors":
            fit_nearest_neighbors(classifier.head, features, self.targets, train_rows=train_rows)  # type: ignore[arg-type]
        else:
            is_svm = classifier.head_options["name"] == "linear_svm"
            probe = self._fit_probe(fit_linear_svm if is_svm else fit_linear_probe, features, train_rows, val_rows)
            classifier.head = probe.head.to(self.compute.device)
            facts = {"penalty": probe.penalty}
        self.training_seconds += pace.seconds
        self._watched(classifier)
        return FittedClassifier(classifier, inputs, pace.seconds, facts=facts)

    def _fit_probe(
        self, fit_probe: Callable[..., Any], features: np.ndarray, train_rows: np.ndarray, val_rows: np.ndarray
    ) -> Any:
        return fit_probe(
            features,
            self.targets,
            train_rows=train_rows,
            val_rows=val_rows,
            num_classes=self.dataset.spec.num_classes,
            weighting=self.config.class_weights,
            on_fit=lambda done, total: self.listener(Progressed("Training", done, total)),
            should_stop=self.should_stop,
        )

    def _start_from_probe(self, classifier: "Classifier", split: np.ndarray) -> None:
        """Give the head the weights of the linear probe (Kumar et al. 2022, arXiv 2202.10054).

        From a random head, the first steps would bend good features towards it.
        """
        from lib.models.folding import as_sigmoid_unit

        features = self._feature_set(classifier.feature_stage, classifier.pooling, AS_IT_IS).features
        probe = self._fit_probe(
            fit_linear_probe, features, np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
        )
        is_sigmoid = self.config.output == "sigmoid"
        linear = as_sigmoid_unit(probe.head) if is_sigmoid else probe.head
        target: Any = classifier.head[0] if is_sigmoid else classifier.head  # type: ignore[index]
        target.load_state_dict(linear.state_dict())

    def _watched(self, classifier: "Classifier") -> Listener:
        """The listener, after a first look at the network as it is; with it, more looks as epochs end."""
        look, listener = self.on_epoch, self.listener
        if look is None:
            return listener
        look(classifier, 0)

        def listen(event: Event) -> None:
            if isinstance(event, EpochEnded):
                look(classifier, event.epoch)
            listener(event)

        return listen


def _built(classifier: "Classifier") -> NetworkBuilt:
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in classifier.parameters()]
    return NetworkBuilt(sum(count for count, is_trained in counts if is_trained), sum(count for count, _ in counts))


def paced_progress(phase: str, listener: Listener) -> Progress:
    """A progress function that tells a listener position, images per second and time left."""
    pace: list[Pace] = []

    def report(done: int, total: int, what: str) -> None:
        if not pace:
            pace.append(Pace(total, done=done))
        pace[0].add(max(done - pace[0].done, 0))
        speed = pace[0].images_per_second if pace[0].num_images else 0.0
        listener(Progressed(phase, done, total, speed, pace[0].seconds_left))

    return report
