"""What runs are worth on other data sets: results kept in the run's folder, with every image's answer.

`external/KEY/` of a run's folder holds `result.json` and `answers.parquet`; one key for each data set, version and
mapping, so that the same asked again takes the place of what was there.
"""

import dataclasses
import math
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.atomic import atomic_path, digest_of, read_kept, write_json
from lib.errors import UserError
from lib.evaluation.headline import headline_metric
from lib.evaluation.intervals import Interval, metric_interval
from lib.evaluation.metric_table import METRICS, Metric
from lib.evaluation.resampling import as_plain, number_of
from lib.grading.evaluation import Evaluation
from lib.settings import runs_dir, trash_dir
from lib.tracking.records import RunRecord
from lib.tracking.scores import probability_columns
from lib.tracking.state import run_folder
from lib.tracking.tested import TestedRun, read_tested

FOLDER, RESULT_FILE, ANSWERS_FILE = "external", "result.json", "answers.parquet"
_FORMAT = 1


@dataclass(frozen=True)
class ExternalScore:
    """A metric on the other data set, on the run's own test images, and the first minus the second.

    Each has a 95 % interval; NaN where it is not defined.
    """

    external: Interval
    own: Interval
    delta: Interval


@dataclass(frozen=True, eq=False)
class ExternalResult:
    """What one run is worth on one other data set.

    Attributes:
        run_id: of the run.
        dataset: name of the data set.
        title: of the data set.
        dataset_version: that was evaluated.
        mapping: which classes theirs are, as a person said; "" where they match by themselves.
        images: "all", "unseen" (some were left out), or "test" and "out_of_fold" of the run's own data set.
        num: images that count.
        num_units: patients or groups of them; images where they stand alone.
        num_own: the run's own test images.
        num_shared: images that are among those too.
        left_out: why images do not count ("seen", "near", "unmapped") to how many; None where it is not known.
        class_names: that were scored.
        is_ordinal: whether they are grades in their order.
        classes_without_images: scored classes that the data set lacks.
        scores: key of a metric to its values, of every metric that fits the classes.
        note: what must be said of it.
        made_s: when it was made, seconds since 1970.
    """

    run_id: str
    dataset: str
    title: str
    dataset_version: str
    mapping: str
    images: str
    num: int
    num_units: int
    num_own: int
    num_shared: int
    left_out: dict[str, int | None]
    class_names: tuple[str, ...]
    is_ordinal: bool
    classes_without_images: tuple[str, ...]
    scores: dict[str, ExternalScore]
    note: str = ""
    made_s: float = 0.0

    @cached_property
    def key(self) -> str:
        """The name of its folder."""
        return digest_of([self.dataset, self.dataset_version, self.mapping])[:16]

    @property
    def headline(self) -> Metric:
        """The metric that it is judged by."""
        return headline_metric(is_ordinal=self.is_ordinal, num_classes=len(self.class_names))

    @property
    def is_own(self) -> bool:
        """Whether it is the data set that the run was trained on."""
        return self.images in ("test", "out_of_fold")

    def metric_for(self, metric: Metric | None) -> Metric:
        """The metric where it fits the classes that were scored, else the one that it is judged by."""
        return metric if metric is not None and metric.key in self.scores else self.headline

    def sentence(self, label: str, metric: Metric | None = None) -> str:
        """What came of it in words, by a metric (by default the one that it is judged by)."""
        metric = self.metric_for(metric)
        score = self.scores[metric.key]
        units = f" of {self.num_units:,} patients or groups" if self.num_units < self.num else ""
        new = {"out_of_fold": " by the folds that had not seen them", "test": " of its own test set"}
        images = f"{self.num:,} {'image' if self.num == 1 else 'images'}{units}"
        told = f"{label} on {self.title}: {metric.word} {_with_ends(metric, score.external)} on {images}"
        told += new.get(self.images, " that it had not seen in its training")
        if self.is_own or not math.isfinite(score.delta.value):
            return f"{told}."
        way = "above" if score.delta.value > 0 else "below"
        by = metric.difference_text(score.delta.value)
        own = metric.text(score.own.value)
        if score.delta.value == 0:
            return f"{told}, the same as on its own test images ({own})."
        change = f"{told}, {by} {way} its own test images ({own}"
        if not score.delta.is_known:
            return f"{change}; no interval of the difference: {score.delta.reason or 'not defined'})."
        ends = _ends_of_difference(metric, score.delta)
        if score.delta.low <= 0 <= score.delta.high:
            return f"{change}; 95 % interval of the difference {ends}): the difference could be chance."
        return f"{change}; 95 % interval of the difference {ends}): more than chance."

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"format_version": _FORMAT, **as_plain(dataclasses.asdict(self))}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ExternalResult":
        """Read what `to_dict` wrote; raises KeyError, TypeError or ValueError for anything else."""
        known = {field.name: content[field.name] for field in dataclasses.fields(cls)}
        scores = {
            key: ExternalScore(**{part: _interval(value) for part, value in score.items()})
            for key, score in content["scores"].items()
        }
        names = {key: tuple(content[key]) for key in ("class_names", "classes_without_images")}
        return cls(**{**known, **names, "scores": scores})


def difference_of_independent(first: Interval, second: Interval) -> Interval:
    """The first minus the second of two sets of images without a common one, from their own intervals.

    Each end is as far from the difference as the two distances of value and end, squared and added (Newcombe 1998,
    method 10, for shares; Zou and Donner 2008 for any intervals): d - sqrt((a - la)^2 + (ub - b)^2) and
    d + sqrt((ua - a)^2 + (b - lb)^2). So it holds for Wilson's, for a bootstrap over patients and for folds alike.
    """
    value = first.value - second.value
    if not (first.is_known and second.is_known):
        return Interval(value, reason=first.reason or second.reason)
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Interval(value, low, high, "square and add", num_units=min(first.num_units, second.num_units))


def measure_external(run: RunRecord, evaluation: Evaluation, *, title: str = "") -> ExternalResult:
    """The result of an evaluation beside the run's own test, metric by metric.

    Where the run's own predictions are gone, own values and differences are not defined.
    """
    figures, answers = evaluation.figures, evaluation.answers
    names, is_ordinal = tuple(figures["class_names"]), bool(figures["is_ordinal"])
    is_own = figures["images"] in ("test", "out_of_fold")
    own = _own_answers(run, figures)
    outside = _tested(run, "", figures, answers)
    scores = {}
    for metric in METRICS.values():
        if not metric.fits(is_ordinal=is_ordinal, num_classes=len(names)):
            continue
        found = _interval_of(metric, outside)
        before = found if is_own else _interval_of(metric, own) if own else Interval(math.nan, reason="no predictions")
        none = Interval(math.nan, reason="its own test set")
        scores[metric.key] = ExternalScore(found, before, none if is_own else difference_of_independent(found, before))
    shared = set(answers["image_id"]) & set(own.image_ids) if own is not None and not is_own else set()
    note = figures["note"]
    if shared:
        note += (
            f" {len(shared)} of the images are also among its own test images, so the interval of the difference is "
            "wider than it need be."
        )
    return ExternalResult(
        run_id=run.run_id, dataset=figures["dataset"], title=title or figures["dataset"],
        dataset_version=figures["dataset_version"], mapping=figures["mapping"], images=figures["images"],
        num=len(answers), num_units=_num_units(outside), num_own=0 if own is None else len(own.targets),
        num_shared=len(shared),
        left_out={kind: figures[f"num_{kind}"] for kind in ("seen_left_out", "near_left_out", "unmapped")},
        class_names=names, is_ordinal=is_ordinal, classes_without_images=tuple(figures["classes_without_images"]),
        scores=scores, note=note.strip(), made_s=time.time(),
    )  # fmt: skip


def store_external(result: ExternalResult, answers: "pd.DataFrame") -> Path:
    """Keep a result and its answers with the run; what the same question gave before is replaced."""
    folder = run_folder(result.run_id) / FOLDER / result.key
    if not folder.parents[1].is_dir():
        raise UserError(f"The run {result.run_id[:8]} has no folder on this machine, so its result cannot be kept.")
    with atomic_path(folder / ANSWERS_FILE) as temporary:
        answers.to_parquet(temporary)
    write_json(folder / RESULT_FILE, result.to_dict())  # last: with it the folder is whole
    return folder


def external_results(run_id: str) -> list[ExternalResult]:
    """The kept results of a run, newest first; what cannot be read is passed over."""
    paths = (run_folder(run_id) / FOLDER).glob(f"*/{RESULT_FILE}")
    found = [read_kept(path, ExternalResult.from_dict) for path in paths]
    return sorted((one for one in found if one is not None), key=lambda result: -result.made_s)


def external_of_runs(run_ids: Iterable[str]) -> dict[str, list[ExternalResult]]:
    """Run id to its results, of those runs that have any: a look at a folder for each run."""
    root = runs_dir()
    return {run: kept for run in run_ids if (root / run / FOLDER).is_dir() and (kept := external_results(run))}


def external_answers(result: ExternalResult) -> "pd.DataFrame":
    """The answers behind a result, as `predictions` has them of a run; raises UserError where they are gone."""
    path = run_folder(result.run_id) / FOLDER / result.key / ANSWERS_FILE
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        raise UserError(f"The answers on {result.title} cannot be read; evaluate on it again.") from None


def external_tested(run: RunRecord, label: str, result: ExternalResult) -> TestedRun:
    """The answers behind a result as every picture of the board reads them: as if the run had been tested there."""
    about = {"class_names": result.class_names, "is_ordinal": result.is_ordinal, "dataset": result.dataset}
    return _tested(run, label, {**about, "dataset_version": result.dataset_version}, external_answers(result))


def change_table(
    results: Iterable[tuple[RunRecord, ExternalResult]], labels: Mapping[str, str], metric: Metric
) -> pd.DataFrame:
    """The changes from the own test images to another data set that are defined, one row a result.

    Columns: label, strategy, difference, low, high, is_shown (more than chance), as `difference_figure` draws them.
    """
    rows = []
    for run, result in results:
        delta = result.scores[result.metric_for(metric).key].delta
        if math.isfinite(delta.value):
            rows.append(
                {
                    "label": labels[run.run_id] + (f", {result.mapping}" if result.mapping else ""),
                    "strategy": str(run.config.get("strategy", "")), "difference": delta.value,
                    "low": delta.low, "high": delta.high,
                    "is_shown": delta.is_known and not delta.low <= 0 <= delta.high,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=["label", "strategy", "difference", "low", "high", "is_shown"])


def change_title(result: ExternalResult, metric: Metric) -> str:
    """What is subtracted from what."""
    return f"{result.metric_for(metric).title}: {result.title} minus own test"


CHANGE_WORDS = (
    "Filled: more than chance. Hollow: could be chance. Lines: 95 % intervals of the difference of two sets of images. "
    "Other data are also other cameras, people and labels: a difference says that, not why."
)


def delete_external(run_id: str, key: str) -> None:
    """Move a result to the trash."""
    source, target = run_folder(run_id) / FOLDER / key, _trashed(run_id, key)
    if key != Path(key).name or not source.is_dir():
        raise UserError("There is no such result (any more).")
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def restore_external(run_id: str, key: str) -> None:
    """Bring a deleted result back, unless it was made again meanwhile."""
    source, target = _trashed(run_id, key), run_folder(run_id) / FOLDER / key
    if not source.is_dir() or not target.parents[1].is_dir():
        raise UserError("There is no such deleted result, or its run is gone.")
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        shutil.move(source, target)


def _trashed(run_id: str, key: str) -> Path:
    return trash_dir() / FOLDER / f"{run_id}-{key}"


def _tested(run: RunRecord, label: str, about: Mapping[str, Any], answers: "pd.DataFrame") -> TestedRun:
    from lib.data.library import image_groups

    ids, dataset = answers["image_id"].to_numpy(str), str(about["dataset"])
    config = {**run.config, "dataset": dataset, "dataset_version": about["dataset_version"]}
    return TestedRun(
        run=dataclasses.replace(run, config=config),
        label=label,
        targets=answers["target"].to_numpy(np.int64),
        probabilities=answers[probability_columns(answers)].to_numpy(np.float64),
        image_ids=ids,
        class_names=list(about["class_names"]),
        is_ordinal=bool(about["is_ordinal"]),
        groups=image_groups(dataset, list(ids)),
        folds=answers["fold"].to_numpy(np.int64) if "fold" in answers else None,
    )


def _own_answers(run: RunRecord, figures: Mapping[str, Any]) -> TestedRun | None:
    """The run's own test images, with the classes merged as in the evaluation."""
    try:
        own = read_tested(run, run.label)
    except UserError:
        return None
    merged, names = list(figures.get("merged") or ()), list(figures["class_names"])
    if not merged:
        return own
    return dataclasses.replace(
        own, targets=np.array(merged)[own.targets], probabilities=own.probabilities @ np.eye(len(names))[merged],
        class_names=names, is_ordinal=bool(figures["is_ordinal"]),
    )  # fmt: skip


def _interval_of(metric: Metric, tested: TestedRun) -> Interval:
    return metric_interval(metric, tested.targets, tested.probabilities, groups=tested.groups, folds=tested.folds)


def _num_units(tested: TestedRun) -> int:
    if tested.groups is None:
        return len(tested.targets)
    named = tested.groups[tested.groups != ""]
    return len(np.unique(named)) + int((tested.groups == "").sum())


def _interval(content: Mapping[str, Any]) -> Interval:
    numbers = {key: number_of(content[key]) for key in ("value", "low", "high")}
    return Interval(**{**content, **numbers})


def _with_ends(metric: Metric, interval: Interval) -> str:
    if not interval.is_known:
        return metric.text(interval.value) + (f" (no interval: {interval.reason})" if interval.reason else "")
    return f"{metric.text(interval.value)} ({metric.text(interval.low)} to {metric.text(interval.high)})"


def _ends_of_difference(metric: Metric, interval: Interval) -> str:
    scale, places = (100, 1) if metric.is_share else (1, 2)
    low, high = (round(scale * end, places) + 0.0 for end in (interval.low, interval.high))
    return f"{low:+.{places}f} to {high:+.{places}f}"
