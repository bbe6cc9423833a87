"""Compare runs: the table, what follows the selection, deletion with undo."""

import json

import numpy as np

from lib import tracking
from lib.data.dataset_changes import change_dataset
from lib.data.label_schema import SchemaChange
from lib.data.library import open_dataset
from lib.tracking import list_runs, rename_run
from pages.common import resources
from pages.common.results import short_labels
from tests.generated_runs import make_generated_runs
from tests.pages.scene import CLASSES, link, make_dataset, make_run, open_page, page_links, words


def test_no_runs_lead_to_training():
    make_dataset()
    at = open_page("compare_runs")
    assert "Nothing has been trained on tiny yet" in words(at)
    assert "Train a model" in page_links(at)


def test_table_intervals_and_a_paired_sentence():
    make_dataset()
    make_run("linear_probe", num_wrong=0)
    make_run("from_scratch", num_wrong=3, epochs=3)
    at = open_page("compare_runs")
    table = at.dataframe[0].value
    assert table["strategy_title"].tolist() == ["Linear probe", "From scratch"]  # the better one first
    assert table["test_accuracy"].tolist() == [1.0, 0.25]
    # Wilson at 4 of 4: 4 / (4 + 1.96^2) = 0.510
    assert table["test_accuracy_interval"].tolist()[0] == "0.510 to 1.000"
    assert table["test_baseline_accuracy"].tolist() == [0.5, 0.5]
    assert "commonest class" in words(at)
    assert "Linear probe" in words(at)
    assert "n = 4" in words(at).replace("\\", "")
    assert not at.error
    assert len(link(at, "runs").split(",")) == 2


def test_images_of_one_patient_count_as_one_observation(monkeypatch):
    asked = []

    def one_patient(dataset, image_ids):
        asked.append((dataset, len(image_ids)))
        return np.array(["patient"] * len(image_ids))

    monkeypatch.setattr("lib.data.library.image_groups", one_patient)
    make_dataset()
    make_run("linear_probe"), make_run("from_scratch", num_wrong=3)
    at = open_page("compare_runs")
    assert set(asked) == {("tiny", 4)}
    # A single patient shows nothing; four images by themselves would give 0.250.
    assert "all 4 images are of one patient or group" in words(at).replace("\\", "")


def test_a_link_chooses_the_runs_also_of_another_data_set():
    make_dataset()
    first, second = make_run("linear_probe"), make_run("nearest_neighbors")
    at = open_page("compare_runs", runs=first)
    assert "1 run selected" in words(at)
    assert link(at, "runs") == first
    assert second not in link(at, "runs")


def test_a_run_that_somebody_named_keeps_its_name_beside_the_titles_of_the_others():
    make_dataset()
    named, *_ = make_run("linear_probe"), make_run("from_scratch"), make_run("linear_probe")
    at = open_page("compare_runs")
    assert "own_name" not in at.dataframe[0].proto.column_order
    rename_run(named, "My best")
    resources.forget_results()
    labels = short_labels(list_runs())
    assert labels[named] == "My best"
    assert set(labels.values()) == {"My best", "Linear probe", "From scratch"}
    at = open_page("compare_runs", runs=named[:8])
    assert "own_name" in at.dataframe[0].proto.column_order
    assert link(at, "runs") == named


def test_newest_and_best_are_ticked_and_a_link_to_a_run_that_is_gone_says_so():
    make_dataset()
    best, _, newest = (
        make_run("linear_probe"),
        make_run("linear_svm", num_wrong=3),
        make_run("from_scratch", num_wrong=2),
    )
    at = open_page("compare_runs")
    assert link(at, "runs").split(",") == [newest, best]
    at = open_page("compare_runs", runs=f"{'0' * 32},{best}")
    assert "1 run of the link is not here (any more): 000000000000" in at.warning[0].value.replace("\\", "")
    assert link(at, "runs") == best
    at = open_page("compare_runs", runs="0" * 32)
    assert "1 run of the link" in at.warning[0].value
    assert link(at, "runs") == ""
    assert not at.exception


def test_the_runs_are_read_again_only_when_something_has_changed(monkeypatch):
    make_dataset()
    make_run("linear_probe")
    read = []
    monkeypatch.setattr(tracking, "list_runs", lambda: read.append(1) or list_runs())
    for _ in range(3):
        assert len(resources.run_records()) == 1
    assert len(read) == 1
    make_run("from_scratch")
    assert len(resources.run_records()) == 2
    assert len(read) == 2


def test_a_double_click_deletes_one_run_and_not_what_comes_into_its_place():
    make_dataset()
    first, second = make_run("linear_probe"), make_run("from_scratch")
    at = open_page("compare_runs", runs=first)
    button = delete_button(at)
    button.click().run()
    assert [record.run_id for record in list_runs()] == [second]
    assert not [button for button in at.button if button.label.startswith("Delete ")]  # nothing else was selected


def test_matrices_side_by_side():
    make_dataset()
    runs = [make_run("linear_probe"), make_run("from_scratch", num_wrong=3)]
    at = open_page("compare_runs", runs=",".join(runs), tab="matrices")
    (chart,) = at.get("plotly_chart")
    assert len([trace for trace in json.loads(chart.proto.spec)["data"] if trace["type"] == "heatmap"]) == 2


def test_stopped_runs_show_their_reason():
    make_dataset()
    make_run("full_finetuning", epochs=2, state="stopped")
    at = open_page("compare_runs")
    assert at.dataframe[0].value["state"].tolist() == ["stopped: out of patience"]


def delete_button(at):
    return next(button for button in at.button if button.label.startswith("Delete "))


def test_deletion_can_be_undone():
    make_dataset()
    run = make_run("linear_probe")
    at = open_page("compare_runs", runs=run)
    delete_button(at).click().run()
    assert list_runs() == []
    assert "Deleted" in words(at)
    at.button(key="undo_runs_button").click().run()
    assert [record.run_id for record in list_runs()] == [run]


def test_runs_of_an_earlier_version_keep_its_names_and_say_so():
    make_dataset()
    run, before = make_run("linear_probe", num_wrong=1), open_dataset("tiny").version
    after = change_dataset("tiny", SchemaChange(order=tuple(reversed(CLASSES)), class_names=("second", "first")))
    resources.forget_dataset()
    at = open_page("compare_runs", runs=run)
    assert f"Trained on version {before[:12]} of the data set, now {after.version[:12]}." in words(at).replace("\\", "")
    at = open_page("compare_runs", runs=run, tab="classes")
    assert at.dataframe[1].value["class_name"].tolist() == list(open_dataset("tiny", version=before).class_names)


def test_three_runs_fold_their_comparisons():
    make_dataset()
    for number, strategy in enumerate(("linear_probe", "nearest_neighbors", "from_scratch")):
        make_run(strategy, num_wrong=number)
    at = open_page("compare_runs", runs="")
    at = open_page("compare_runs", runs=",".join(run.run_id for run in tracking.list_runs()))
    assert not at.exception
    said = words(at).replace("\\", "")
    assert "Linear probe has the highest accuracy: 100.0\u00a0% (51.0\u00a0% to 100.0\u00a0%)" in said
    assert (
        "It is ahead of Nearest neighbours and From scratch by 25.0 to 50.0 percentage points, but that could" in said
    )
    assert "Holm-corrected" in said
    assert any(box.label == "Each comparison in words" for box in at.expander)


def test_page_and_command_print_the_same_numbers(capsys):
    from lib.cli.comparison import compare_command

    make_dataset()
    runs = [make_run(strategy, num_wrong=wrong) for strategy, wrong in (("linear_probe", 0), ("linear_svm", 1),
                                                                       ("from_scratch", 3))]  # fmt: skip
    for metric in ("accuracy", "log_loss"):
        at = open_page("compare_runs", runs=",".join(runs), metric=metric)
        said = words(at).replace("\\", "")
        compare_command.main([*runs, "--metric", metric, "--json"], standalone_mode=False)
        answer = json.loads(capsys.readouterr().out.splitlines()[-1])
        shown = {json.loads(chart.proto.spec)["layout"]["title"]["text"]: chart for chart in at.get("plotly_chart")}
        assert len(answer["rows"]) == 3
        for row in answer["rows"]:
            assert row["words"] in said or row is not answer["rows"][0]
        # The numbers of a sentence stand behind the names, which are shorter on the page.
        for pair in answer["pairs"]:
            assert pair["sentence"][pair["sentence"].rindex("(") :] in said
        for warning in answer["warnings"]:
            assert warning.partition("calls")[2] in said
        assert link(at, "metric") == metric
        assert shown


def test_a_run_whose_predictions_are_gone_or_whose_data_set_is_deleted_has_a_sentence():
    from lib.data.library import delete_dataset

    make_dataset()
    kept, gone, third = make_run("linear_probe"), make_run("linear_svm", num_wrong=1), make_run("from_scratch")
    (tracking.get_run(gone).folder / "predictions.parquet").unlink()
    at = open_page("compare_runs", runs=f"{kept},{gone},{third}")
    assert "has no predictions" in words(at)
    assert not at.exception
    delete_dataset("tiny")
    resources.forget_dataset()
    at = open_page("compare_runs", runs=f"{kept},{third}")
    assert not at.exception
    assert "No difference" in words(at) or "Not shown" in words(at)


def test_seeds_of_one_series_are_not_compared_with_each_other():
    seeds = make_generated_runs(8, num_test=40)
    at = open_page("compare_runs", runs=",".join(seeds[:2]), tab="verdict")
    assert "The 2 selected runs are seeds of one series: select another run to compare them with." in words(at)
    assert "Is the difference real?" not in [one.value for one in at.subheader]
    at = open_page("compare_runs", runs=seeds[0], tab="verdict")
    assert "Select a second finished run" in words(at)
    at = open_page("compare_runs", runs=f"{seeds[0]},{seeds[3]}", tab="verdict")
    assert "Is the difference real?" in [one.value for one in at.subheader]


def test_wins_say_once_that_a_series_is_not_tested_against_single_runs():
    runs = make_generated_runs(8, num_test=40)
    said = words(open_page("compare_runs", runs=",".join(runs), tab="wins")).replace("\\", "")
    assert said.count("Not tested") == 1
    assert "Not tested (–): a series of seeds against a single run." in said
    said = words(open_page("compare_runs", runs=",".join(runs[:2]), tab="wins"))
    assert "the selection has 1 such row." in said
