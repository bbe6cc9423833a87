"""The network of a run with some stages put back as they were before training, evaluated at once on its test images."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import atomic_path, digest_of, read_kept, write_json
from lib.errors import Stopped, UserError
from lib.evaluation.comparison import compare_paired
from lib.evaluation.headline import headline_metric
from lib.evaluation.intervals import metric_interval
from lib.evaluation.metric_table import Metric
from lib.evaluation.metrics import accuracy
from lib.evaluation.resampling import Estimate
from lib.explain.drift import ResetTable, StageReset
from lib.grading.fine_tuned import moved_stages, start_of
from lib.grading.grader import Grader
from lib.grading.manifest import has_grades
from lib.grading.new_images import new_test_images
from lib.grading.stage_source import run_network
from lib.progress import Progress, ignore_progress
from lib.settings import cache_dir

if TYPE_CHECKING:
    from torch import nn

    from lib.models.classifier import Classifier

_FORMAT = 1


def with_stages_of(classifier: "Classifier", start: "nn.ModuleDict", stages: Sequence[str]) -> "Classifier":
    """The classifier with the named stages of `start` in place of its own.

    A tree of modules of its own, in evaluation mode: the given ones are not touched, and all tensors are shared.

    Raises:
        UserError: the classifier has no stage of that name.
    """
    from torch import nn

    from lib.models.folding import share_module_tree

    if unknown := [name for name in stages if name not in classifier.stages]:
        raise UserError(
            f"The network of this run has no stage {unknown[0]!r}. Choose one of: {', '.join(classifier.stages)}."
        )
    mixed: Classifier = share_module_tree(classifier)  # type: ignore[assignment]
    mixed.stages = nn.ModuleDict(
        {name: share_module_tree(start[name]) if name in stages else mixed.stages[name] for name in mixed.stages}
    )
    return mixed.eval()


@dataclass(frozen=True, eq=False)
class ResetQuestion:
    """Stages of a run to be put back, and the data set whose test images judge it: the one that it was trained on."""

    grader: Grader
    dataset: Any
    label: str = ""

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The stages that can be put back, in order; raises as `moved_stages`."""
        return moved_stages(self.grader)

    @cached_property
    def images(self) -> tuple[Any, np.ndarray, np.ndarray]:
        """The data set as it takes part, rows (n,) of test images that the run has not seen, and their targets (n,)."""
        return new_test_images(self.grader, self.dataset)

    @cached_property
    def path(self) -> Path:
        """Where the table is kept, by all that it depends on."""
        taken, rows, _ = self.images
        start = start_of(self.grader)
        described = [
            _FORMAT, self.grader.run, run_network(self.grader).source.digest, start.digest,
            taken.table["image_id"].iloc[rows].tolist(), taken.table["target"].iloc[rows].tolist(),
        ]  # fmt: skip
        return cache_dir() / "drift" / f"{digest_of(described)}.resets.json"

    def kept(self) -> ResetTable | None:
        """What was measured so far; None if that is nothing."""
        return read_kept(self.path, ResetTable.from_dict)

    def kept_answers(self) -> np.ndarray | None:
        """The probabilities (n, K) that the run itself gives to the images; None if they were not computed yet."""
        try:
            found: np.ndarray = np.load(self.path.with_suffix(".npy"), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found

    def each_in_turn(self) -> tuple[tuple[str, ...], ...]:
        """Every stage that could move, alone, the last one first, and then all of them together."""
        single = tuple((name,) for name in reversed(self.trained))
        return (*single, self.trained) if len(single) > 1 else single


def measure_resets(
    question: ResetQuestion,
    resets: Sequence[Sequence[str]],
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> ResetTable:
    """Evaluate the run with stages put back, one reset (some stages) after the other; each is kept once it is there.

    Raises:
        Stopped: `should_stop()` turned true, or the listener raised it; resets that were ready stay.
        UserError: as `new_test_images` and `start_of`, or a stage that the network does not have.
    """
    order = list(question.grader.classifier.stages)
    if unknown := [name for reset in resets for name in reset if name not in order]:
        raise UserError(f"The network of this run has no stage {unknown[0]!r}. Choose one of: {', '.join(order)}.")
    wanted = [tuple(sorted(set(reset), key=order.index)) for reset in resets]
    table = question.kept()
    missing = [reset for reset in dict.fromkeys(wanted) if table is None or table.find(reset) is None]
    if table is not None and not missing:
        return table
    taken, rows, targets = question.images
    groups = taken.table["group_id"].fillna("").astype(str).to_numpy()[rows]
    num_passes, start = len(missing) + 1, start_of(question.grader).build()

    def answers(classifier: "Classifier", place: int, what: str) -> np.ndarray:
        grader = question.grader
        if place:  # a copy of the run's grader that holds another network; it turns no image away
            grader = Grader(classifier, grader.manifest, seen=grader.seen, run=grader.run, device=grader.device)
        parts = []
        for first in range(0, len(rows), grader.batch_size):
            if should_stop():
                raise Stopped("Stopped while putting stages back.")
            progress(place * len(rows) + first, num_passes * len(rows), what)
            parts.append(grader.scores(taken.pixels[rows[first : first + grader.batch_size]])[0])
        return np.concatenate(parts)

    own = question.kept_answers()
    if own is None or len(own) != len(rows):
        own = answers(question.grader.classifier, 0, "test images through the run's network")
        with atomic_path(question.path.with_suffix(".npy")) as temporary, temporary.open("wb") as opened:
            np.save(opened, own)
    if table is None:
        table = _table(question, taken, targets, own, groups)
    for place, stages in enumerate(missing, start=1):
        mixed = with_stages_of(question.grader.classifier, start, stages)
        found = answers(mixed, place, f"test images with {_named(stages)} put back")
        row = _reset(stages, targets, (own, found), groups=groups, table=table)
        table = dataclasses.replace(table, rows=(*table.rows, row))
        write_json(question.path, table.to_dict())
    return table


def _named(stages: Sequence[str]) -> str:
    return stages[0] if len(stages) == 1 else f"{stages[0]} to {stages[-1]}"


def _table(question: ResetQuestion, taken: Any, targets: np.ndarray, own: np.ndarray, groups: np.ndarray) -> ResetTable:
    is_ordinal = has_grades(question.grader.manifest, taken)
    metric = headline_metric(is_ordinal=is_ordinal, num_classes=len(question.grader.class_names))
    return ResetTable(
        run_id=question.grader.run, run_label=question.label or question.grader.run[:8], metric=metric.key,
        num_images=len(targets), num_units=len(set(groups) - {""}) + int((groups == "").sum()),
        score=_score(metric, targets, own, groups), accuracy=accuracy(targets, own),
        titles={stage.name: stage.title for stage in question.grader.classifier.stage_specs[:-1]},
        split_caveat=taken.spec.split_caveat,
    )  # fmt: skip


def _reset(
    stages: tuple[str, ...],
    targets: np.ndarray,
    answers: tuple[np.ndarray, np.ndarray],
    *,
    groups: np.ndarray,
    table: ResetTable,
) -> StageReset:
    """The row of one reset, of the run's answers (n, K) and those with the stages put back."""
    own, found = answers
    units = groups if any(groups) else None
    pair = compare_paired(targets, own, found, groups=units, metric=table.headline)
    return StageReset(
        stages=stages, score=_score(table.headline, targets, found, groups),
        accuracy=accuracy(targets, found), cost=Estimate(pair.difference, pair.low, pair.high), p_value=pair.p_value,
        num_changed=int((own.argmax(1) != found.argmax(1)).sum()),
    )  # fmt: skip


def _score(metric: Metric, targets: np.ndarray, answers: np.ndarray, groups: np.ndarray) -> Estimate:
    found = metric_interval(metric, targets, answers, groups=groups if any(groups) else None)
    return Estimate(found.value, found.low, found.high)
