"""What each stage of a network is worth for a data set: the table behind the curve, and what can be said of it.

A linear probe on the pooled output of every stage answers held-out images (Alain and Bengio 2016, arXiv 1610.01644),
once for the network as published, once with random weights, and perhaps for the network of a run. What stands between
the first two is borrowed. Imports no torch: pages read it where it is kept.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.evaluation.metric_table import METRICS, Metric
from lib.evaluation.resampling import DrawnScores, Estimate, as_plain, draw_scores, estimate_of

PRETRAINED, RANDOM, RUN = "pretrained", "random", "run"
CURVES = (PRETRAINED, RANDOM, RUN)
_FORMAT = 1
_ESTIMATES = ("pretrained", "random", "run", "borrowed", "behind", "gained")


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage; an estimate is None where its curve was not measured, or its network ends before.

    Attributes:
        stage: its name in the table of backbones, with its `title`.
        num_features: numbers an image that the probe reads, D.
        head_parameters: what a linear head on this stage trains, and nothing else.
        right_parameters: what is trained where the network is cut behind this stage and all to the right of the cut is
            new or trained: the later stages up to the one that heads read, and the head there.
        borrowed: pretrained minus random.
        behind: the best stage's score minus this one's.
        gained: the run's score minus the pretrained network's.
    """

    stage: str
    title: str
    num_features: int
    head_parameters: int
    right_parameters: int
    pretrained: Estimate | None = None
    random: Estimate | None = None
    run: Estimate | None = None
    borrowed: Estimate | None = None
    behind: Estimate | None = None
    gained: Estimate | None = None

    def score(self, curve: str) -> Estimate | None:
        """Its point on a curve of `CURVES`."""
        found: Estimate | None = getattr(self, curve)
        return found


@dataclass(frozen=True, kw_only=True)
class StageWorth:
    """The curves of one network on one data set.

    Attributes:
        rows: the stages in order.
        best: index of the stage to cut at: the earliest within one standard error of the highest, of the difference
            between the two on the same images. `top` is the highest itself.
        best_of_run: the same of the run's own curve.
        metric: key of what is scored (lib/evaluation/headline.py).
        chance: what always answering `commonest_class` scores on the same images.
        num_units: patients, or whatever groups are kept together; as many as images where each stands alone.
        num_folds: of the cross-validation; 0 where probes were fitted on the training and validation images and
            scored on the test images.
        note: how the run's network reads images, where that is another way than the other networks'.
        is_complete: False while a curve that was asked for is still to come.
        seconds: what each pass over the images took (0.0 from the cache), and the probes of all curves.
    """

    dataset: str
    dataset_title: str
    dataset_version: str
    backbone: str
    backbone_title: str
    pretrained_on: str
    rows: tuple[StageRow, ...]
    best: int
    top: int
    best_of_run: int | None = None
    metric: str
    is_ordinal: bool
    chance: float
    commonest_class: str
    num_fitted: int
    num_scored: int
    num_units: int
    num_folds: int = 0
    split_seed: int = 0
    random_seed: int = 0
    target_map: str = ""
    run_id: str = ""
    run_label: str = ""
    split_caveat: str = ""
    note: str = ""
    is_complete: bool = True
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def headline(self) -> Metric:
        """The metric itself."""
        return METRICS[self.metric]

    @property
    def main(self) -> str:
        """The curve that the best stage is chosen on: the pretrained one where there is one."""
        return next(curve for curve in CURVES if self.rows[0].score(curve) is not None)

    @property
    def curves(self) -> tuple[str, ...]:
        """The curves that were measured so far."""
        return tuple(curve for curve in CURVES if self.rows[0].score(curve) is not None)

    def number(self, stage: str) -> int:
        """The index of a stage; raises UserError if there is none of that name."""
        names = [row.stage for row in self.rows]
        if stage not in names:
            raise UserError(f"{self.backbone_title} has no stage {stage!r} here. Choose one of: {', '.join(names)}.")
        return names.index(stage)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; what is not defined is None."""
        return as_plain({**dataclasses.asdict(self), "seconds": dict(self.seconds), "format_version": _FORMAT})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "StageWorth":
        """Rebuild from `to_dict`; raises ValueError for another format."""
        values = dict(content)
        if values.pop("format_version", None) != _FORMAT:
            raise ValueError(f"A table of stages of format {content.get('format_version')!r}, not {_FORMAT}.")
        return cls(**{**values, "rows": tuple(_row(row) for row in values["rows"])})


def _row(content: Mapping[str, Any]) -> StageRow:
    values = dict(content)
    for name in _ESTIMATES:
        found = values.get(name)
        if found is not None:
            values[name] = estimate_of(found)
    return StageRow(**values)


def judge_answers(
    rows: Sequence[StageRow],
    answers: Mapping[str, Sequence[np.ndarray]],
    targets: np.ndarray,
    *,
    metric: Metric,
    num_classes: int,
    groups: np.ndarray | None,
    seed: int = 0,
) -> tuple[tuple[StageRow, ...], int, int, int | None]:
    """Fill the estimates of stages, and choose the best; all differences are of the same draws of the same images.

    Args:
        rows: the stages without estimates.
        answers: by curve, class numbers (n,) of each stage, of perhaps fewer stages than there are rows.
        targets: true class numbers (n,).
        metric: what is scored.
        num_classes: K.
        groups: patients (n,), kept together; None where each image stands alone.
        seed: of the draws.

    Returns:
        The rows, then the indices `best`, `top` and `best_of_run` of `StageWorth`.

    Raises:
        UserError: no stage has a score.
    """
    place: dict[tuple[str, int], int] = {}
    sets: list[np.ndarray] = []
    for curve in CURVES:
        for number, own in enumerate(answers.get(curve, ())):
            place[curve, number] = len(sets)
            sets.append(own)
    drawn = draw_scores(metric, targets, np.stack(sets), num_classes=num_classes, groups=groups, seed=seed)
    main = next(curve for curve in CURVES if (curve, 0) in place)
    best, top = _choose(drawn, [place[main, number] for number in range(len(answers[main]))])
    of_run = None
    if (RUN, 0) in place:
        of_run = _choose(drawn, [place[RUN, number] for number in range(len(answers[RUN]))])[0]

    def difference(first: tuple[str, int], second: tuple[str, int]) -> Estimate | None:
        return drawn.difference(place[first], place[second]) if first in place and second in place else None

    def filled(number: int, row: StageRow) -> StageRow:
        scores: dict[str, Any] = {
            curve: drawn.estimate(place[curve, number]) for curve in CURVES if (curve, number) in place
        }
        return dataclasses.replace(
            row,
            **scores,
            borrowed=difference((PRETRAINED, number), (RANDOM, number)),
            behind=difference((main, best), (main, number)),
            gained=difference((RUN, number), (PRETRAINED, number)),
        )

    judged = tuple(filled(number, row) for number, row in enumerate(rows))
    return judged, best, top, of_run


def _choose(drawn: DrawnScores, sets: Sequence[int]) -> tuple[int, int]:
    """The earliest set within one standard error of the highest, and the highest, counted from 0."""
    scores = np.nan_to_num(drawn.scores[list(sets)], nan=-np.inf)
    if not np.isfinite(scores).any():
        raise UserError(
            f"The {drawn.metric.word} of no stage is defined: the {drawn.num_images} images to score are all of one "
            "class. Choose another split seed."
        )
    top = int(scores.argmax())
    gaps = [drawn.difference(sets[top], one) for one in sets]
    best = next(number for number, gap in enumerate(gaps) if number == top or gap.value <= gap.error)
    return best, top
