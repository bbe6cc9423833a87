"""Filters, search, order, studies and differences, on runs whose figures are known."""

import numpy as np
import pytest

from lib.board import read_board
from lib.board.arranging import Filters, arranged, by_study, differences, parse_sort
from lib.recipes import RECIPES
from lib.tracking import create_run
from lib.tracking.marks import archive_run, label_run, pin_run
from tests.run_store import make_run_store


def made(strategy="linear_probe", *, accuracy=None, test_set="a", backbone="resnet18", **config):
    settings = {"dataset": "eyes", "backbone": backbone, "strategy": strategy, **config}
    run = create_run(settings, name=f"{strategy} of {accuracy}")
    if accuracy is not None:
        run.log_summary({"test_accuracy": accuracy, "test_set": test_set, "headline": "accuracy", "num_test": 10,
                         "test_baseline_accuracy": 0.2, "seconds_total": 100 * accuracy, "test_macro_f1": 0.1,
                         "test_calibration_error": 0.1})  # fmt: skip
    run.finish("finished" if accuracy is not None else "failed", "")
    return run.run_id


@pytest.fixture(autouse=True)
def _store(home):
    make_run_store()


def table():
    return read_board(at_once_s=0).table


def ids(rows):
    return rows["run_id"].tolist()


def test_a_filter_is_any_of_a_kind_and_all_kinds_together():
    probe, tuned, other = (
        made(accuracy=0.5),
        made("full_finetuning", accuracy=0.6),
        made(accuracy=0.7, backbone="vgg16"),
    )
    label_run(tuned, add=["paper"])
    label_run(other, add=["Paper", "best"])

    def found(**asked):
        rows = table()
        return set(ids(rows[Filters(**asked).matching(rows)]))

    assert found() == {probe, tuned, other}
    assert found(strategy=("linear_probe",)) == {probe, other}
    assert found(strategy=("linear_probe", "full_finetuning")) == {probe, tuned, other}
    assert found(strategy=("linear_probe",), backbone=("vgg16",)) == {other}
    assert found(label=("PAPER",)) == {tuned, other}
    assert found(label=("best",), state=("failed",)) == set()
    assert found(dataset=("elsewhere",)) == set()


def test_search_wants_every_word_in_whatever_place():
    probe, other = made(accuracy=0.5), made("full_finetuning", accuracy=0.7, backbone="vgg16")
    label_run(other, add=["to repeat"])

    def found(words):
        rows = table()
        return set(ids(rows[Filters(search=words).matching(rows)]))

    assert found("vgg16 REPEAT") == {other}
    assert found("resnet") == {probe}
    assert found(probe[:8]) == {probe}
    assert found("vgg16 resnet") == set()
    assert found("%') OR 1=1 [") == set()


def test_archived_runs_are_hidden_unless_asked_for():
    kept, away = made(accuracy=0.5), made(accuracy=0.6)
    archive_run(away)
    rows = table()
    assert ids(rows[Filters().matching(rows)]) == [kept]
    assert set(ids(rows[Filters(with_archived=True).matching(rows)])) == {kept, away}


def test_filters_come_back_from_a_link():
    filters = Filters(strategy=("a", "b"), label=("x & y=1;ü",), search="words", with_archived=True)
    assert Filters.parse(filters.text, "words") == filters
    assert Filters.parse("", None) == Filters()
    assert Filters.parse("unknown=1&strategy=a&&==") == Filters(strategy=("a",))
    assert (filters.num_chosen, Filters().num_chosen) == (3, 0)
    assert filters.is_any


def test_the_boards_own_order_is_the_best_first_test_set_by_test_set():
    worst, other_set, best = made(accuracy=0.4), made(accuracy=0.9, test_set="b"), made(accuracy=0.8)
    broken, alone = made(), made(accuracy=0.1, test_set="")
    # Newest first: alone, broken, best, other_set, worst.
    assert ids(arranged(table())) == [broken, alone, best, worst, other_set]


def test_sorting_pins_and_missing_values():
    low, high, broken = made(accuracy=0.4), made(accuracy=0.9), made()
    assert ids(arranged(table(), ("test_accuracy", False))) == [low, high, broken]
    assert ids(arranged(table(), ("test_accuracy", True))) == [high, low, broken]
    pin_run(broken)
    assert ids(arranged(table(), ("test_accuracy", True))) == [broken, high, low]
    assert ids(arranged(table(), ("state", True)))[0] == broken
    assert ids(arranged(table(), ("labels", False)))[0] == broken
    assert arranged(table(), ("seeds", False))["run_id"].tolist()[0] == broken


def test_sort_is_a_column_that_can_be_chosen():
    assert parse_sort("-test_accuracy") == ("test_accuracy", True)
    assert parse_sort("seconds_total") == ("seconds_total", False)
    assert [parse_sort(text) for text in (None, "", "-", "unheard", "test_accuracy_interval")] == [None] * 5


def test_a_study_shows_its_rows_in_its_order_with_those_that_nobody_repeated():
    study = [recipe for recipe in RECIPES if recipe.study is RECIPES.get("vgg16-dr-lr").study]
    first = made(recipe=study[1].name, accuracy=0.5)
    second = made(recipe=study[0].name, accuracy=0.4)
    made(accuracy=0.9)
    rows = by_study(arranged(table()))
    assert rows["recipe"].tolist() == [recipe.name for recipe in study]
    assert rows["run_id"].tolist()[:2] == [second, first]
    assert set(rows["run_id"].tolist()[2:]) == {""}
    assert set(rows["study"]) == {study[0].study.title}
    published = {recipe.name: recipe.published.accuracy for recipe in study}
    for name, value in zip(rows["recipe"], rows["published_accuracy"], strict=True):
        assert value == published[name] or (np.isnan(value) and published[name] is None)
    assert rows["state_text"].tolist()[-1] == "not repeated here"
    assert len(by_study(table()[table()["recipe"] == ""])) == 0


def test_only_what_differs():
    configs = {
        "A": {"seed": 0, "epochs": 3, "rate": 0.001, "only": None, "format_version": 1},
        "B": {"seed": 1, "epochs": 3, "rate": 0.001, "format_version": 2, "mixup": 0.2},
    }
    found = differences(configs)
    assert found.to_dict("list") == {"setting": ["seed", "mixup"], "A": ["0", "–"], "B": ["1", "0.2"]}
    assert len(differences({"A": {"seed": 0}, "B": {"seed": 0}})) == 0
