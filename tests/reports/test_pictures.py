"""The pictures that need more than the answers of the runs: what they show, and what is said where there is none."""

import dataclasses
import math

import pytest

from lib.atomic import write_json
from lib.errors import UserError
from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import ACCURACY, KAPPA
from lib.grading.external import FOLDER, RESULT_FILE, ExternalResult, ExternalScore
from lib.grading.operating_point import operating_point_of, store_operating_point
from lib.reports.pictures import draw_external, draw_operating_point, draw_published, draw_sizes
from lib.sweeps.plan import SweepState
from lib.sweeps.sizes import SizeSweep
from lib.tracking.state import BUNDLE_FOLDER
from tests.generated_runs import make_generated_runs
from tests.reports.selected import selected

pytestmark = pytest.mark.usefixtures("runs_at_hand")


def texts_of(figure):
    return " ".join(str(one.text) for one in figure.layout.annotations)


def keep_external(run, *, dataset="elsewhere", delta=(-0.2, -0.3, -0.1), **changed):
    score = ExternalScore(Interval(0.4, 0.3, 0.5, "x"), Interval(0.6, 0.5, 0.7, "x"), Interval(*delta, "x"))
    result = ExternalResult(
        run_id=run.run_id, dataset=dataset, title="Elsewhere", dataset_version="1", mapping="", images="all", num=50,
        num_units=50, num_own=80, num_shared=0, left_out={}, class_names=("a", "b"), is_ordinal=False,
        classes_without_images=(), scores={ACCURACY.key: score}, note="A note.",
    )  # fmt: skip
    result = dataclasses.replace(result, **changed)
    path = run.folder / FOLDER / result.key / RESULT_FILE
    path.parent.mkdir(parents=True)
    write_json(path, result.to_dict())
    return result


def test_the_operating_point_is_that_of_the_page_and_the_command():
    selection = selected()
    (drawn,) = draw_operating_point(selection)
    for run in selection.runs:
        assert operating_point_of(run).sentence in drawn.text
    assert f"Drawn: {selection.labels[selection.runs[0].run_id]}." in drawn.text
    assert "IDx-DR" in texts_of(drawn.figure)
    assert "other images" in drawn.text
    asked = dataclasses.replace(selection, cutoff="from-3", sensitivity=0.5, prevalence=0.2)
    (other,) = draw_operating_point(asked)
    point = operating_point_of(selection.runs[0], grade=3, sensitivity=0.5, prevalence=0.2)
    assert point.sentence in other.text
    assert point.title in other.figure.layout.title.text


def test_a_stored_operating_point_is_said_beside_the_chosen_one():
    selection = selected()
    run = selection.runs[-1]
    stored = operating_point_of(run, sensitivity=0.6)
    (run.folder / BUNDLE_FOLDER).mkdir(exist_ok=True)
    store_operating_point(run, stored)
    (drawn,) = draw_operating_point(selection)
    assert drawn.text.count("Stored with the run: ") == 1
    assert f"Stored with the run: {stored.sentence}" in drawn.text


def test_a_series_of_sizes_is_drawn_once_with_the_values_of_its_runs():
    selection = selected()
    with pytest.raises(UserError, match="None of the runs belongs to a series"):
        list(draw_sizes(selection))
    first, second, _ = selection.runs
    plan = SizeSweep(series_id="abcd1234", shares=(0.3, 1.0), config=dict(second.config))
    plan.write()
    plan.keep(SweepState(runs={"30 %": first.run_id, "100 %": second.run_id}))
    (drawn,) = draw_sizes(selection)
    assert selection.labels[second.run_id] in drawn.text
    for run in (first, second):
        value = KAPPA.text(selection.interval(run, KAPPA).value)
        assert f"{value} with {int(run.summary['num_train'])}" in drawn.text
    assert "Quadratic weighted kappa" in drawn.figure.layout.title.text


def test_other_data_are_drawn_data_set_by_data_set_with_their_change():
    selection = selected(metric=ACCURACY)
    with pytest.raises(UserError, match="None of the runs has been evaluated on another data set"):
        list(draw_external(selection))
    one, two, three = selection.runs
    keep_external(three, dataset="own", images="test")  # its own test images are no other data
    with pytest.raises(UserError, match="None of the runs"):
        list(draw_external(selection))
    lost = keep_external(two, dataset="third", delta=(math.nan, math.nan, math.nan))
    with pytest.raises(UserError, match="on Elsewhere"):  # a value, but no change to draw
        list(draw_external(selection))
    kept = keep_external(one)
    (drawn,) = draw_external(selection)
    labels = selection.labels
    assert kept.sentence(labels[one.run_id], ACCURACY) in drawn.text
    assert lost.sentence(labels[two.run_id], ACCURACY) in drawn.text
    assert "A note." in drawn.text
    assert [trace.x[0] for trace in drawn.figure.data if trace.mode == "markers"] == [-0.2]
    assert drawn.figure.layout.title.text == "Accuracy: Elsewhere minus own test"
    # Kappa was not scored there, so it is what they are judged by: accuracy.
    assert "Accuracy" in next(iter(draw_external(selected()))).figure.layout.title.text


def test_published_results_stand_with_the_runs_in_figures_of_a_page():
    selection = selected()
    drawn = list(draw_published(selection))
    assert len(drawn) > 1
    assert all(one.figure.layout.height < 1500 for one in drawn)  # A4 at the scale of the print
    assert all(label in texts_of(drawn[0].figure) for label in selection.labels.values())
    assert "place 25 to 26 in 2016" in texts_of(drawn[0].figure)
    assert all("can be held against each other" in one.text for one in drawn)


def test_classes_without_order_have_no_operating_point_and_nothing_published(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tmp_path))
    make_generated_runs(6, num_classes=3, num_test=40, is_ordinal=False, seed=1)
    selection = selected(metric=ACCURACY)
    with pytest.raises(UserError, match="no order"):
        list(draw_operating_point(selection))
    for one in selection.tested:
        one.run.config.pop("recipe", None)  # that of a study stands beside it whatever the images are
    with pytest.raises(UserError, match="Nothing published is of the same kind"):
        list(draw_published(selection))
