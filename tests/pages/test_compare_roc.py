"""ROC, reliability and operating points below the board."""

import numpy as np
import pandas as pd
import pytest

from lib.grading.operating_point import read_operating_point
from lib.tracking import get_run
from lib.tracking.state import PREDICTIONS_FILE
from tests.generated_runs import make_generated_runs
from tests.pages.scene import link, open_comparison, plain_words

VIEWS = ("roc", "reliability", "referable")


def asked(at):
    return next(box for box in at.selectbox if box.label == "What counts as positive")


def change(run_id, make):
    path = get_run(run_id).folder / PREDICTIONS_FILE
    make(pd.read_parquet(path)).to_parquet(path)


@pytest.mark.parametrize("tab", VIEWS)
@pytest.mark.parametrize(("number", "classes"), [(1, 2), (2, 5)])
def test_a_view_of_any_number_of_runs(tab, number, classes):
    runs = make_generated_runs(number, num_classes=classes, num_test=60)
    at = open_comparison(runs, tab)
    assert len(at.get("plotly_chart")) == 1
    assert "bootstrap over patients" in plain_words(at) or "intervals over 30 patients" in plain_words(at)


def test_a_question_of_the_link_and_a_choice_of_curve():
    runs = make_generated_runs(2, num_test=60)
    at = open_comparison(runs, "roc", cutoff="class-4", axis="precision")
    assert asked(at).value == "class-4"
    assert "calls everybody positive" in plain_words(at)
    asked(at).set_value("from-1").run()
    assert link(at, "cutoff") == "from-1"
    at = open_comparison(runs, "roc", cutoff="no-such", axis="seconds")
    assert asked(at).value == "from-2"


def test_runs_with_other_test_images_are_compared_on_those_that_they_share():
    runs = make_generated_runs(2, num_test=60)
    change(runs[1], lambda table: table.iloc[10:])
    assert "Compared on the 50 test images that all of them share, of 60 at most." in plain_words(
        open_comparison(runs, "roc")
    )


def test_a_run_that_shares_no_image_is_left_out():
    runs = make_generated_runs(2, num_test=60)
    change(runs[1], lambda table: table.assign(image_id="x" + table["image_id"]))
    assert "share no test images" in plain_words(open_comparison(runs, "reliability"))


def test_runs_without_predictions_and_folds_are_said():
    runs = make_generated_runs(2, num_test=60)
    change(runs[0], lambda table: table.assign(fold=np.arange(60) % 3))
    (get_run(runs[1]).folder / PREDICTIONS_FILE).unlink()
    told = plain_words(open_comparison(runs, "roc"))
    assert "1 of the selected runs has no predictions" in told
    assert "all folds are counted together" in told
    for tab in VIEWS:
        assert "predictions of a finished run" in plain_words(open_comparison(runs[1:], tab))


@pytest.mark.parametrize("tab", VIEWS)
def test_a_test_set_of_one_class_is_a_plain_line(tab):
    runs = make_generated_runs(1, num_test=60)
    change(runs[0], lambda table: table[table["target"] == 0])
    told = plain_words(open_comparison(runs, tab))
    assert ("is 'Referable" in told) == (tab != "reliability")


@pytest.mark.parametrize("tab", VIEWS)
def test_a_constant_predictor_is_a_plain_line(tab):
    runs = make_generated_runs(1, num_test=60)
    change(runs[0], lambda table: table.assign(**{f"probability_{k}": 0.2 for k in range(5)}))
    told = plain_words(open_comparison(runs, tab))
    assert "same score" in told or tab == "reliability"


@pytest.mark.parametrize("tab", VIEWS)
def test_too_few_patients_are_said(tab):
    runs = make_generated_runs(1, num_test=40)
    assert "too few patients" in plain_words(open_comparison(runs, tab))


def test_classes_without_an_order_have_no_operating_point():
    runs = make_generated_runs(1, num_classes=3, num_test=60, is_ordinal=False)
    assert "no order" in plain_words(open_comparison(runs, "referable"))


def test_a_point_is_stored_forgotten_and_brought_back():
    runs = make_generated_runs(1, num_test=60)
    at = open_comparison(runs, "referable", sensitivity="0.8", prevalence="0.2")
    boxes = {box.label: box for box in at.number_input}
    assert (boxes["Sensitivity of at least, %"].value, boxes["Prevalence, %"].value) == (80.0, 20.0)
    boxes["Sensitivity of at least, %"].set_value(85.0).run()
    assert link(at, "sensitivity") == "0.85"
    at.button(key="compare_store_point").click().run()
    stored = read_operating_point(get_run(runs[0]))
    assert (stored.wanted_sensitivity, stored.reading.prevalence) == (0.85, 0.2)
    assert "This point is stored with the run." in plain_words(at)
    at.button(key="compare_forget_point").click().run()
    assert read_operating_point(get_run(runs[0])) is None
    at.button(key="undo_operating_point_button").click().run()
    assert read_operating_point(get_run(runs[0])).to_dict() == stored.to_dict()


def test_published_points_of_retinopathy_stand_beside_grades_alone():
    from lib.grading.operating_point import PUBLISHED_POINTS

    mark = PUBLISHED_POINTS[0].name
    graded = make_generated_runs(1, num_test=60)
    assert mark in str(open_comparison(graded, "referable").get("plotly_chart")[0].proto.spec)
    others = make_generated_runs(1, num_classes=2, num_test=60, is_ordinal=False)
    at = open_comparison(others, "referable")
    assert mark not in str(at.get("plotly_chart")[0].proto.spec)
    assert "Sensitivity" in [metric.label for metric in at.metric]
