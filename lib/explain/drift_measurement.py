"""Measures what fine-tuning moved: two cached passes over the images, and a comparison of weights and outputs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import digest_of, read_kept, write_json
from lib.data.dataset import takes_part
from lib.errors import Stopped, UserError
from lib.evaluation.resampling import draw_scores
from lib.explain.drift import ALIKE, MAX_IMAGES, Drift, StageDrift, channel_changes, cka_estimate, correlations
from lib.explain.stage_probes import ProbeTask, RunNetwork, StageQuestion, probe_answers
from lib.features.cache import read_or_extract
from lib.features.engine import EngineChoice, FrozenPart, choose_engine
from lib.features.extraction import content_of
from lib.features.stage_outputs import StagedSource, StageRequest
from lib.progress import Progress, ignore_progress
from lib.settings import cache_dir

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS, NORMALIZATION, STATISTICS = "weights", "normalization", "statistics"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class DriftQuestion:
    """What is compared: a run's network with its start, on a data set as it takes part; both read images alike.

    `trained` are the names of the stages that the training could change.
    """

    dataset: Any
    run: RunNetwork
    start: StagedSource
    start_words: str
    trained: tuple[str, ...]
    strategy: str
    is_medical: bool = False
    split_seed: int = 0
    device: str = "cpu"

    @cached_property
    def task(self) -> "ProbeTask | UserError":
        """Which images fit and score probes; where there can be no probes, the error that says why."""
        try:
            return StageQuestion(self.dataset, self.run.source.spec, self.split_seed, run=self.run).task
        except UserError as error:
            return error

    @cached_property
    def images(self) -> np.ndarray:
        """The rows that are compared: those that probes are scored on, else all; at most 1,000, drawn with seed 0."""
        task = self.task
        rows = np.sort(task.rows) if isinstance(task, ProbeTask) else np.flatnonzero(takes_part(self.dataset))
        if len(rows) > MAX_IMAGES:
            rows = np.sort(np.random.default_rng(0).choice(rows, MAX_IMAGES, replace=False))
        return rows

    def requests(self, engine: EngineChoice) -> tuple[StageRequest, StageRequest]:
        """What is read of the images: before, after."""
        before, after = (
            StageRequest(self.dataset, source, device=self.device, engine=engine)
            for source in (self.start, self.run.source)
        )
        return before, after

    @cached_property
    def path(self) -> Path:
        """Where the table is kept, by all that it depends on but the engine, which changes the last digits at most."""
        task = self.task.key if isinstance(self.task, ProbeTask) else str(self.task)
        networks = [self.start.key, self.run.source.key]
        described = [_FORMAT, self.run.run_id, task, content_of(self.dataset), networks, self.trained]
        return cache_dir() / "drift" / f"{digest_of(described)}.json"

    def kept(self) -> Drift | None:
        """The table as it is kept; None if there is none that can be read."""
        return read_kept(self.path, Drift.from_dict)


def measure_drift(
    question: DriftQuestion,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> Drift:
    """Compare a run's network with its start; the table is kept.

    Raises:
        Stopped: `should_stop()` turned true; outputs that were computed stay in the cache.
        UserError: fewer than four images, weights that are not those of the start, or a full disk.
    """
    if (kept := question.kept()) is not None:
        return kept
    if len(question.images) < 4:
        raise UserError(f"Answers to {len(question.images)} images cannot be compared; it takes four at least.")
    began = time.perf_counter()
    changes = _weight_changes(question)
    before, after = _outputs(question, progress, should_stop)
    for spec in question.run.source.stages:  # what engines round otherwise is no change
        if any(change > 0 for change in changes[spec.name].values()):
            break
        after[spec.name] = before[spec.name]
    rows, table = question.images, question.dataset.table
    groups = table["group_id"].fillna("").astype(str).to_numpy()[rows]
    ids = table["image_id"].iloc[rows].tolist()
    probes = _probes(question, before, after, should_stop)
    stages = []
    for number, spec in enumerate(question.run.source.stages):
        _raise_if(should_stop)
        progress(number, len(before), "comparing stages")
        first, second = before[spec.name][rows], after[spec.name][rows]
        alike = correlations(first, second)
        known = alike[np.isfinite(alike)]
        changed: dict[str, Any] = changes[spec.name]
        stages.append(
            StageDrift(
                stage=spec.name, title=spec.title, is_trained=spec.name in question.trained,
                num_parameters=spec.num_parameters, **changed,
                cka=cka_estimate(first, second, groups if any(groups) else None),
                median_correlation=float(np.median(known)) if len(known) else float("nan"),
                num_alike=int((known >= ALIKE).sum()), num_channels=len(alike),
                channels=channel_changes(first, second, ids), **probes.get(spec.name, {}),
            )
        )  # fmt: skip
    drift = _described(question, tuple(stages), len(set(groups) - {""}) + int((groups == "").sum()), began)
    write_json(question.path, drift.to_dict())
    return drift


def _outputs(
    question: DriftQuestion, progress: Progress, should_stop: Callable[[], bool]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By stage the pooled outputs (N, D) for all images, before and after."""
    spec, source = question.run.source.spec, question.run.source
    part = FrozenPart(spec.name, "pretrained", 0, spec.feature_stage, source.inputs.size_px, "float32")
    engine = choose_engine(part, device=question.device, num_images=len(question.dataset.table), progress=progress,
                           should_stop=should_stop)  # fmt: skip
    found = []
    whose = ("the start", "the run's network")
    for place, (request, what) in enumerate(zip(question.requests(engine), whose, strict=True)):

        def report(done: int, total: int, _: str, *, place: int = place, what: str = what) -> None:
            progress(place * total + done, 2 * total, f"images through {what}")

        features = read_or_extract(request, progress=report, should_stop=should_stop).features
        found.append(request.by_stage(np.asarray(features)))
    return found[0], found[1]


def _described(question: DriftQuestion, rows: tuple[StageDrift, ...], num_units: int, began: float) -> Drift:
    spec, backbone, task = question.dataset.spec, question.run.source.spec, question.task
    seen = question.run.seen.roles(question.dataset.table["image_id"].iloc[question.images])
    return Drift(
        run_id=question.run.run_id, run_label=question.run.label, strategy=question.strategy, backbone=backbone.name,
        backbone_title=backbone.title, start=question.start_words, dataset=question.dataset.name,
        dataset_title=spec.title, dataset_version=question.dataset.version, is_medical=question.is_medical,
        metric=task.metric.key if isinstance(task, ProbeTask) else "accuracy",
        num_images=len(question.images), num_units=num_units,
        is_held_out=bool((seen == "").all()) and question.run.seen.is_complete, rows=rows,
        num_fitted=_num_fitted(task), num_folds=_num_folds(task),
        why_no_probes="" if isinstance(task, ProbeTask) else str(task), split_caveat=spec.split_caveat,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _num_fitted(task: "ProbeTask | UserError") -> int:
    return round(float(np.mean([len(fitted) for fitted, _ in task.folds]))) if isinstance(task, ProbeTask) else 0


def _num_folds(task: "ProbeTask | UserError") -> int:
    return len(task.folds) if isinstance(task, ProbeTask) and len(task.folds) > 1 else 0


def _probes(
    question: DriftQuestion,
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    should_stop: Callable[[], bool],
) -> dict[str, dict[str, Any]]:
    """By stage the scores of a linear probe before and after, and their difference on the same images."""
    task = question.task
    if not isinstance(task, ProbeTask):
        return {}
    answers = []
    for features in (before, after):
        for stage in before:
            _raise_if(should_stop)
            answers.append(probe_answers(features[stage], task))
    groups = None if task.groups is None else task.groups[task.rows]
    drawn = draw_scores(
        task.metric, task.targets[task.rows], np.stack(answers), num_classes=len(task.class_names), groups=groups
    )
    return {
        stage: {
            "probe_before": drawn.estimate(number),
            "probe_after": drawn.estimate(number + len(before)),
            "gained": drawn.difference(number + len(before), number),
        }
        for number, stage in enumerate(before)
    }


def _weight_changes(question: DriftQuestion) -> dict[str, dict[str, float]]:
    """By stage the relative changes; raises UserError where a frozen stage differs, so that the start is another."""
    before, after = question.start.build(), question.run.source.build()
    found = {}
    for spec in question.run.source.stages:
        changes = weight_changes(before[spec.name], after[spec.name])
        if spec.name not in question.trained and any(change > 0 for change in changes.values()):
            raise UserError(
                f"The frozen stage {spec.name!r} of the run {question.run.run_id[:8]} is not that of {spec.title}: the "
                "weights that it started from are others than those drawn or found here, so nothing can be compared."
            )
        found[spec.name] = changes
    return found


def weight_changes(before: "nn.Module", after: "nn.Module") -> dict[str, float]:
    """Relative changes |after - before| / |before| of two modules of one build, by kind of number, and in total.

    Kinds: weights, normalization (scale and shift), statistics (running means and variances); the total is of the
    first two. 0.0 exactly where nothing changed; NaN where there is none, or all numbers were 0.
    """
    first, second = (numbers_by_kind(module) for module in (before, after))
    both = {**first, "total": first[WEIGHTS] + first[NORMALIZATION]}
    other = {**second, "total": second[WEIGHTS] + second[NORMALIZATION]}
    return {kind: _relative_change(both[kind], other[kind]) for kind in both}


def numbers_by_kind(module: "nn.Module") -> "dict[str, list[Tensor]]":
    """All that a stage has learned, in the module's order."""
    kinds: dict[str, list[Tensor]] = {WEIGHTS: [], NORMALIZATION: [], STATISTICS: []}
    for part in module.modules():
        # Normalisation by its name: networks of timm have kinds of their own.
        is_norm = "norm" in type(part).__name__.lower()
        kinds[NORMALIZATION if is_norm else WEIGHTS] += [one.detach() for one in part.parameters(recurse=False)]
        statistics = dict(part.named_buffers(recurse=False))
        kinds[STATISTICS] += [statistics[name] for name in ("running_mean", "running_var") if name in statistics]
    return kinds


def _relative_change(before: "list[Tensor]", after: "list[Tensor]") -> float:
    if not before:
        return float("nan")
    moved = sum(float((b.cpu().double() - a.cpu().double()).square().sum()) for a, b in zip(before, after, strict=True))
    size = sum(float(a.double().square().sum()) for a in before)
    if moved == 0:
        return 0.0
    return (moved / size) ** 0.5 if size > 0 else float("nan")


def _raise_if(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Stopped("Stopped while comparing.")
