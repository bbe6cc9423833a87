"""Linear probes on every stage of a network: which images fit and score them, the fits, and where the table is kept."""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import digest_of, read_kept, write_json
from lib.data.input_transform import InputTransform
from lib.data.splits import TEST, TRAIN, VAL
from lib.errors import Stopped, UserError
from lib.evaluation.headline import headline_metric
from lib.evaluation.metric_table import ACCURACY, Metric
from lib.explain.stage_worth import PRETRAINED, RANDOM, RUN, StageRow, StageWorth, judge_answers
from lib.features.cache import read_or_extract
from lib.features.engine import EngineChoice
from lib.features.extraction import content_of
from lib.features.stage_outputs import BY_TORCH, StagedSource, StageRequest
from lib.models.backbone_spec import BackboneSpec
from lib.models.seen_images import SeenImages
from lib.progress import Progress, ignore_progress
from lib.settings import ASSETS_DIR, cache_dir

# Below that many test images the interval of an accuracy is wider than 10 points to each side.
MIN_TEST_IMAGES = 80
NUM_FOLDS = 5
# C of the logistic regression, times the number of features: on standardised features the prior of a logit then has the
# same spread at a stage of 16 numbers as at one of 1,280. Of 0.3, 1, 3 and 10 the middle ones score best on drawn eyes
# and on pets, and differ little.
STRENGTH = 3.0
# Classes are weighted alike where one is more than three times as frequent as another, as trainings do by default.
IMBALANCE_LIMIT = 3.0
_TOLERANCE = 1e-3  # ten times the usual: the loss moves by less than 0.001
_FORMAT = 1
_TITLES = {PRETRAINED: "the pretrained network", RANDOM: "random weights", RUN: "the run's network"}


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """Which images probes are fitted on and scored by.

    Attributes:
        targets: class numbers of all images (N,).
        groups: patients (N,), "" for an image by itself; None where every image stands alone.
        class_names: of the K classes.
        metric: what is scored.
        folds: pairs of rows to fit on and rows to score; one pair where the test images are scored.
    """

    targets: np.ndarray
    groups: np.ndarray | None
    class_names: tuple[str, ...]
    metric: Metric
    folds: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def rows(self) -> np.ndarray:
        """The images that are scored, fold after fold."""
        return np.concatenate([held for _, held in self.folds])

    @property
    def key(self) -> str:
        """What tells it from other tasks."""
        digest = hashlib.sha256(f"{self.metric.key}|{self.class_names}".encode())
        groups = [] if self.groups is None else self.groups.tolist()
        digest.update(json.dumps([self.targets.tolist(), groups]).encode())
        for pair in self.folds:
            for rows in pair:
                digest.update(rows.astype("<i8").tobytes() + b"|")
        return digest.hexdigest()


def probe_task(dataset: Any, *, split_seed: int = 0, is_held_out: bool = False) -> ProbeTask:
    """The test images of the data set's split; where they are very few, all images in five folds, groups whole.

    Args:
        dataset: what takes part (`apply_protocol`).
        split_seed: of its split.
        is_held_out: score the test images, however few they are.

    Raises:
        UserError: a class has too few images, or groups, to be split, or to be in every fold.
    """
    split = dataset.split(split_seed)
    splits = [split]
    if np.count_nonzero(split == TEST) < MIN_TEST_IMAGES and not is_held_out:
        splits = [dataset.split(split_seed, num_folds=NUM_FOLDS, fold=fold) for fold in range(NUM_FOLDS)]
    names, groups = tuple(dataset.spec.class_names), dataset.table["group_id"].fillna("").astype(str).to_numpy()
    return ProbeTask(
        dataset.table["target"].to_numpy().astype(np.int64),
        groups if any(groups) else None,
        names,
        headline_metric(is_ordinal=dataset.spec.is_ordinal, num_classes=len(names)),
        tuple((np.flatnonzero(np.isin(one, (TRAIN, VAL))), np.flatnonzero(one == TEST)) for one in splits),
    )


def probe_answers(features: np.ndarray, task: ProbeTask) -> np.ndarray:
    """Class numbers (n,) that linear probes give to `task.rows`, none of which the probe was fitted on.

    Logistic regression (scikit-learn) on standardised features (N, D), with C = 3 / D at every stage.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    answers = []
    # Products this small end before a second thread has woken.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fitted, held in task.folds:
            scaler, targets = StandardScaler(), task.targets[fitted]
            counts = np.unique(targets, return_counts=True)[1]
            policy = "balanced" if counts.max() > IMBALANCE_LIMIT * counts.min() else None
            probe = LogisticRegression(
                C=STRENGTH / features.shape[1], tol=_TOLERANCE, max_iter=500, class_weight=policy
            )
            probe.fit(scaler.fit_transform(features[fitted].astype(np.float64)), targets)
            answers.append(probe.predict(scaler.transform(features[held].astype(np.float64))))
    return np.concatenate(answers).astype(np.int64)


@dataclass(frozen=True)
class RunNetwork:
    """The network of a finished run, as a curve needs it; `trained_on` is the version of its data set."""

    run_id: str
    label: str
    source: StagedSource
    seen: SeenImages
    trained_on: str = ""


@dataclass(frozen=True, eq=False)
class StageQuestion:
    """What is asked: a data set as it takes part, a network, seeds, perhaps a run. `target_map` is only named here."""

    dataset: Any
    spec: BackboneSpec
    split_seed: int = 0
    random_seed: int = 0
    target_map: str = ""
    run: RunNetwork | None = None
    dtype: str = "float32"
    device: str = "cpu"
    engine: EngineChoice = BY_TORCH

    @cached_property
    def task(self) -> ProbeTask:
        """Which images fit and score; raises UserError as `probe_task`, or where the run has seen those to score."""
        is_own = self.run is not None and self.run.trained_on == self.dataset.version
        task = probe_task(self.dataset, split_seed=self.split_seed, is_held_out=is_own)
        if self.run is not None:
            num_seen = int((self.run.seen.roles(self.dataset.table["image_id"].iloc[task.rows]) != "").sum())
            if num_seen:
                raise UserError(
                    f"The run {self.run.run_id[:8]} was trained or tuned on {num_seen} of the {len(task.rows)} images "
                    f"that would be scored (split seed {self.split_seed}), so its curve would be too high. Choose the "
                    "split seed of the run, a run without folds, or another data set."
                )
        return task

    @cached_property
    def requests(self) -> dict[str, StageRequest]:
        """By curve, what is read of the images; pretrained weights that were never published have no curve."""
        sources = {} if not self.spec.has_weights else {PRETRAINED: StagedSource.published(self.spec)}
        sources[RANDOM] = StagedSource.published(self.spec, "random", seed=self.random_seed)
        if self.run is not None:
            sources[RUN] = self.run.source
        return {
            curve: StageRequest(self.dataset, source, self.dtype, self.device, self.engine)
            for curve, source in sources.items()
        }

    @cached_property
    def path(self) -> Path:
        """Where the table is kept, by all that it depends on but the engine, which changes the last digits at most."""
        networks = {curve: request.source.key for curve, request in self.requests.items()}
        described = [_FORMAT, self.task.key, content_of(self.dataset), networks]
        return cache_dir() / "stages" / f"{digest_of(described)}.json"

    @property
    def kept_path(self) -> Path:
        """Where the table can be read: as measured here, else as it was measured for the images of the demo."""
        shipped = ASSETS_DIR / "stages" / self.path.name
        return self.path if self.path.is_file() or not shipped.is_file() else shipped

    def kept(self) -> StageWorth | None:
        """The table as it is kept, perhaps with a curve still to come; None if there is none."""
        return read_kept(self.kept_path, StageWorth.from_dict)


def measure_stages(
    question: StageQuestion,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> StageWorth:
    """Answer the question: one cached pass over the images for each network, then a probe for each stage.

    The table is kept, and written anew after each curve, the pretrained one first.

    Raises:
        Stopped: `should_stop()` turned true; curves that were ready stay.
        UserError: as `StageQuestion.task`, an unknown network, or a full disk.
        WeightsUnavailable: pretrained weights are published but not at hand.
    """
    kept = question.kept()
    if kept is not None and kept.is_complete:
        return kept
    task, requests = question.task, question.requests
    answers: dict[str, list[np.ndarray]] = {}
    seconds = {"probes": 0.0}
    for place, (curve, request) in enumerate(requests.items()):

        def report(done: int, total: int, _: str, *, curve: str = curve, place: int = place) -> None:
            progress(place * total + done, len(requests) * total, f"images through {_TITLES[curve]}")

        found = read_or_extract(request, progress=report, should_stop=should_stop)
        seconds[curve] = 0.0 if found.was_cached else found.seconds
        began, answers[curve] = time.perf_counter(), []
        for features in request.by_stage(np.asarray(found.features)).values():
            if should_stop():
                raise Stopped("Stopped while fitting probes.")
            answers[curve].append(probe_answers(features, task))
        seconds["probes"] += time.perf_counter() - began
        worth = _worth(question, answers, seconds, is_complete=place == len(requests) - 1)
        write_json(question.path, worth.to_dict())
    return worth


def _worth(
    question: StageQuestion, answers: Mapping[str, list[np.ndarray]], seconds: dict[str, float], *, is_complete: bool
) -> StageWorth:
    began, task, run = time.perf_counter(), question.task, question.run
    rows, targets = task.rows, task.targets[task.rows]
    groups = None if task.groups is None else task.groups[rows]
    longest = max(answers, key=lambda curve: len(answers[curve]))  # a run's network ends where its head read
    judged, best, top, of_run = judge_answers(
        stage_rows(question.spec, question.requests[longest].source, num_classes=len(task.class_names)),
        answers, targets, metric=task.metric, num_classes=len(task.class_names), groups=groups,
    )  # fmt: skip
    counts = np.bincount(targets, minlength=len(task.class_names))
    commonest = int(counts.argmax())
    spec, total = question.dataset.spec, seconds["probes"] + time.perf_counter() - began
    return StageWorth(
        dataset=question.dataset.name, dataset_title=spec.title, dataset_version=question.dataset.version,
        backbone=question.spec.name, backbone_title=question.spec.title, pretrained_on=question.spec.pretrained_on,
        rows=judged, best=best, top=top, best_of_run=of_run, metric=task.metric.key, is_ordinal=spec.is_ordinal,
        chance=float(counts[commonest] / counts.sum()) if task.metric is ACCURACY else 0.0,
        commonest_class=task.class_names[commonest],
        num_fitted=round(float(np.mean([len(fitted) for fitted, _ in task.folds]))), num_scored=len(rows),
        num_units=len(rows) if groups is None else len({name or row for row, name in enumerate(groups)}),
        num_folds=len(task.folds) if len(task.folds) > 1 else 0, split_seed=question.split_seed,
        random_seed=question.random_seed, target_map=question.target_map, run_id=run.run_id if run else "",
        run_label=run.label if run else "", split_caveat=spec.split_caveat, note=_note(question),
        is_complete=is_complete, seconds={**seconds, "probes": total},
    )  # fmt: skip


def _note(question: StageQuestion) -> str:
    """What differs in how the run's network reads images."""
    if question.run is None:
        return ""
    own, published = question.run.source.inputs, InputTransform.of(question.spec)
    parts = [f"at {own.size_px} px instead of {published.size_px}"] if own.size_px != published.size_px else []
    parts += [f"after the preprocessing {own.enhancement.text}"] if own.enhancement.names else []
    return f"The run's network reads images {' and '.join(parts)}." if parts else ""


def stage_rows(spec: BackboneSpec, source: StagedSource, *, num_classes: int) -> list[StageRow]:
    """The stages with what is trained where the network is cut there, from the table of backbones."""

    def head(num_features: int) -> int:
        return num_features * num_classes + num_classes

    read = spec.stages_until(spec.feature_stage)
    rows = []
    for stage in source.stages:
        behind = read[read.index(stage) + 1 :] if stage in read else ()
        last = behind[-1] if behind else stage
        rows.append(
            StageRow(
                stage=stage.name, title=stage.title, num_features=stage.num_channels,
                head_parameters=head(stage.num_channels),
                right_parameters=sum(one.num_parameters for one in behind) + head(last.num_channels),
            )
        )  # fmt: skip
    return rows
