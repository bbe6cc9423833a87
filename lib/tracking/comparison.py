"""Which of several runs is better, by how much, and is it real? What page, command and report say, computed once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.evaluation.cautions import class_cautions, constant_predictor, many_looks
from lib.evaluation.comparison import Difference, PairedComparison, compare_paired, compare_series, corrected
from lib.evaluation.headline import Score, best_of, in_order, key_of_tested_images
from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import METRICS, Metric
from lib.tracking.records import RunRecord
from lib.tracking.scores import beside_metrics, run_score
from lib.tracking.state import GROUP_TAG
from lib.tracking.tested import TestedRun, on_shared_images

_MOST_NAMED = 3  # rows by name in one sentence
MAX_ALL_PAIRS = 8  # rows; of more, each is compared with the best alone, and corrected as if all pairs had been
SEEDS = "seeds"  # the method of a series: the mean of its seeds, more and less their standard deviation


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run, or a series of seeds, with its value of the metric.

    Attributes:
        label: what it is called.
        runs: of a series all of its runs that were given.
        value: with its 95 % interval; of a series the mean, more and less the standard deviation.
        test_set: which images were tested.
        num_images: how many.
        values: of the seeds of a series.
        tested: the answers; of a series none, since its runs answer each for themselves.
    """

    label: str
    runs: tuple[RunRecord, ...]
    value: Interval
    test_set: str = ""
    num_images: int = 0
    values: tuple[float, ...] = ()
    tested: TestedRun | None = None

    @property
    def key(self) -> str:
        """The id of the run, or of the first run of a series."""
        return self.runs[0].run_id

    @property
    def is_series(self) -> bool:
        """Whether it is several seeds of one training."""
        return len(self.runs) > 1

    def words(self, metric: Metric) -> str:
        """The value with its interval, or why there is none."""
        found = self.value
        if self.is_series:
            spread = "" if not found.is_known else f" ± {metric.difference_text(found.high - found.value)}"
            return f"{metric.text(found.value)}{spread} (standard deviation of {len(self.values)} seeds)"
        if found.is_known:
            return f"{metric.text(found.value)} ({metric.text(found.low)} to {metric.text(found.high)})"
        reason = found.reason or "no interval"
        return reason if not math.isfinite(found.value) else f"{metric.text(found.value)} ({reason})"


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """What comes of two rows: a sentence in any case, and the comparison where there is one; `a` and `b` are keys."""

    a: str
    b: str
    note: str = ""
    found: Difference | None = None

    @property
    def sentence(self) -> str:
        """In words."""
        return f"{self.found.sentence}{self.note}" if self.found is not None else self.note

    def to_dict(self) -> dict[str, Any]:
        """What the command prints; `n` is 0 where nothing was compared image by image."""
        told: dict[str, Any] = {"run_a": self.a, "run_b": self.b, "n": getattr(self.found, "n", 0)}
        if self.found is not None:
            keys = ("metric", "difference", "low", "high", "p_value", "p_holm", "num_tests", "is_significant")
            told |= {key: getattr(self.found, key) for key in keys}
        return {**told, "sentence": self.sentence}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows, the best first in each test set, every pair of them, the verdict in a sentence or two, and cautions."""

    metric: Metric
    rows: tuple[Row, ...]
    pairs: tuple[RunComparison, ...]
    best: str  # the key of the best row; "" where none is defined
    verdict: str
    cautions: tuple[str, ...]

    def against_best(self) -> list[tuple[Row, RunComparison]]:
        """Every other row with its comparison to the best one, in the order of the rows."""
        by_key = {row.key: row for row in self.rows}
        of_best = [pair for pair in self.pairs if self.best in (pair.a, pair.b)]
        ours = {(pair.b if pair.a == self.best else pair.a): pair for pair in of_best}
        return [(by_key[key], ours[key]) for key in by_key if key in ours]

    def behind_best(self) -> list[dict[str, Any]]:
        """How far each other row lies from the best one: what `difference_figure` draws, with the p values beside it.

        Rows without a defined difference are left out; the interval is of this row minus the best, NaN where undefined.
        """
        behind = []
        for row, pair in self.against_best():
            one = pair.found
            if one is None or not math.isfinite(one.difference):
                continue
            sign = -1 if pair.a == self.best else 1
            low, high = sorted((sign * one.low, sign * one.high)) if math.isfinite(one.low) else (math.nan, math.nan)
            behind.append(
                {
                    "label": row.label, "strategy": str(row.runs[0].config.get("strategy", "")),
                    "difference": sign * one.difference, "low": low, "high": high, "is_shown": one.is_significant,
                    "p_value": one.p_value, "p_holm": one.p_holm,
                }
            )  # fmt: skip
        return behind

    def to_dict(self) -> dict[str, Any]:
        """What the command prints."""
        rows = [
            {
                "run_ids": [run.run_id for run in row.runs], "name": row.label, "value": row.value.value,
                "low": row.value.low, "high": row.value.high, "method": row.value.method, "reason": row.value.reason,
                "num_images": row.num_images, "num_units": row.value.num_units,
                "values": list(row.values), "words": row.words(self.metric),
            }
            for row in self.rows
        ]  # fmt: skip
        return {
            "metric": self.metric.key, "rows": rows, "best": self.best, "verdict": self.verdict,
            "pairs": [pair.to_dict() for pair in self.pairs], "warnings": list(self.cautions),
        }  # fmt: skip


Reader = Callable[[RunRecord], TestedRun]


def compare(
    runs: Sequence[RunRecord],
    metric: Metric,
    labels: Mapping[str, str],
    read: Reader,
    *,
    num_looks: Mapping[str, int] | None = None,
) -> Comparison:
    """Compare runs by one metric.

    Seeds of one series are one row. Every two rows that were tested on shared images are compared, and the p values are
    corrected together (Holm), since the best one was chosen by these very figures.

    Args:
        runs: in any order.
        metric: of the table.
        labels: run_id -> what to call it.
        read: gives a run's answers; raises UserError where there are none.
        num_looks: test set -> how many runs were tested on it.
    """
    notes: dict[str, str] = {}
    made = [_row(members, metric, labels, read, notes) for members in _by_series(runs)]
    by_key = {row.key: row for row in made}
    scores = {row.key: _score(row, metric) for row in made}
    rows = [by_key[key] for key in in_order(scores)]
    leader = best_of(scores)
    chosen = list(combinations(rows, 2))
    num_tests = len(chosen)
    if len(rows) > MAX_ALL_PAIRS and leader is not None:
        chosen = [pair for pair in chosen if leader[0] in (pair[0].key, pair[1].key)]
    pairs = [_pair(a, b, metric, notes, num_tests=num_tests) for a, b in chosen]
    pairs = _corrected(pairs, num_tests if len(chosen) < num_tests else 0)
    found = Comparison(
        metric=metric, rows=tuple(rows), pairs=tuple(pairs), best=leader[0] if leader else "", verdict="", cautions=(),
    )  # fmt: skip
    cautions = (*_cautions(rows, by_key.get(found.best), metric, num_looks or {}), *notes.values())
    return replace(found, verdict=verdict_sentence(found), cautions=tuple(dict.fromkeys(cautions)))


def _by_series(runs: Sequence[RunRecord]) -> list[tuple[RunRecord, ...]]:
    """Runs of one series of seeds together, in the order of the first of them."""
    groups: dict[Any, list[RunRecord]] = {}
    for run in runs:
        series = run.tags.get(GROUP_TAG)
        groups.setdefault((series, run.config.get("dataset")) if series else run.run_id, []).append(run)
    return [tuple(members) for members in groups.values()]


def _row(
    members: tuple[RunRecord, ...], metric: Metric, labels: Mapping[str, str], read: Reader, notes: dict[str, str]
) -> Row:
    own = [_run_row(run, metric, labels[run.run_id], read, notes) for run in members]
    if len(own) == 1:
        return own[0]
    values = [row.value.value for row in own]
    if len({row.test_set for row in own}) > 1:
        notes[members[0].run_id] = f"The seeds of {_series_label(own)} were tested on different images."
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    interval = Interval(mean, mean - deviation, mean + deviation, SEEDS)
    if not math.isfinite(mean):
        interval = Interval(math.nan, reason="not defined for every seed")
    return Row(
        label=_series_label(own), runs=members, value=interval, test_set=own[0].test_set,
        num_images=own[0].num_images, values=tuple(values),
    )  # fmt: skip


def _series_label(rows: Sequence[Row]) -> str:
    """What the labels of the seeds have in common, and how many there are."""
    parts = [row.label.split(" · ") for row in rows]
    shared = [part for part in parts[0] if all(part in other for other in parts) and not part.startswith("seed ")]
    return f"{' · '.join(shared) or parts[0][0]} · {len(rows)} seeds"


def _run_row(run: RunRecord, metric: Metric, label: str, read: Reader, notes: dict[str, str]) -> Row:
    score = run_score(run)
    test_set, num = (score.test_set, score.num) if score is not None else ("", 0)
    try:
        tested = read(run)
    except UserError as error:
        # What its figures say remains; nothing can be tested.
        notes[run.run_id] = f"Not compared: {error}"
        return Row(label=label, runs=(run,), value=stored_interval(run, metric), test_set=test_set, num_images=num)
    test_set = test_set or key_of_tested_images(tested.image_ids, tested.targets)
    num = len(tested.targets)
    if not metric.fits(is_ordinal=tested.is_ordinal, num_classes=len(tested.class_names)):
        value = Interval(math.nan, reason=f"{metric.word} needs ordered classes")
    else:
        value = tested.interval(metric)
    return Row(label=label, runs=(run,), value=value, test_set=test_set, num_images=num, tested=tested)


def stored_interval(run: RunRecord, metric: Metric) -> Interval:
    """What the run's own figures say of a metric."""
    figures = {**run.metrics, **run.summary}
    figures = {**beside_metrics(run.folder, figures), **figures}
    value, low, high = (figures.get(f"test_{metric.key}{end}") for end in ("", "_low", "_high"))
    if not isinstance(value, int | float):
        return Interval(math.nan, reason="no result")
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return Interval(float(value), reason="no interval: its answers are gone")
    return Interval(float(value), float(low), float(high), "stored")


def _score(row: Row, metric: Metric) -> Score | None:
    if not math.isfinite(row.value.value) and row.value.reason == "no result":
        return None
    return Score(metric=metric, value=row.value.value, low=row.value.low, high=row.value.high, test_set=row.test_set)


def _pair(first: Row, second: Row, metric: Metric, notes: Mapping[str, str], *, num_tests: int) -> RunComparison:
    a, b = first.label, second.label
    keys: dict[str, Any] = {"a": first.key, "b": second.key}
    for row in (first, second):
        if row.tested is None and not row.is_series:
            return RunComparison(**keys, note=notes.get(row.key, f"Not compared: {row.label} has no answers."))
    if first.is_series and second.is_series:
        if first.test_set != second.test_set:
            return RunComparison(**keys, note=f"Not compared: {a} and {b} were tested on different images.")
        series = compare_series(first.values, second.values, names=(a, b), metric=metric)
        return RunComparison(**keys, note=series) if isinstance(series, str) else RunComparison(**keys, found=series)
    if first.tested is None or second.tested is None:
        return RunComparison(
            **keys, note=f"Not tested: {a} against {b}, since one is a series of seeds and one a single run."
        )
    return _pair_of_runs(first.tested, second.tested, metric, keys, num_tests=num_tests)


def _pair_of_runs(
    first: TestedRun, second: TestedRun, metric: Metric, keys: dict[str, Any], *, num_tests: int
) -> RunComparison:
    try:
        one, other = on_shared_images([first, second])
    except UserError as error:
        return RunComparison(**keys, note=f"Not compared: {error}")
    if not metric.fits(is_ordinal=one.is_ordinal, num_classes=len(one.class_names)):
        return RunComparison(**keys, note=f"Not compared: {metric.word} needs ordered classes.")
    # Of folds, means over the folds are told; where two runs were folded differently there is no such pair of means.
    is_folded = one.folds is not None or other.folds is not None
    same_folds = one.folds is not None and other.folds is not None and np.array_equal(one.folds, other.folds)
    found = compare_paired(
        one.targets, one.probabilities, other.probabilities, name_a=one.label, name_b=other.label, groups=one.groups,
        folds=one.folds if same_folds else None, metric=metric, num_tests=num_tests,
    )  # fmt: skip
    is_part = not len(one.targets) == len(first.targets) == len(second.targets)
    note = f" (On the {len(one.targets)} test images that they share.)" if is_part else ""
    if is_folded:
        note += " (Means over the same folds.)" if same_folds else " (All folds counted together.)"
    return RunComparison(**keys, note=note, found=found)


def _corrected(pairs: Sequence[RunComparison], num_tests: int) -> list[RunComparison]:
    known = [pair.found for pair in pairs if pair.found is not None]
    again = iter(corrected(known, num_tests))
    return [replace(pair, found=next(again)) if pair.found is not None else pair for pair in pairs]


def verdict_sentence(comparison: Comparison) -> str:
    """Which is best, by how much, and whether that is real; "" where there is nothing to say."""
    metric, by_key = comparison.metric, {row.key: row for row in comparison.rows}
    best = by_key.get(comparison.best)
    if best is None:
        return ""
    most = "lowest" if metric.is_lower_better else "highest"
    lead = f"{best.label} has the {most} {metric.word}: {best.words(metric)}."
    measured = [(row, pair.found) for row, pair in comparison.against_best() if pair.found is not None]
    others = [(row.label, found) for row, found in measured if math.isfinite(found.p_value)]
    if not others:
        return lead if len(comparison.rows) > 1 else ""
    num_tests = max(one.num_tests for _, one in others)
    holm = f" P values are Holm-corrected for {num_tests} tests." if num_tests > 1 else ""
    untested = [row.label for row, pair in comparison.against_best() if pair.found is None]
    without = f" Not tested against {_named(untested)}." if untested else ""
    return f"{lead} {summary_sentence(others)}{holm}{without}"


def _named(labels: Sequence[str], num_all: int = 0) -> str:
    """A few by name, more by their number."""
    if len(labels) > _MOST_NAMED:
        return f"all {num_all} others" if len(labels) == num_all else f"{len(labels)} of the others"
    return f"{', '.join(labels[:-1])} and {labels[-1]}" if len(labels) > 1 else labels[0]


def _whom(others: Sequence[tuple[str, Difference]], num_all: int) -> str:
    return _named([label for label, _ in others], num_all)


def summary_sentence(others: Sequence[tuple[str, Difference]]) -> str:
    """Whom the best is ahead of beyond chance, and whom not: labels with their comparison to the best."""
    beaten = [(label, one) for label, one in others if one.is_significant]
    close = [(label, one) for label, one in others if not one.is_significant]
    if not beaten:
        text = f"{_whom(close, len(others))}{_by(close)}, but that could be chance"
    else:
        text = f"{_whom(beaten, len(others))}{_by(beaten)}, more than by chance"
        text += f"; its lead over {_whom(close, len(others))} could be chance" if close else ""
    numbers = sorted({one.n for _, one in others if isinstance(one, PairedComparison)})
    images = f"n = {' or '.join(map(str, numbers))}, the same images" if numbers else "means over seeds"
    return f"It is ahead of {text} ({images})."


def _by(others: Sequence[tuple[str, Difference]]) -> str:
    """By how much: of one other with the interval, of several from the smallest to the largest."""
    metric, gaps = METRICS[others[0][1].metric], [one.advantage for _, one in others]
    words = metric.difference_text(max(gap for gap, _, _ in gaps))
    if len(gaps) == 1:
        _, low, high = gaps[0]
        scale, places = (100, 1) if metric.is_share else (1, 2)
        low, high = (round(scale * end, places) + 0.0 for end in (low, high))
        return f" by {words} ({low:.{places}f} to {high:.{places}f})" if math.isfinite(low) else f" by {words}"
    least = metric.difference_text(min(gap for gap, _, _ in gaps)).removesuffix(" percentage points")
    return f" by {words}" if words.startswith(least) else f" by {least} to {words}"


def _cautions(rows: Sequence[Row], best: Row | None, metric: Metric, num_looks: Mapping[str, int]) -> list[str]:
    from lib.data.library import version_now

    found = []
    for tested in (row.tested for row in rows if row.tested is not None):
        if said := constant_predictor(tested.label, tested.answers, tested.class_names):
            found.append(said)
    for name in {str(row.tested.run.config.get("dataset")) for row in rows if row.tested is not None}:
        if version_now(name) is None:
            found.append(
                f"The data set {name} is not in the library: which images are of one patient is not known, and "
                "intervals and tests take every image for itself."
            )
    sets = {row.test_set: row.tested for row in rows if row.tested is not None}
    for tested in sets.values():
        found += class_cautions(tested.targets, tested.class_names)
    if len({row.test_set for row in rows if row.num_images}) > 1:
        found.append(
            "Not all were tested on the same images: the best is that of the test set with most runs, and pairs are "
            "compared on the images that both were tested on."
        )
    if best is not None and not best.is_series and (looks := num_looks.get(best.test_set, 0)):
        found.append(many_looks(looks, best.num_images, metric, best.value))
    return [said for said in found if said]
