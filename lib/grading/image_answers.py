"""The same images under several runs: what each run answers, and which images are worth a look.

A class is always the verdict of lib/evaluation/verdict.py: of a run with limits of the expected grade, what those give
where that rule is chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lib.atomic import read_json_or_empty
from lib.errors import UserError
from lib.evaluation.verdict import EXPECTED_GRADE, MOST_PROBABLE, decided_classes
from lib.grading.manifest import manifest_thresholds
from lib.registry import Registry
from lib.tracking.records import RunRecord
from lib.tracking.state import BUNDLE_FOLDER
from lib.tracking.tested import TestedRun, comparable_runs
from lib.training.strategies import STRATEGIES, trains_stages


@dataclass(frozen=True, eq=False)
class RunAnswers:
    """What one run answers to N images: class numbers (N,), and its own probability of that class (N,)."""

    tested: TestedRun
    answers: np.ndarray
    confidences: np.ndarray
    rule: str

    @property
    def label(self) -> str:
        """What the run is called."""
        return self.tested.label

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.tested.run.run_id

    @cached_property
    def is_right(self) -> np.ndarray:
        """Whether each answer is the true class (N,)."""
        return np.asarray(self.answers == self.tested.targets)

    @property
    def is_frozen(self) -> bool:
        """Whether the run left the pretrained network as it was."""
        strategy = _strategy(self.tested.run)
        return strategy in STRATEGIES and not trains_stages(strategy) and STRATEGIES.get(strategy).uses_pretrained

    @property
    def is_fine_tuned(self) -> bool:
        """Whether the run changed stages of a pretrained network."""
        strategy = _strategy(self.tested.run)
        return trains_stages(strategy) and STRATEGIES.get(strategy).uses_pretrained


@dataclass(frozen=True, eq=False)
class SharedAnswers:
    """The images (N) that several runs were tested on, and their answers.

    Attributes:
        runs: in the order given, those that can be held against the first one.
        said: why others cannot, and how many images are shared where not all are, in sentences.
    """

    runs: tuple[RunAnswers, ...]
    said: tuple[str, ...] = ()

    @property
    def image_ids(self) -> np.ndarray:
        """Ids (N,)."""
        return self.runs[0].tested.image_ids

    @property
    def targets(self) -> np.ndarray:
        """True class numbers (N,)."""
        return self.runs[0].tested.targets

    @property
    def class_names(self) -> list[str]:
        """K names."""
        return self.runs[0].tested.class_names

    @cached_property
    def right(self) -> np.ndarray:
        """Whether each run is right on each image (R, N)."""
        return np.stack([run.is_right for run in self.runs])

    @cached_property
    def answers(self) -> np.ndarray:
        """Class numbers (R, N)."""
        return np.stack([run.answers for run in self.runs])

    def table(self, rows: np.ndarray) -> pd.DataFrame:
        """The answers to some images, one row an image: id, true class, and class and confidence of each run."""
        names = np.array(self.class_names, dtype=object)
        columns: dict[str, Any] = {"image_id": self.image_ids[rows], "true class": names[self.targets[rows]]}
        for run in self.runs:
            columns[run.label] = names[run.answers[rows]]
            columns[f"{run.label}: confidence"] = run.confidences[rows]
        return pd.DataFrame(columns)


def run_limits(run: RunRecord, num_classes: int) -> list[float] | None:
    """The limits of a run's expected grade (K - 1), from its manifest; None where it has none."""
    manifest = read_json_or_empty(run.folder / BUNDLE_FOLDER / "manifest.json")
    try:
        return manifest_thresholds(manifest, num_classes)
    except UserError:
        return None


def shared_answers(
    tested: Sequence[TestedRun], limits: Mapping[str, Sequence[float] | None] | None = None
) -> SharedAnswers:
    """The answers of runs to the images that all of them were tested on.

    Runs of another data set, other classes or other images than the first one are left out (`comparable_runs`).

    Args:
        tested: at least one run.
        limits: run id to the limits of the expected grade, where that decides; else the most probable class does.
    """
    kept, said = comparable_runs(tested)
    return SharedAnswers(tuple(_answers(one, (limits or {}).get(one.run.run_id)) for one in kept), tuple(said))


def _answers(tested: TestedRun, limits: Sequence[float] | None) -> RunAnswers:
    answers = decided_classes(tested.probabilities, limits)
    confidences = tested.probabilities[np.arange(len(answers)), answers]
    return RunAnswers(tested, answers, confidences, EXPECTED_GRADE if limits else MOST_PROBABLE)


def answers_by_image(tested: TestedRun, limits: Sequence[float] | None = None) -> pd.DataFrame:
    """What a run says of each image that it was tested on: image_id, predicted, outcome, confidence, error.

    predicted is the name of its class, outcome "right" or "wrong", confidence its probability of that answer, error
    what it does not give the true class. With `limits` the expected grade decides.
    """
    own, names = _answers(tested, limits), np.array(tested.class_names, dtype=object)
    given = tested.probabilities[np.arange(len(tested.targets)), tested.targets]
    return pd.DataFrame({
        "image_id": tested.image_ids, "predicted": names[own.answers],
        "outcome": np.where(own.is_right, "right", "wrong"), "confidence": own.confidences, "error": 1 - given,
    })  # fmt: skip


# Which images: each filter gives the places of its images in the order in which they are shown.


@dataclass(frozen=True)
class ImageFilter:
    """A question to the images.

    Attributes:
        name: in links.
        title: on the page.
        rows: places (n,) of the images, of the answers and the numbers of the chosen runs.
        sentence: what was found, of the answers, the chosen runs and the places of all images of the filter.
        num_chosen: how many runs it asks for: 0, 1, or 2 (a frozen and a fine-tuned one).
        num_runs: how many runs there must be.
        may_be_any: whether "any run" is an answer too.
    """

    name: str
    title: str
    rows: Callable[[SharedAnswers, Sequence[int]], np.ndarray]
    sentence: Callable[[SharedAnswers, Sequence[int], np.ndarray], str]
    num_chosen: int = 0
    num_runs: int = 1
    may_be_any: bool = False


def _of(shown: np.ndarray, shared: SharedAnswers) -> str:
    return f"{len(shown):,} of {len(shared.targets):,} images"


def _only_right(shared: SharedAnswers, chosen: Sequence[int]) -> np.ndarray:
    others = np.delete(shared.right, chosen[0], axis=0)
    return np.flatnonzero(shared.right[chosen[0]] & ~others.any(axis=0))


def _mistakes(shared: SharedAnswers, chosen: Sequence[int]) -> np.ndarray:
    """Wrong answers by their confidence, the surest first; of several runs, each image by its surest wrong answer."""
    runs = [shared.runs[number] for number in chosen] or list(shared.runs)
    sure = np.max([np.where(run.is_right, -1.0, run.confidences) for run in runs], axis=0)
    order = np.argsort(-sure, kind="stable")
    return order[sure[order] >= 0]


def _mistakes_sentence(shared: SharedAnswers, chosen: Sequence[int], rows: np.ndarray) -> str:
    who = shared.runs[chosen[0]].label if chosen else "some run" if len(shared.runs) > 1 else shared.runs[0].label
    return f"{_of(rows, shared)} were answered wrongly by {who}, the surest mistakes first."


def _changed(shared: SharedAnswers, chosen: Sequence[int]) -> np.ndarray:
    before, after = chosen
    return np.flatnonzero(shared.answers[before] != shared.answers[after])


def _changed_sentence(shared: SharedAnswers, chosen: Sequence[int], rows: np.ndarray) -> str:
    before, after = (shared.right[number][rows] for number in chosen)
    names = [shared.runs[number].label for number in chosen]
    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    return (
        f"{_of(rows, shared)} are answered otherwise by {names[1]} than by {names[0]}: {gained:,} became right, "
        f"{lost:,} became wrong, {len(rows) - gained - lost:,} stayed wrong."
    )


FILTERS: Registry[ImageFilter] = Registry("filter")
for _filter in (
    ImageFilter(
        "all", "All images",
        lambda shared, _: np.arange(len(shared.targets)),
        lambda shared, _, rows: f"All {len(rows):,} images that {_who(shared)} tested on.",
    ),
    ImageFilter(
        "only_right", "Only one run right", _only_right,
        lambda shared, chosen, rows: f"{_of(rows, shared)}: only {shared.runs[chosen[0]].label} is right.",
        num_chosen=1, num_runs=2,
    ),
    ImageFilter(
        "all_wrong", "All wrong",
        lambda shared, _: np.flatnonzero(~shared.right.any(axis=0)),
        lambda shared, _, rows: f"{_of(rows, shared)}: {_all(shared)} wrong.",
    ),
    ImageFilter(
        "all_right", "All right",
        lambda shared, _: np.flatnonzero(shared.right.all(axis=0)),
        lambda shared, _, rows: f"{_of(rows, shared)}: {_all(shared)} right.",
    ),
    ImageFilter("mistakes", "Most confident mistakes", _mistakes, _mistakes_sentence, num_chosen=1, may_be_any=True),
    ImageFilter(
        "changed", "Changed by fine-tuning", _changed, _changed_sentence, num_chosen=2, num_runs=2,
    ),
):  # fmt: skip
    FILTERS.add(_filter)


def _who(shared: SharedAnswers) -> str:
    return "the run was" if len(shared.runs) == 1 else f"all {len(shared.runs)} runs were"


def _all(shared: SharedAnswers) -> str:
    return "the run is" if len(shared.runs) == 1 else f"all {len(shared.runs)} runs are"


def choices_of(spec: ImageFilter, shared: SharedAnswers) -> tuple[tuple[int, ...], ...]:
    """For each run that a filter asks for, the numbers of the runs that fit; () where it asks for none."""
    every = tuple(range(len(shared.runs)))
    if spec.num_chosen < 2:
        return (every,) * spec.num_chosen
    frozen = tuple(number for number in every if shared.runs[number].is_frozen)
    return frozen, tuple(number for number in every if shared.runs[number].is_fine_tuned)


def why_not(spec: ImageFilter, shared: SharedAnswers) -> str:
    """Why these runs do not allow a filter; "" where they do."""
    if len(shared.runs) < spec.num_runs:
        return f"{spec.title}: select {spec.num_runs} runs that were tested on the same images."
    if any(not numbers for numbers in choices_of(spec, shared)):
        return f"{spec.title}: select a run with a frozen network and a fine-tuned one."
    return ""


def _strategy(run: RunRecord) -> str:
    return str(run.config.get("strategy"))
