"""Compare runs, the pictures: matrices and the images of a cell, figures of each class, curves, wins, published."""

import base64
import json
import shutil
import time

import numpy as np
import pytest

from lib.data.library import open_dataset
from lib.settings import datasets_dir
from lib.tracking import get_run
from lib.tracking.tested import read_tested
from pages.common import background, resources
from tests.generated_runs import make_generated_runs
from tests.pages.scene import html_of, link, make_dataset, make_run, open_page, words
from tests.run_store import make_run_store


@pytest.fixture
def graded(home):
    """Three generated runs of five grades, with patients; the first three of all would be one series of seeds."""
    make_run_store()
    runs = make_generated_runs(5, num_test=60)
    return [runs[0], *runs[3:]]


def charts(at):
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def numbers(values):
    """A list of a figure's specification, which may hold it as bytes."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).tolist()
    return values


def said(at):
    return words(at).replace("\\", "")


def compare(runs, tab, **view):
    at = open_page("compare_runs", runs=",".join(runs), tab=tab, scope="all", **view)
    assert not at.exception
    return at


def test_published_matrices_stand_beside_those_of_five_grades(graded):
    at = compare(graded, "matrices")
    (chart,) = charts(at)
    assert sum(trace["type"] == "heatmap" for trace in chart["data"]) == 3
    at.toggle(key="compare_published").set_value(True).run()
    (chart,) = charts(at)
    assert sum(trace["type"] == "heatmap" for trace in chart["data"]) == 8
    assert link(at, "published") == "matrices"
    assert "of other photographs, which are not here" in said(at)


def test_two_classes_have_no_published_matrices():
    make_dataset()
    at = compare([make_run("linear_probe")], "matrices")
    assert not at.toggle


def test_counts_and_shares_are_a_choice_in_the_link(graded):
    at = compare(graded[:1], "matrices", share="count")
    largest = charts(at)[0]["data"][0]["zmax"]
    assert largest == read_tested(get_run(graded[0]), "a").matrix.max()
    at.segmented_control(key="compare_share").set_value("column").run()
    assert charts(at)[0]["data"][0]["zmax"] == 1
    assert link(at, "share") == "column"


def test_a_cell_shows_its_images_and_why_there_are_no_maps(graded):
    tested = read_tested(get_run(graded[0]), "a")
    target, predicted = 1, 1
    rows = np.flatnonzero((tested.targets == target) & (tested.answers == predicted))
    at = compare(graded[:1], "matrices", cell=f"{graded[0][:8]}:{target}:{predicted}")
    assert f"{len(rows)} images" in said(at)
    pictures = html_of(at)
    assert pictures.count("opens Look inside") >= min(8, len(rows))
    assert f"run={graded[0]}" in pictures
    assert tested.image_ids[rows[np.argmax(tested.probabilities[rows, predicted])]] in pictures
    # Generated runs have no weights: the sentence comes with the end of the background task.
    task = next(task for name, task in background._tasks.items() if name.startswith("maps_"))
    for _ in range(200):
        if task.is_over:
            break
        time.sleep(0.05)
    at.run()
    assert task.error
    assert task.error[:30] in said(at)
    at.button(key="compare_cell_close").click().run()
    assert link(at, "cell") == ""
    assert "opens Look inside" not in html_of(at)


def test_more_images_than_fit_are_leafed_through(graded):
    tested = read_tested(get_run(graded[0]), "a")
    target, predicted = np.unravel_index(tested.matrix.argmax(), tested.matrix.shape)
    num = int(tested.matrix.max())
    assert num > 8
    at = compare(graded[:1], "matrices", cell=f"{graded[0][:8]}:{target}:{predicted}")
    assert f"1 to 8 of {num}" in words(at)
    at.button(key="compare_cell_next").click().run()
    assert f"9 to {min(16, num)} of {num}" in words(at)
    assert link(at, "at") == "8"


@pytest.mark.parametrize("cell", ["x", "00000000:0:0", "{run}:9:9", "{run}:a:b"])
def test_a_cell_that_there_is_not_is_passed_over(graded, cell):
    at = compare(graded[:1], "matrices", cell=cell.format(run=graded[0][:8]))
    assert not at.error
    assert "opens Look inside" not in html_of(at)


def test_a_deleted_data_set_leaves_the_matrix_and_says_that_the_images_are_gone(graded):
    name = get_run(graded[0]).config["dataset"]
    assert open_dataset(name)
    shutil.rmtree(datasets_dir() / name)
    resources.forget_results()
    at = compare(graded[:1], "matrices", cell=f"{graded[0][:8]}:1:1")
    assert sum(trace["type"] == "heatmap" for trace in charts(at)[0]["data"]) == 1
    assert f"The images cannot be shown: the data set {name} is not here" in said(at)
    assert not at.error


def test_runs_of_other_classes_stand_by_themselves(graded):
    make_dataset()
    at = compare([*graded[:2], make_run("linear_probe")], "matrices")
    assert len(charts(at)) == 2
    assert "tell 2 sets of classes apart" in said(at)
    assert len(charts(compare([*graded[:2], make_run("linear_probe")], "classes"))) == 2


@pytest.mark.parametrize(("tab", "sentence"), [
    ("matrices", "none of the selected runs has any"),
    ("classes", "no selected run has any"),
])  # fmt: skip
def test_without_predictions_there_is_one_plain_line(tab, sentence):
    make_dataset()
    at = compare([make_run("full_finetuning", epochs=2, state="stopped")], tab)
    assert sentence in said(at)
    assert not charts(at)


def test_classes_have_a_picture_a_table_and_the_commonest_confusion():
    make_dataset()
    runs = [make_run("linear_probe"), make_run("from_scratch", num_wrong=1)]
    at = compare(runs, "classes")
    assert "No error: all 4 images are in their class." in said(at)
    assert "1 image, 50" in said(at)
    assert "In all 1 of 4 images are wrong." in said(at)
    table = at.dataframe[-1].value
    assert table["count"].sum() == 4
    assert table["recall_interval"].str.contains(" to ").all()
    assert len(charts(at)) == 1


def test_a_hundred_classes_are_shown_by_the_hardest_ones():
    make_run_store()
    runs = make_generated_runs(2, num_classes=101, num_test=400, is_ordinal=False)
    at = compare(runs, "classes")
    assert "classes with the lowest mean F1 of 101" in said(at)
    at = compare(runs, "matrices")
    close, whole = charts(at)
    assert "most confused of 101 classes" in json.dumps(close["layout"])
    assert sum(trace["type"] == "heatmap" for trace in whole["data"]) == 2


def test_published_results_stand_beside_runs_of_the_same_kind(graded):
    at = compare(graded, "published")
    (chart,) = charts(at)
    texts = json.dumps(chart["layout"], ensure_ascii=False)
    assert "The selected runs: five grades of diabetic retinopathy" in texts
    assert "place 25 to 26 in 2016" in texts
    assert "Dogs against cats" not in texts
    table = at.dataframe[-1].value
    assert table["comparable"].str.len().gt(20).all()
    at.segmented_control(key="compare_published_metric").set_value("sensitivity").run()
    assert link(at, "metric") == "sensitivity"
    assert "IDx-DR, pivotal trial" in json.dumps(charts(at)[0]["layout"])
    at.segmented_control(key="compare_published_metric").set_value("accuracy").run()
    at.toggle(key="compare_published_all").set_value(True).run()
    assert "Dogs against cats" in json.dumps(charts(at)[0]["layout"])


def test_published_results_stand_by_themselves_where_no_run_is_of_their_kind():
    make_dataset()
    at = compare([make_run("linear_probe")], "published")
    assert "is of a kind that anything here is about" in said(at)
    assert not at.toggle
    assert "VGG16 cut at fc2" in json.dumps(charts(at)[0]["layout"])
    at = compare([make_run("full_finetuning", epochs=2, state="stopped")], "published")
    assert "None of the selected runs has predictions" in said(at)
    assert len(charts(at)) == 1


def test_curves_by_epoch_second_and_images_seen_are_in_the_link():
    make_dataset()
    runs = [make_run("full_finetuning", epochs=3), make_run("linear_probe")]
    summary = get_run(runs[0]).folder / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "num_train": 12}))
    at = compare(runs, "curves", axis="images")
    assert numbers(charts(at)[0]["data"][0]["x"]) == [12, 24, 36]
    assert "1 of the selected runs have no epochs" in said(at)
    at.segmented_control(key="compare_curve_axis").set_value("step").run()
    assert numbers(charts(at)[0]["data"][0]["x"]) == [1, 2, 3]
    at.segmented_control(key="compare_curve_metric").set_value("accuracy").run()
    assert link(at, "metric") == "accuracy"
    assert charts(at)[0]["layout"]["title"]["text"] == "Accuracy"


def test_a_run_that_does_not_know_its_images_is_named_and_none_at_all_has_one_line():
    make_dataset()
    stopped = make_run("full_finetuning", epochs=2, state="stopped")
    at = compare([stopped], "curves", axis="images")
    assert "Not drawn against images" in said(at)
    at = compare([make_run("linear_probe")], "curves")
    assert "No curves" in said(at)
    assert not charts(at)


def test_wins_have_a_cell_for_every_two_runs_with_the_verdicts_correction(graded):
    at = compare(graded, "wins", metric="accuracy")
    (chart,) = charts(at)
    assert len(chart["layout"]["annotations"]) == 6
    assert "Corrected for 3 tests at once (Holm), as in the verdict." in said(at)
    texts = [one["text"] for one in chart["layout"]["annotations"]]
    first, second = (read_tested(get_run(run), "a") for run in graded[:2])
    right = [one.answers == one.targets for one in (first, second)]
    assert any(text.endswith(f"<br>{int((right[0] & ~right[1]).sum())}") for text in texts)
    at = compare(graded, "wins", metric="log_loss")
    assert "where less is better" in said(at)


def test_the_lower_log_loss_is_ahead(graded):
    from lib.evaluation.metric_table import METRICS
    from lib.figures.wins_chart import wins_of
    from lib.tracking.comparison import compare as compare_runs

    runs = [get_run(run) for run in graded]
    labels = {run.run_id: run.run_id[:4] for run in runs}
    found = compare_runs(runs, METRICS["log_loss"], labels, lambda run: read_tested(run, labels[run.run_id]))
    values = {row.key: row.value.value for row in found.rows}
    for (a, b), win in wins_of(found).items():
        assert (win.lead > 0) == (values[a] < values[b])
        assert win.lead == -wins_of(found)[b, a].lead


def test_wins_of_runs_that_cannot_be_compared_say_why(graded):
    make_dataset()
    at = compare([graded[0], make_run("linear_probe")], "wins", metric="accuracy")
    assert "Not compared" in said(at)
    assert "–" in [one["text"] for one in charts(at)[0]["layout"]["annotations"]]
    at = compare(graded[:1], "wins")
    assert "Wins need two finished runs" in said(at)
