"""One data set, one config: fit a classifier on a split by the config's strategy, and ask it for predictions."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.library import open_dataset
from lib.data.subset import apply_protocol
from lib.distributed import ALONE, Ranks
from lib.errors import Stopped, UserError
from lib.models.backbones import BACKBONES
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.events import (
    EpochEnded,
    Event,
    Listener,
    PhaseStarted,
    Progressed,
    ShouldStop,
    Throughput,
    ignore_events,
)
from lib.training.inputs import FitData, Inputs, predict_features, predict_logits
from lib.training.network import Compute, follow_compute, head_alone, network_built, untrained_classifier
from lib.training.preparation import Development, Preparation, development_apart, development_of
from lib.training.protocols import Dataset
from lib.training.results import OUT_OF_FOLD, VALIDATION, SplitPredictions
from lib.training.sklearn_heads import FittedHead, ignore_fits
from lib.training.strategies import STRATEGIES
from lib.training.trainer import Trainer

if TYPE_CHECKING:
    from lib.models.classifier import Classifier
    from lib.training.estimation.trial_steps import TimeBudget


@dataclass
class FittedClassifier:
    """A trained classifier with what it reads, what it has seen, and how long it took.

    Its weights come from `fit_rows`; `val_rows` are the images whose answers choose and tell how good it is. Where
    they are among the former, `held_out` are the answers of classifiers that had not seen them, (n, K).
    """

    classifier: "Classifier"
    inputs: Inputs
    seconds: float
    fit_rows: np.ndarray
    val_rows: np.ndarray
    held_out: np.ndarray | None = None
    images_per_second: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class TrainingSession:
    """Shares backbone, features and activations between the fits of one run (folds)."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        compute: Compute,
        *,
        listener: Listener,
        should_stop: ShouldStop,
        on_epoch: "Callable[[Classifier, int], None] | None" = None,
        budget: "TimeBudget | None" = None,
        head_bundle: Path | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Set up, without any work yet.

        Args:
            config: resolved.
            dataset: the part of it that the training reads.
            compute: device and number formats.
            listener: hears the training.
            should_stop: asked between stages.
            on_epoch: looks at the network before training (0), after each epoch, and once after a fit without any.
            budget: chooses the number of epochs, given what is about to be trained, and limits their time.
            head_bundle: a saved classifier whose head the training starts from.
            ranks: who trains together: the others fit what the first one fits (`follow_first_rank`).
        """
        self.budget, self.head_bundle = budget, head_bundle
        self.config, self.dataset, self.compute = config, dataset, compute
        self.listener, self.should_stop, self.on_epoch, self.ranks = listener, should_stop, on_epoch, ranks
        self.strategy, self.spec = STRATEGIES.get(config.strategy), BACKBONES.get(config.backbone)
        self.targets: np.ndarray = dataset.table["target"].to_numpy().astype(np.int64)
        self.preparation = Preparation(
            config, dataset, compute, listener=listener, should_stop=should_stop, ranks=ranks
        )
        self.training_seconds = 0.0
        self.resumed_seconds = 0.0  # of `training_seconds`, by processes before this one

    def fit(self, split: np.ndarray, checkpoints: CheckpointStore | None = None) -> FittedClassifier:
        """Fit on the "train" rows of `split` (N,), with its "val" rows to choose by.

        A head that is fitted in one go learns from both, each held out once to choose by (preparation.py).
        """
        self.preparation.enhance(split)  # the first rank writes the cache that the others read
        self.ranks.announce(split.tolist())
        # Nothing but a head is built where nobody looks at what the network makes of images.
        alone = None if self.on_epoch else head_alone(self.config, num_classes=self.dataset.spec.num_classes)
        classifier = alone.to(self.compute.device) if alone else self.new_classifier()
        self.listener(network_built(classifier))
        inputs = self.preparation.inputs(classifier)
        if self.should_stop():
            raise Stopped("Stopped before training.")
        if self.head_bundle is not None:
            from lib.models.bundles import take_learned_head

            take_learned_head(classifier, self.head_bundle)
        if self.strategy.starts_from_probe:
            self.listener(PhaseStarted("Fitting the linear probe"))
            self._start_from_probe(classifier, split)
        self.listener(PhaseStarted("Training"))
        if self.strategy.is_iterative:
            return self._fit_iteratively(classifier, inputs, split, checkpoints)
        if not self.ranks.is_first:  # a head that is not iterated is fitted once
            return FittedClassifier(classifier, inputs, 0.0, np.empty(0, np.int64), np.empty(0, np.int64))
        return self._fit_head(classifier, inputs, split)

    def probabilities(self, fitted: FittedClassifier, rows: np.ndarray) -> np.ndarray:
        """Class probabilities (n, K) of rows, float64, computed in float32."""
        logits = predict_logits(
            fitted.classifier, fitted.inputs, rows, device=self.compute.device, should_stop=self.should_stop
        )
        return logits.double().softmax(1).numpy()

    def validation(self, fitted: FittedClassifier) -> SplitPredictions:
        """Answers to the validation images by what had not seen them: by the classifier itself, or out of fold."""
        if fitted.held_out is not None:
            return SplitPredictions(OUT_OF_FOLD, fitted.val_rows, fitted.held_out)
        return SplitPredictions(VALIDATION, fitted.val_rows, self.probabilities(fitted, fitted.val_rows))

    def features(self, fitted: FittedClassifier, rows: np.ndarray, *, dtype: str = "float32") -> np.ndarray:
        """Pooled features (n, D) of rows as the classifier makes them now, float32 computed in `dtype`."""
        return predict_features(
            fitted.classifier, fitted.inputs, rows, device=self.compute.device, dtype=dtype,
            should_stop=self.should_stop,
        )  # fmt: skip

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
        classifier = untrained_classifier(self.config, num_classes=self.dataset.spec.num_classes)
        return classifier.to(self.compute.device)

    def _fit_iteratively(
        self, classifier: "Classifier", inputs: Inputs, split: np.ndarray, checkpoints: CheckpointStore | None
    ) -> FittedClassifier:
        data, config, budget = self.data(inputs, split), self.config, self.budget
        epochs, limit = self.ranks.from_first(
            (budget.choose(classifier, data), budget.time_limit()) if budget else (config.epochs, None)
        )
        if self.on_epoch is not None:
            self.on_epoch(classifier, 0)
        trainer = Trainer(
            classifier,
            data,
            dataclasses.replace(config, epochs=epochs),
            listener=self._watching(classifier),
            should_stop=self.should_stop,
            checkpoints=checkpoints,
            compute=self.compute,
            ranks=self.ranks,
            limit=limit,
        )
        result = trainer.fit()
        self.training_seconds += result.seconds
        self.resumed_seconds += result.resumed_seconds
        facts = {"best_epoch": result.best_epoch, "num_epochs": len(result.history)}
        return FittedClassifier(
            classifier, inputs, result.seconds, data.train_rows, data.val_rows,
            images_per_second=result.images_per_second, history=result.history, facts=facts,
        )  # fmt: skip

    def _watching(self, classifier: "Classifier") -> Listener:
        """The listener; where somebody looks at the network after each epoch, that comes first."""
        look, listener = self.on_epoch, self.listener
        if look is None:
            return listener

        def listen(event: Event) -> None:
            if isinstance(event, EpochEnded):
                look(classifier, event.epoch)
            listener(event)

        return listen

    def _fit_head(self, classifier: "Classifier", inputs: Inputs, split: np.ndarray) -> FittedClassifier:
        throughput = Throughput(1)
        features = self.preparation.plain_features(classifier)
        development = development_of(self.targets, self.dataset.table, split, self.config)
        found = self._fitted_head(classifier, features, development)
        seconds = throughput.seconds
        if self.on_epoch is not None:  # it looks at images that the kept head has seen: a head of training images alone
            apart = development_apart(self.targets, self.dataset.table, split, self.config)
            classifier.head = self._fitted_head(classifier, features, apart, is_told=False).head
            self.on_epoch(classifier, 0)
        classifier.head = found.head
        self.training_seconds += seconds
        order = np.argsort(development.held_rows)
        return FittedClassifier(
            classifier, inputs, seconds, development.rows, development.held_rows[order],
            held_out=found.held_out[order] if development.is_out_of_fold else None, facts=found.facts,
        )  # fmt: skip

    def _fitted_head(
        self, classifier: "Classifier", features: np.ndarray, development: Development, *, is_told: bool = True
    ) -> FittedHead:
        def tell_fits(done: int, total: int) -> None:
            self.listener(Progressed("Training", done, total, unit="fits", num_images=len(development.rows)))

        found: FittedHead = self.strategy.fit_head(
            features,
            self.targets,
            development=development,
            num_classes=self.dataset.spec.num_classes,
            weighting=self.config.class_weights,
            untrained=classifier.head,
            on_fit=tell_fits if is_told else ignore_fits,
            should_stop=self.should_stop,
        )
        found.head.to(self.compute.device)
        return found

    def _start_from_probe(self, classifier: "Classifier", split: np.ndarray) -> None:
        """Give the head the weights of the linear probe (Kumar et al. 2022, arXiv 2202.10054).

        From a random head, the first steps would bend good features towards it. The probe learns from training images
        alone: the others choose the best epoch.
        """
        from lib.models.folding import as_sigmoid_unit

        features = self.preparation.plain_features(classifier)
        apart = development_apart(self.targets, self.dataset.table, split, self.config)
        probe = self._fitted_head(classifier, features, apart).head
        is_sigmoid = self.config.output == "sigmoid"
        linear = as_sigmoid_unit(probe) if is_sigmoid else probe
        target: Any = classifier.head[0] if is_sigmoid else classifier.head  # type: ignore[index]
        target.load_state_dict(linear.state_dict())


def follow_first_rank(ranks: Ranks) -> None:
    """Take part in whatever the first rank fits until it says that all is over; returns also after a stop.

    The data set, the caches and the weights are read from the same home (a shared folder where there are several
    machines); predictions of the finished classifier are the first rank's affair alone.

    Raises:
        UserError: this process sees another data set than the first one, or the training diverged.
    """
    try:
        plan = ranks.hear()
        config = TrainConfig.from_dict(plan["config"])
        dataset = apply_protocol(_open(config, ranks.rank), config)
        compute = follow_compute(Compute(**plan["compute"]), config, ranks)
        head_bundle = Path(plan["head_bundle"]) if plan["head_bundle"] else None
        session = TrainingSession(
            config, dataset, compute, listener=ignore_events, should_stop=ranks.is_over, head_bundle=head_bundle,
            ranks=ranks,
        )  # fmt: skip
        while True:
            session.fit(np.array(ranks.hear()))
    except Stopped:
        return


def _open(config: TrainConfig, rank: int) -> "Dataset":
    """The data set at the version that the first rank reads."""
    dataset = open_dataset(config.dataset)
    try:
        return dataset.at_version(config.dataset_version)
    except UserError:
        raise UserError(
            f"Rank {rank} finds version {dataset.version} of the data set {config.dataset!r}, the first rank "
            f"{config.dataset_version}; all ranks must share one TRANSFERSCOPE_HOME."
        ) from None
