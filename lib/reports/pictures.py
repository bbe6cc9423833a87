"""The pictures of a report: one entry a view. Each asks a pure function of lib/figures, in the light theme."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.board.rows import count_parameters
from lib.errors import UserError
from lib.evaluation.classes import class_intervals, confusion_sentence
from lib.evaluation.operating_point import intervals_over
from lib.evaluation.reliability import answer_confidence, reliability, reliability_words
from lib.evaluation.resampling import Estimate
from lib.evaluation.roc import interval_text, ranking_curves, why_undefined
from lib.figures.class_charts import ClassFigures, class_figure
from lib.figures.confusion_charts import MAX_LABELLED, Panel, confusion_grid_figure, most_confused
from lib.figures.cost_charts import MAX_RUNS, CostPoint, SizeSeries, cost_figure, size_figure
from lib.figures.published_charts import boards_figure
from lib.figures.result_charts import difference_figure, interval_figure
from lib.figures.roc_charts import (
    RankedRun,
    ReliableRun,
    operating_point_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
)
from lib.figures.training_charts import RunCurves, has_curves, learning_curves_figure
from lib.figures.wins_chart import wins_figure, wins_of
from lib.grading.external import CHANGE_WORDS, ExternalResult, change_table, change_title, external_results
from lib.grading.operating_point import (
    OTHER_DATA_SENTENCE,
    choose_operating_point,
    published_marks,
    read_operating_point,
    referable_question,
)
from lib.recipes.boards import Board, published_boards
from lib.recipes.published import PUBLISHED_METRICS
from lib.reports.selection import Selection, spec_of
from lib.sweeps.sizes import SERIES_WORDS, SizeSweep, read_series, series_of_runs, series_words
from lib.tracking import get_run, metric_history
from lib.tracking.records import RunRecord
from lib.tracking.tested import TestedRun, comparable_runs, read_tested

_HEAD_ROWS, _PAGE_ROWS = 2, 36  # of a board: its heading, in lines; lines on a printed page
_CURVES = {"loss": "Loss", "accuracy": "Accuracy", "quadratic_weighted_kappa": "Kappa"}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure and what it says in words: below it, and for those who cannot see it."""

    figure: go.Figure
    text: str


@dataclass(frozen=True)
class Picture:
    """The pictures of one view; `draw` gives none where there is nothing to see, and may raise UserError to say why."""

    name: str
    title: str
    draw: Callable[[Selection], Iterable[Drawn]]


def draw_intervals(selection: Selection) -> Iterator[Drawn]:
    """The metric of every row with its interval."""
    metric = selection.metric
    rows = [row for row in selection.comparison.rows if math.isfinite(row.value.value)]
    if not rows:
        raise UserError(f"None of the runs has a {metric.word}.")
    table = pd.DataFrame(
        {
            "label": [row.label for row in rows], "strategy": [_strategy(row.runs[0].config) for row in rows],
            "value": [row.value.value for row in rows], "low": [row.value.low for row in rows],
            "high": [row.value.high for row in rows],
        }
    )  # fmt: skip
    title = f"{metric.title}, 95 % intervals; of seeds mean and standard deviation"
    words = "; ".join(f"{row.label}: {row.words(metric)}" for row in rows)
    yield Drawn(interval_figure(table, title=title, is_dark=False), f"{words}.")


def draw_differences(selection: Selection) -> Iterator[Drawn]:
    """How far each row lies behind the best."""
    rows = selection.comparison.behind_best()
    if rows:
        title = f"{selection.metric.title} minus that of the best"
        yield Drawn(
            difference_figure(pd.DataFrame(rows), title=title, is_dark=False),
            "Filled: more than chance. Hollow: could be chance. Lines: 95 % intervals of the difference.",
        )


def draw_curves(selection: Selection) -> Iterator[Drawn]:
    """Loss and metrics by epoch of the runs that have epochs."""
    curves = [
        RunCurves(selection.labels[run.run_id], _strategy(run.config), metric_history(run.run_id), run.created_s)
        for run in selection.runs
    ]
    for key, title in _CURVES.items():
        drawn = [run for run in curves if has_curves(run.history, key)]
        if drawn:
            words = f"{title} by epoch, in training and in validation: {', '.join(run.label for run in drawn)}."
            yield Drawn(learning_curves_figure(drawn, key, is_dark=False), words)


def draw_ranking(selection: Selection) -> Iterator[Drawn]:
    """ROC and precision-recall of the first question that can be asked of these classes."""
    shared, sentences = _shared(selection)
    question = selection.question(shared[0])
    truth = question.truth(shared[0].targets)
    if why := why_undefined(truth, question.score(shared[0].probabilities), question.title):
        raise UserError(why)
    runs = [
        RankedRun(
            one.label, _strategy(one.run.config),
            ranking_curves(truth, question.score(one.probabilities), one.groups),
        )
        for one in shared
    ]  # fmt: skip
    title = f"{question.title}: {int(truth.sum())} of {len(truth)} test images"
    for draw, what, area in (
        (roc_figure, "Area under the ROC curve", "area"),
        (precision_recall_figure, "Average precision", "average_precision"),
    ):
        words = ", ".join(f"{run.label} {interval_text(getattr(run.curves, area))}" for run in runs)
        yield Drawn(draw(runs, title=title, is_dark=False), " ".join([f"{what}: {words}.", *sentences]))


def draw_reliability(selection: Selection) -> Iterator[Drawn]:
    """Whether the stated probability of the answer comes true."""
    shared, sentences = _shared(selection)
    runs = [
        ReliableRun(
            one.label, _strategy(one.run.config),
            reliability(*answer_confidence(one.targets, one.probabilities), one.groups),
        )
        for one in shared
    ]  # fmt: skip
    title = f"The class that is given is right: {runs[0].reliability.num} test images, in bins of equally many"
    words = "; ".join(f"{run.label}: {reliability_words(run.reliability)}" for run in runs)
    yield Drawn(reliability_figure(runs, title=title, is_dark=False), " ".join([f"{words}.", *sentences]))


def draw_matrices(selection: Selection) -> Iterator[Drawn]:
    """Confusion matrices of runs of the same classes on one scale; of many classes those most confused."""
    for kind in _of_same_classes(selection):
        names = kind[0].class_names
        counts = np.sum([one.matrix for one in kind], axis=0)
        classes = most_confused(counts).tolist() if len(names) > MAX_LABELLED else None
        panels = [Panel(one.matrix, f"{one.label}, n = {len(one.targets)}") for one in kind]
        which = f"The {len(classes)} most confused of {len(names)} classes." if classes else f"{len(names)} classes."
        words = f"Rows: true class. Columns: predicted. Shares of the true class, per cent, one scale for all. {which}"
        if classes is None or classes:
            yield Drawn(confusion_grid_figure(panels, names, is_dark=False, classes=classes), words)


def draw_classes(selection: Selection) -> Iterator[Drawn]:
    """Precision, recall and F1 of each class, and what is confused most."""
    for kind in _of_same_classes(selection):
        runs = [
            ClassFigures(
                one.label, _strategy(one.run.config),
                class_intervals(one.targets, one.answers, one.class_names, groups=one.groups),
            )
            for one in kind
        ]  # fmt: skip
        names = kind[0].class_names
        words = " ".join(f"{one.label}: {confusion_sentence(one.matrix, names)}" for one in kind)
        yield Drawn(class_figure(runs, names, is_dark=False), words)


def draw_wins(selection: Selection) -> Iterator[Drawn]:
    """Every row against every other, where there are more than two."""
    rows = [row for row in selection.comparison.rows if math.isfinite(row.value.value)]
    if len(rows) > 2:
        places = {row.key: place for place, row in enumerate(rows)}
        wins = {
            (places[a], places[b]): win
            for (a, b), win in wins_of(selection.comparison).items()
            if a in places and b in places
        }
        figure = wins_figure([row.label for row in rows], wins, word=selection.metric.word, is_dark=False)
        yield Drawn(
            figure,
            "Each row against each column. Blue: ahead, orange: behind, both more than chance; grey: could be chance. "
            f"Upper number: lead in {selection.metric.word}; lower: images that the row alone got right.",
        )


def draw_cost(selection: Selection) -> Iterator[Drawn]:
    """The metric against seconds and against trained parameters."""
    metric = selection.metric
    costs = {
        "Seconds": lambda run: run.summary.get("seconds_total"),
        "Trained parameters": lambda run: count_parameters(run)[0],
    }
    for title, cost_of in costs.items():
        points = []
        for run in selection.runs:
            found, cost = selection.interval(run, metric), cost_of(run)
            if cost and math.isfinite(found.value):
                value = Estimate(found.value, found.low, found.high)
                points.append(CostPoint(selection.labels[run.run_id], _strategy(run.config), value, float(cost)))
        if len(points) > 1:
            figure = cost_figure(
                points, title=f"{metric.title} and {title.lower()}", cost_title=title, is_dark=False,
                is_lower_better=metric.is_lower_better,
            )  # fmt: skip
            yield Drawn(figure, "The dotted line joins the runs that none beats at their cost.")


def draw_operating_point(selection: Selection) -> Iterator[Drawn]:
    """The point on the ROC curve of the best run that has one; the points of the others in words."""
    if not selection.tested:
        raise UserError("No run has kept its answers.")
    figure, drawn, marks, words, reasons = None, "", [], [], []
    for one in selection.tested:
        try:
            referable_question(one.class_names, is_ordinal=one.is_ordinal)
            question = selection.question(one, only_grades=True)
            point = choose_operating_point(
                one, question, sensitivity=selection.sensitivity, prevalence=selection.prevalence
            )
        except UserError as error:
            reasons.append(f"{one.label}: {error}")
            continue
        said = f"{one.label}: {point.sentence} {point.chosen_sentence} {intervals_over(point.reading, one.groups)}"
        stored = read_operating_point(one.run)
        if stored is not None and stored.to_dict() != point.to_dict():
            said += f" Stored with the run: {stored.sentence}"
        words.append(said)
        if figure is None:
            truth, score = question.truth(one.targets), question.score(one.probabilities)
            drawn, marks = one.label, published_marks(is_ordinal=one.is_ordinal)
            curve = RankedRun(one.label, _strategy(one.run.config), ranking_curves(truth, score, one.groups))
            figure = operating_point_figure(curve, point.reading, marks, title=point.title_of_images, is_dark=False)
    if figure is None:
        raise UserError(" ".join(dict.fromkeys(reason.partition(": ")[2] for reason in reasons)))
    asked = f"At least {100 * selection.sensitivity:g} % of those who have it are to be referred. Drawn: {drawn}."
    yield Drawn(figure, "\n".join([asked, *words, *reasons, *([OTHER_DATA_SENTENCE] if marks else [])]))


def draw_sizes(selection: Selection) -> Iterator[Drawn]:
    """The metric against the number of training images, of the series that the runs belong to."""
    plans = series_of_runs(selection.runs)
    if not plans:
        raise UserError("None of the runs belongs to a series with several numbers of training images.")
    series = [found for plan in plans if (found := _series(plan, selection)) is not None]
    if not series:
        raise UserError("No size of the series has kept its answers.")
    title = f"{selection.metric.title} on the same test images, against the number of training images"
    figure = size_figure(series, title=title, is_dark=False)
    more = f" The first {MAX_RUNS} of {len(series)} series are drawn." if len(series) > MAX_RUNS else ""
    yield Drawn(figure, f"{series_words(series, selection.metric)}. {SERIES_WORDS}{more}")


def draw_external(selection: Selection) -> Iterator[Drawn]:
    """The change from the own test images to each other data set, one figure a data set."""
    kept: dict[str, list[tuple[RunRecord, ExternalResult]]] = {}
    for run in selection.runs:
        for result in external_results(run.run_id):
            if not result.is_own:
                kept.setdefault(result.dataset, []).append((run, result))
    if not kept:
        raise UserError("None of the runs has been evaluated on another data set.")
    metric, labels = selection.metric, selection.labels
    drawn: list[Drawn] = []
    without: list[str] = []
    for shown in kept.values():
        words = "\n".join(result.sentence(labels[run.run_id], metric) for run, result in shown)
        table = change_table(shown, labels, metric)
        if not len(table):
            without.append(words)
            continue
        figure = difference_figure(table, title=change_title(shown[0][1], metric), is_dark=False)
        notes = dict.fromkeys(result.note for _, result in shown if result.note)
        drawn.append(Drawn(figure, "\n".join([words, CHANGE_WORDS, *notes])))
    if not drawn:
        raise UserError(" ".join(without))
    yield from drawn[:-1]
    yield Drawn(drawn[-1].figure, "\n".join([drawn[-1].text, *without]))


def draw_published(selection: Selection) -> Iterator[Drawn]:
    """The published results of the runs' kind, protocol by protocol, and the runs on the same axis."""
    key = selection.metric.key if selection.metric.key in PUBLISHED_METRICS else "accuracy"
    specs = {one.run.run_id: spec_of(one.run) for one in selection.tested}
    boards = published_boards(key, selection.tested, specs, is_of_kind_only=True)
    if not boards:
        raise UserError("Nothing published is of the same kind as the runs that have kept their answers.")
    title, is_lower_better = PUBLISHED_METRICS[key]
    title += ", less is better" if is_lower_better else ""
    for part in _parts(boards):
        words = f"{title}: {'; '.join(board.title for board in part)}. Hollow: published. Coloured: the runs."
        only = "Only lines of one board can be held against each other: each has its own images, split and definition."
        yield Drawn(boards_figure(part, title=title, is_dark=False), f"{words} {only}")


PICTURES = (
    Picture("intervals", "Results with their intervals", draw_intervals),
    Picture("differences", "Differences to the best", draw_differences),
    Picture("wins", "Wins", draw_wins),
    Picture("cost", "What it cost", draw_cost),
    Picture("curves", "Learning curves", draw_curves),
    Picture("matrices", "Confusion", draw_matrices),
    Picture("classes", "Each class", draw_classes),
    Picture("roc", "Ranking", draw_ranking),
    Picture("reliability", "Reliability", draw_reliability),
    Picture("referable", "Operating point", draw_operating_point),
    Picture("size", "Score against training images", draw_sizes),
    Picture("external", "Other data", draw_external),
    Picture("published", "Published results on one axis", draw_published),
)


def _series(plan: SizeSweep, selection: Selection) -> SizeSeries | None:
    """A series under the name of that of the runs which learned from most images."""
    members = [run_id for run_id in plan.read().runs.values() if run_id in selection.labels]
    label = selection.labels[members[-1]] if members else plan.series_id

    def read(run_id: str, share: str) -> TestedRun | None:
        try:
            return read_tested(get_run(run_id), share)
        except UserError:
            return None

    return read_series(plan, label, read, lambda one: one.interval(selection.metric))


def _parts(boards: Sequence[Board]) -> Iterator[list[Board]]:
    """The boards in figures that each fit on a printed page."""
    part: list[Board] = []
    for board in boards:
        if part and sum(len(one.lines) + _HEAD_ROWS for one in (*part, board)) > _PAGE_ROWS:
            yield part
            part = []
        part.append(board)
    yield part


def _of_same_classes(selection: Selection) -> list[list[TestedRun]]:
    """The runs that have kept their answers, by the classes that they tell apart."""
    kinds: dict[tuple[str, ...], list[TestedRun]] = {}
    for one in selection.tested:
        kinds.setdefault(tuple(one.class_names), []).append(one)
    return list(kinds.values())


def _shared(selection: Selection) -> tuple[list[TestedRun], list[str]]:
    if not selection.tested:
        raise UserError("No run has kept its answers.")
    return comparable_runs(list(selection.tested))


def _strategy(config: dict[str, object]) -> str:
    return str(config.get("strategy", ""))
