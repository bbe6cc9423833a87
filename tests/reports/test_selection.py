"""Selected runs as they are taken away: in their order, with intervals from answers or as stored, and in words."""

import dataclasses
import math

import numpy as np
import pytest

from lib.errors import UserError
from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS
from lib.reports import selection
from lib.reports.selection import interval_words, select, spec_of
from tests.features.tiny_dataset import TinyDataset
from tests.tracking.test_comparison import answers_of, run


def selected(*several, metric=ACCURACY, gone=(), read=None):
    """A selection of runs with these answers, and of runs whose answers are gone."""
    by_id = {one.run.run_id: one for one in several}

    def answers(one):
        if read is not None:
            read.append(one.run_id)
        if one.run_id not in by_id:
            raise UserError("Its answers are gone.")
        return by_id[one.run_id]

    runs = [*(one.run for one in several), *gone]
    return select(runs, metric, {one.run_id: f"run {one.run_id}" for one in runs}, answers)


@pytest.mark.parametrize(
    ("found", "metric", "words"),
    [
        (Interval(0.714, 0.66, 0.756), KAPPA, "0.71 (0.66 to 0.76)"),
        (Interval(0.5, 0.4, 0.6), ACCURACY, "50.0\u00a0% (40.0\u00a0% to 60.0\u00a0%)"),
        (Interval(0.5, reason="too few images"), KAPPA, "0.50 (too few images)"),
        (Interval(0.5, 0.4), KAPPA, "0.50"),
        (Interval(math.nan, reason="needs ordered classes"), KAPPA, "needs ordered classes"),
        (Interval(math.nan), KAPPA, "not defined"),
    ],
)
def test_an_interval_is_said_or_why_there_is_none(found, metric, words):
    assert interval_words(found, metric) == words


def test_the_best_run_stands_first_and_answers_are_read_once():
    read = []
    found = selected(answers_of("bad", wrong=50), answers_of("good", wrong=5), read=read)
    assert [one.run_id for one in found.runs] == ["good", "bad"]
    assert [one.label for one in found.tested] == ["good", "bad"]
    found.texts()
    assert sorted(read) == ["bad", "good"]


def test_a_run_without_answers_has_what_is_stored_of_it():
    stored = dataclasses.replace(run("old"), metrics={"test_accuracy": 0.99})
    found = selected(answers_of("new", wrong=30), gone=[stored])
    assert {one.run_id for one in found.runs} == {"old", "new"}
    assert [one.run.run_id for one in found.tested] == ["new"]
    assert found.interval(stored, ACCURACY) == Interval(0.99, reason="no interval: its answers are gone")
    words = found.texts().set_index("run")["Accuracy (95 % interval)"]
    assert words["run old"] == "99.0\u00a0% (no interval: its answers are gone)"
    assert words["run new"].startswith("75.0\u00a0% (")
    row = found.numbers().set_index("run id").loc["old"]
    assert (row["accuracy"], row["accuracy_interval"]) == (0.99, "no interval: its answers are gone")
    assert math.isnan(row["accuracy_low"])


def test_metrics_that_no_run_has_are_left_out_and_the_one_on_screen_comes_first():
    plain = dataclasses.replace(answers_of("a", wrong=9), is_ordinal=False)
    found = selected(plain, metric=METRICS["log_loss"])
    assert found.metrics[0].key == "log_loss"
    assert KAPPA not in found.metrics
    assert found.interval(plain.run, KAPPA).reason == "needs ordered classes"
    # As soon as one run has it, it is a column, with the reason for the other.
    graded = answers_of("b", wrong=20)
    both = selected(plain, graded)
    assert KAPPA in both.metrics
    column = both.texts().set_index("run")["Quadratic weighted kappa (95 % interval)"]
    assert column["run a"] == "needs ordered classes"
    assert column["run b"].startswith("0.")


def test_a_person_reads_titles_and_no_empty_columns():
    known = dataclasses.replace(
        run("a"), config={"dataset": "eyes", "backbone": "mobilenet_v2", "strategy": "linear_probe", "epochs": 30.0}
    )
    other = dataclasses.replace(run("b"), config={"dataset": "eyes", "backbone": "net_of_a_plugin", "num_folds": None})
    shown = selected(answers_of("a", wrong=3, run=known), answers_of("b", wrong=9, run=other)).texts()
    assert shown["backbone"].tolist() == ["MobileNetV2", "net_of_a_plugin"]
    assert shown["strategy"].tolist() == ["Linear probe", ""]
    assert shown["epochs"].tolist() == ["30", ""]
    assert shown["seconds"].tolist() == ["", ""]
    assert not {"recipe", "folds", "classes merged"} & set(shown.columns)


def test_the_question_is_the_chosen_one_where_the_classes_allow_it():
    tested = answers_of("a")
    found = selected(tested)
    chosen = dataclasses.replace(found, cutoff="from-2")
    assert chosen.question(tested).key == "from-2"
    plain = dataclasses.replace(tested, is_ordinal=False)
    assert chosen.question(plain).key == found.question(plain).key != "from-2"


@pytest.mark.parametrize(("kept", "asked"), [({"v0"}, ["v0"]), ({None}, ["v0", None]), (set(), ["v0", None])])
def test_a_data_set_is_that_of_the_training_or_as_it_is_now_or_gone(monkeypatch, kept, asked):
    versions = []

    def open_dataset(name, version):
        versions.append(version)
        if version not in kept:
            raise UserError("Gone.")
        return TinyDataset()

    monkeypatch.setattr(selection, "open_dataset", open_dataset)
    one = dataclasses.replace(run("a"), config={"dataset": "tiny", "dataset_version": "v0"})
    found = spec_of(one)
    assert versions == asked
    assert (found is None) == (not kept)


def test_numbers_are_the_arrays_own(tmp_path):
    tested = answers_of("a", wrong=30)
    row = selected(tested).numbers().iloc[0]
    assert row["accuracy"] == np.mean(tested.answers == tested.targets)
    assert (row["accuracy_low"], row["accuracy_high"], row["accuracy_interval"]) == (
        tested.interval(ACCURACY).low, tested.interval(ACCURACY).high, "Wilson"
    )  # fmt: skip
