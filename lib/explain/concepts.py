"""Concept test: does a class's score rise along the direction in which a stage tells a concept from other images?

TCAV (Kim et al. 2018, arXiv 1711.11279) by captum. A linear classifier at a stage tells images of a concept from a
random set of counterparts; the score is the share of images of a class whose logit rises in that direction. It is
measured against many sets, and compared with directions between two random sets: a two-sided t-test, Bonferroni over
all concepts and stages. The direction lies in the channels of the stage, pooled over places, so that where in the image
a concept shows does not count.
"""

import dataclasses
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import read_kept, write_json
from lib.errors import Stopped, UserError
from lib.evaluation.comparison import SIGNIFICANCE
from lib.evaluation.metrics import wilson_interval
from lib.evaluation.resampling import Estimate, as_plain, estimate_of
from lib.explain.concept_directions import DirectionRequest, DirectionScores, score_directions
from lib.progress import Progress, ignore_progress
from lib.settings import cache_dir

MAX_TARGET_IMAGES = 40
GUESSING = 0.5
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ConceptScore:
    """One concept at one stage.

    Attributes:
        concept: its name.
        stage: where it was tested.
        score: mean share of the class's images whose logit rises towards the concept, over the counterparts; 0.5 where
            it makes no difference on the whole. The interval is of that mean.
        random: the same for directions between two random sets.
        p_value: of the difference between the two, times the number of tests (at most 1).
        separation: mean accuracy (3-fold) with which the stage tells the concept from as many counterparts; 0.5 is
            guessing. The interval is that of one draw of images.
        num_images: that show the concept.
    """

    concept: str
    stage: str
    score: Estimate
    random: Estimate
    p_value: float
    separation: Estimate
    num_images: int

    @property
    def is_shown(self) -> bool:
        """Whether it differs from random directions, and the stage can tell the concept from its counterparts at all.

        The t-test alone is not enough: any fixed set of images has some direction of its own, whatever it shows.
        """
        return self.p_value < SIGNIFICANCE and self.separation.low > GUESSING


@dataclass(frozen=True, kw_only=True)
class ConceptTest:
    """The concept test of a run: one row a concept and stage. `notes` name the concepts that could not be tested."""

    run_id: str
    run_label: str
    dataset: str
    dataset_title: str
    class_name: str
    num_target_images: int
    num_counterparts: int
    num_random: int
    counterpart: str
    rows: tuple[ConceptScore, ...]
    notes: tuple[str, ...] = ()
    seed: int = 0

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts in order."""
        return tuple(dict.fromkeys(row.concept for row in self.rows))

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in order."""
        return tuple(dict.fromkeys(row.stage for row in self.rows))

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; what is not defined is None."""
        return as_plain({**dataclasses.asdict(self), "format_version": _FORMAT})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ConceptTest":
        """Rebuild from `to_dict`; raises ValueError for another format."""
        values = dict(content)
        if values.pop("format_version", None) != _FORMAT:
            raise ValueError(f"A concept test of format {content.get('format_version')!r}, not {_FORMAT}.")
        rows = tuple(
            ConceptScore(**{**row, **{name: estimate_of(row[name]) for name in ("score", "random", "separation")}})
            for row in values["rows"]
        )
        return cls(**{**values, "rows": rows, "notes": tuple(values["notes"])})


@dataclass(frozen=True, eq=False)
class ConceptQuestion:
    """What is tested: `digest` tells the network from any other, `about` fills the fields that only name things."""

    request: DirectionRequest
    digest: str
    about: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Where the test is kept, by all that it depends on."""
        asked, digest = self.request, hashlib.sha256()
        known = [_FORMAT, self.digest, repr(asked.inputs), asked.target, asked.stages, sorted(self.about.items())]
        draws = [
            asked.num_counterparts,
            asked.num_random,
            asked.seed,
            repr((asked.source.concepts, asked.source.randoms)),
        ]
        digest.update(json.dumps([*known, *draws, repr(asked.source.concepts)], default=str).encode())
        for square in asked.source.pool:
            digest.update(square.tobytes())
        digest.update(asked.images.tobytes())
        return cache_dir() / "drift" / f"{digest.hexdigest()[:32]}.concepts.json"

    def kept(self) -> ConceptTest | None:
        """The test as it is kept; None if there is none that can be read."""
        return read_kept(self.path, ConceptTest.from_dict)


def measure_concepts(
    question: ConceptQuestion,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> ConceptTest:
    """Test every concept at every stage; the result is kept.

    Raises:
        Stopped: `should_stop()` turned true, or the listener raised it.
        UserError: no image of the class, a head without gradients, or too few counterparts.
    """
    from lib.explain.attribution import is_differentiable

    asked = question.request
    if not is_differentiable(asked.classifier):
        raise UserError("The head of this run passes no gradient to the image, so no direction can be tested.")
    if not len(asked.images):
        raise UserError("No image of that class is left to ask, so nothing can be tested.")
    if (kept := question.kept()) is not None:
        return kept

    def report(done: int, total: int) -> None:
        if should_stop():
            raise Stopped("Stopped while testing concepts.")
        progress(done, total, "testing concepts")

    found = score_directions(asked, report)
    rows = tuple(
        ConceptScore(
            concept=concept.name, stage=stage, score=_mean(scores.concept), random=_mean(scores.random),
            p_value=min(1.0, _p_value(scores.concept, scores.random) * len(found)),
            separation=_told_apart(scores), num_images=len(concept.shown),
        )
        for concept, stage, scores in found
    )  # fmt: skip
    test = ConceptTest(
        **question.about, num_target_images=len(asked.images), num_counterparts=asked.num_counterparts,
        num_random=asked.num_random, counterpart=asked.source.concepts[0].counterpart, rows=rows,
        notes=asked.source.notes, seed=asked.seed,
    )  # fmt: skip
    write_json(question.path, test.to_dict())
    return test


def _mean(values: Sequence[float]) -> Estimate:
    """The mean with its t interval, cut to shares."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, math.nan, math.nan)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(t.ppf(0.975, len(values) - 1)) * error
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), error)


def _told_apart(scores: DirectionScores) -> Estimate:
    accuracy = float(np.mean(scores.separation))
    return Estimate(accuracy, *wilson_interval(accuracy * scores.num_told, scores.num_told))


def _p_value(concept: Sequence[float], random: Sequence[float]) -> float:
    """Welch's two-sided t-test; scores that do not vary at all differ for sure, or not at all."""
    from scipy.stats import ttest_ind

    if np.ptp(concept) == 0 and np.ptp(random) == 0:
        return 1.0 if concept[0] == random[0] else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nearly equal scores
        found = float(ttest_ind(concept, random, equal_var=False).pvalue)
    return found if math.isfinite(found) else 1.0
