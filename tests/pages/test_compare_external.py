"""The view "Other data": which data sets fit, the background job, what is kept, deleted and brought back."""

import time

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from lib.atomic import write_json
from lib.data.importing import import_folder
from lib.data.library import delete_dataset, open_dataset
from lib.errors import Stopped, UserError
from lib.grading.evaluation import Evaluation
from lib.grading.external import external_results, measure_external, store_external
from lib.tracking import get_run
from lib.tracking.state import run_folder
from pages.common import background, resources
from pages.compare import external
from pages.compare import external_results as kept_results
from tests.pages.scene import CLASSES, html_of, link, make_dataset, make_run, open_page, words, write_images


@pytest.fixture
def runs(tmp_path):
    """Two runs with a manifest; a data set of their classes, and one of others."""
    make_dataset()
    names = list(open_dataset("tiny").class_names)
    made = make_run("linear_probe", num_wrong=1), make_run("full_finetuning", num_wrong=2)
    for run in made:
        manifest = {"classes": names, "dataset": {"is_ordinal": False}, "network": {"head": "linear"}}
        write_json(run_folder(run) / "bundle" / "manifest.json", manifest)
    import_folder(write_images(tmp_path / "same", 4, CLASSES), name="elsewhere")
    import_folder(write_images(tmp_path / "others", 3, ("rose", "violet")), name="flowers")
    return made


def keep(run_id, dataset="elsewhere", num_wrong=1, **figures):
    """A result as the command keeps it."""
    opened = open_dataset(dataset)
    targets = opened.table["target"].to_numpy()
    right = np.arange(len(targets)) >= num_wrong
    shares = np.where((np.arange(2) == targets[:, None]) == right[:, None], 0.9, 0.1)
    table = pd.DataFrame({"image_id": opened.table["image_id"], "split": "test", "target": targets})
    answers = table.assign(probability_0=shares[:, 0], probability_1=shares[:, 1])
    about = {
        "dataset": dataset, "dataset_version": opened.version, "class_names": list(open_dataset("tiny").class_names),
        "is_ordinal": False, "mapping": "", "merged": [], "images": "unseen", "classes_without_images": [],
        "num_seen_left_out": 2, "num_near_left_out": 1, "num_unmapped": 0, "note": "2 images were left out.", **figures,
    }  # fmt: skip
    result = measure_external(get_run(run_id), Evaluation(about, answers), title=opened.spec.title)
    store_external(result, answers)
    return result


def open_external(*runs, **view):
    return open_page("compare_runs", runs=",".join(runs), tab="external", **view)


def said(at):
    return words(at).replace("\\", "").replace("\u2060", "")


def wait_for(task):
    end = time.monotonic() + 20
    while not task.is_over and time.monotonic() < end:
        time.sleep(0.02)


def test_data_sets_that_fit_are_offered_and_others_say_why_not(runs):
    at = open_external(*runs)
    assert not at.error
    assert at.selectbox(key="compare_external").options == ["elsewhere · 8 images"]
    assert "the class 'rose', which the classifier does not know" in said(at)
    assert "None of the selected runs has been evaluated on another data set yet." in said(at)
    at.button(key="external_map_flowers").click().run()
    assert link(at, "external") == "flowers"
    ours = list(open_dataset("tiny").class_names)
    at.selectbox(key="external_class_flowers_rose").select(ours[0]).run()
    assert "say which class it is" not in said(at)


def test_a_library_of_other_classes_alone_leads_to_a_mapping(runs):
    delete_dataset("elsewhere")
    resources.forget_dataset()
    at = open_external(*runs)
    assert "No other data set has the classes of the runs by name or by grade; map the classes of one." in said(at)
    at.button(key="external_map_flowers").click().run()
    assert "The mapping 'rose=-,violet=-' leaves out every class" in said(at)


def test_each_run_is_evaluated_in_the_background_with_the_mapping(runs, monkeypatch):
    asked = []

    def child(arguments, progress):
        asked.append(arguments)
        progress(1, 8, "evaluating")
        keep(arguments[2])
        return {}

    monkeypatch.setattr(external, "run_child_command", child)
    at = open_external(*runs, external="elsewhere")
    at.button(key="external_start").click().run()
    (task,) = [task for name, task in background._tasks.items() if name.startswith("external_")]
    wait_for(task)
    assert (task.error, task.result) == ("", 2)
    assert {words[2] for words in asked} == set(runs)
    assert all(words[3:] == ["--dataset", "elsewhere", "--store"] for words in asked)
    at.run()
    assert "Linear probe on elsewhere: accuracy 87.5" in said(at)
    assert "elsewhere" in resources.board().table["external"].iloc[0]  # the board has it at once
    table = at.dataframe[-1].value
    assert table["Left out"].tolist() == ["2 seen in training, 1 copies of those"] * 2
    at = open_external(*runs, external="flowers")
    names = list(open_dataset("tiny").class_names)
    at.selectbox(key="external_class_flowers_rose").select(names[1]).run()
    asked.clear()
    at.button(key="external_start").click().run()
    assert asked[0][-2:] == ["--map", f"rose={names[1]},violet=-"]


def test_a_failure_and_a_stop_are_one_sentence_and_what_was_done_stays(runs):
    commands = {"first": ["evaluate"], "second": ["evaluate"]}
    with pytest.MonkeyPatch.context() as patch:
        answers = iter([UserError("no new image is left"), {}])

        def child(arguments, progress):
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        patch.setattr(external, "run_child_command", child)
        with pytest.raises(UserError, match=r"^first: no new image is left$"):
            external._evaluate_all(commands, lambda *_: None)
        assert next(answers, None) is None  # the second ran all the same
        answers = iter([{}, Stopped()])
        with pytest.raises(UserError, match="Stopped; 1 of 2 runs evaluated and kept"):
            external._evaluate_all(commands, lambda *_: None)


def test_results_are_deleted_with_undo(runs):
    result = keep(runs[0])
    at = open_external(*runs, external="elsewhere")
    assert at.dataframe[-1].value["Run"].tolist() == ["Linear probe"]
    kept_results._delete([(runs[0], result.key)], "1 result")
    assert external_results(runs[0]) == []
    at.session_state["undo_external"] = st.session_state["undo_external"]
    at.run()
    assert "Deleted 1 result." in said(at)
    at.button(key="undo_external_button").click().run()
    assert len(external_results(runs[0])) == 1


def test_a_data_set_that_is_gone_leaves_its_result_listed(runs):
    keep(runs[0])
    delete_dataset("elsewhere")
    resources.forget_dataset()
    at = open_external(*runs, external="elsewhere", pictures="images", maps="off")
    assert "is not in the library (any more); what was kept of it is listed below" in said(at)
    assert "Linear probe on elsewhere: accuracy" in said(at)
    assert "so there are no pictures; the answers to 8 images are listed" in said(at)
    assert not at.error


def test_a_missing_class_is_one_plain_line(runs):
    keep(runs[0], classes_without_images=["blue"])
    assert "No images there of blue; averages over classes leave them out." in said(open_external(*runs))


def test_every_picture_of_answers_is_drawn_of_the_other_images(runs):
    keep(runs[0]), keep(runs[1], num_wrong=3)
    at = open_external(*runs, external="elsewhere", pictures="images", maps="off")
    assert "All 8 images that all 2 runs were tested on." in said(at)
    assert html_of(at).count('class="rp-tile') == 8 * 3
    for name in kept_results._PICTURES[1:]:
        at = open_external(*runs, external="elsewhere", pictures=name)
        assert (len(at.error), len(at.exception)) == (0, 0), name
        assert at.get("plotly_chart"), name


def test_answers_of_merged_classes_have_no_maps(runs):
    keep(runs[0], class_names=["low", "high"])
    at = open_external(runs[0], external="elsewhere", pictures="images")
    assert "its classes were merged for these images" in said(at)


def test_a_run_without_a_classifier_and_a_library_without_another_set_say_so(runs):
    running = make_run("from_scratch", epochs=1, state="stopped")
    assert "none of the selected runs has one" in said(open_external(running))
    for name in ("elsewhere", "flowers"):
        delete_dataset(name)
    resources.forget_dataset()
    assert "There is no other data set in the library yet" in said(open_external(*runs))
