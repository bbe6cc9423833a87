"""The view "Images": the same images under several runs, with filters, a large view and keys."""

import re

import pandas as pd
import pytest

from lib import tracking
from lib.atomic import write_json
from lib.data.library import delete_dataset, open_dataset
from lib.tracking.state import run_folder
from pages.common import background, resources
from pages.compare import image_pictures
from tests.pages.scene import html_of, link, make_dataset, make_run, open_page, words


@pytest.fixture
def runs():
    make_dataset()
    return make_run("linear_probe", num_wrong=1), make_run("full_finetuning", num_wrong=3)


def open_images(*runs, **view):
    at = open_page("compare_runs", runs=",".join(runs), tab="images", maps="off", **view)
    assert not at.error
    return at


def images_shown(at):
    return html_of(at).count('class="rp-tile')


def said(at):
    return words(at).replace("\\", "")


def test_each_image_stands_beside_what_each_run_says(runs):
    at = open_images(*runs)
    assert "All 4 images that all 2 runs were tested on." in said(at)
    assert images_shown(at) == 4 * 3
    shown = html_of(at)
    assert shown.count("<span>90.0 %, right") == 3 + 1
    assert shown.count("<span>90.0 %, wrong") == 1 + 3
    assert "3 of 4 right" in shown
    assert f"run={runs[1]}" in shown  # a picture opens Look inside with its run


def test_filters_are_in_the_link_and_say_how_many(runs):
    first, second = runs
    at = open_images(*runs, filter=f"only_right:{first[:8]}")
    assert "2 of 4 images: only Linear probe is right." in said(at)
    assert images_shown(at) == 2 * 3
    at.selectbox(key="compare_images_run_only_right_0").select(second[:8]).run()
    assert "0 of 4 images: only Full fine-tuning is right." in said(at)
    assert link(at, "filter") == f"only_right:{second[:8]}"
    at.selectbox(key="compare_images_filter").select("changed").run()
    assert "2 of 4 images are answered otherwise by Full fine-tuning than by Linear probe" in said(at)
    assert link(at, "filter") == "changed"
    at.selectbox(key="compare_images_filter").select("mistakes").run()
    assert "3 of 4 images were answered wrongly by some run" in said(at)
    blue = list(open_dataset("tiny").class_names).index("blue")
    at.selectbox(key="compare_images_class").select(blue).run()
    assert link(at, "class") == "blue"
    assert "Only the class blue." in said(at)


def test_one_image_large_is_walked_by_keys_and_closed(runs):
    ids = tracking.predictions(runs[0])["image_id"].tolist()
    at = open_images(*runs, at=ids[1])
    assert "2 of 4" in said(at)
    assert set(image_pictures._KEYS.values()) <= {button.key for button in at.button}
    at.button(key="images_next").click().run()
    assert (link(at, "at"), "3 of 4" in said(at)) == (ids[2], True)
    at.button(key="images_back").click().run()
    at.button(key="images_back").click().run()
    assert link(at, "at") == ids[0]
    assert at.button(key="images_back").disabled
    at.button(key="images_close").click().run()
    assert link(at, "at") == ""
    at.button(key="images_next").click().run()
    assert link(at, "at") == ids[0]


def test_an_image_that_the_link_has_and_the_runs_do_not_is_one_sentence(runs):
    at = open_images(*runs, at="f" * 16)
    assert "is not among those that these runs were tested on" in said(at)
    assert images_shown(at) == 12


def test_the_rule_of_the_expected_grade_is_offered_where_a_run_has_limits(runs):
    run = runs[0]
    table = tracking.predictions(run)
    for number, share in enumerate((0.5, 0.1, 0.4)):
        table[f"probability_{number}"] = share
    table.to_parquet(run_folder(run) / "predictions.parquet")
    manifest = {"classes": ["x", "y", "z"], "dataset": {"is_ordinal": True}, "thresholds": [0.5, 1.5]}
    write_json(run_folder(run) / "bundle" / "manifest.json", manifest)
    shown = html_of(open_images(run))
    assert (shown.count(">x<br>"), "50.0 %" in shown) == (2 + 4, True)  # two are x, and all are called so
    at = open_images(run, rule="expected")
    assert html_of(at).count("<span>10.0 %") == 4
    assert at.toggle(key="compare_images_rule").value is True


def test_answers_are_listed_where_the_data_set_is_gone(runs):
    delete_dataset("tiny")
    resources.forget_dataset()
    at = open_images(*runs)
    assert "is not in the library any more, so there are no pictures; the answers to 4 images are listed." in said(at)
    table = at.dataframe[-1].value
    assert len(table) == 4
    assert table["Full fine-tuning: confidence"].tolist() == [0.9] * 4


def test_a_run_without_predictions_is_one_sentence():
    make_dataset()
    run = make_run("full_finetuning", epochs=1, state="stopped")
    assert "none of the selected runs has kept any" in said(open_images(run))


def test_runs_on_other_images_are_left_out_with_a_sentence(runs):
    table = tracking.predictions(runs[1]).assign(image_id=[f"{number:016x}" for number in range(4)])
    table.to_parquet(run_folder(runs[1]) / "predictions.parquet")
    at = open_images(*runs)
    assert re.search(r"is left out: .* and .* share no test images", said(at))
    assert "All 4 images that the run was tested on." in said(at)


def test_an_image_that_the_version_lacks_keeps_its_answers(runs):
    for run in runs:
        table = tracking.predictions(run)
        table.loc[table.index[0], "image_id"] = "0" * 16
        table.to_parquet(run_folder(run) / "predictions.parquet")
    at = open_images(*runs)
    assert html_of(at).count('class="rp-empty"') == 3
    assert "its picture is gone" in html_of(at)
    at = open_images(*runs, at="0" * 16)
    assert "what was answered to it is listed" in said(at)


def test_a_run_whose_head_has_no_gradient_says_so(runs):
    for run, head in zip(runs, ("nearest_neighbors", "linear"), strict=True):
        network = {"backbone": "mobilenet_v2", "head": head}
        names = list(open_dataset("tiny").class_names)
        write_json(run_folder(run) / "bundle" / "manifest.json", {"classes": names, "network": network})
    at = open_page("compare_runs", runs=",".join(runs), tab="images")
    assert "No maps of Linear probe (" in said(at)


def test_a_stop_ends_the_maps_of_all_runs(runs, monkeypatch):
    started = []

    def start(name, title, work):
        started.append(title)
        task = background.Task(name, title, error=background.Task.stopped, is_over=True)
        background._tasks[name] = task
        return task

    names = list(open_dataset("tiny").class_names)
    for run in runs:
        network = {"backbone": "mobilenet_v2", "head": "linear"}
        write_json(run_folder(run) / "bundle" / "manifest.json", {"classes": names, "network": network})
    monkeypatch.setattr(background, "start", start)
    at = open_page("compare_runs", runs=",".join(runs), tab="images")
    at.run()
    assert len(started) == 1
    assert any(button.label == "Make them" for button in at.button)
    assert images_shown(at) == 4 * 3


def test_many_images_come_page_by_page(monkeypatch, runs):
    monkeypatch.setattr(image_pictures, "_PER_PAGE", 3)
    at = open_images(*runs)
    assert images_shown(at) == 3 * 3


def test_folds_say_whose_map_it_is(runs):
    table = tracking.predictions(runs[0])
    table.assign(fold=[0, 1, 0, 1]).to_parquet(run_folder(runs[0]) / "predictions.parquet")
    assert isinstance(table, pd.DataFrame)
    assert "its map is of the classifier that the run keeps, which has seen it" in said(open_images(runs[0]))


def test_several_runs_without_maps_say_why_in_a_box(runs, monkeypatch):
    def start(name, title, work):
        task = background.Task(name, title, error="The classifier is gone.", is_over=True)
        background._tasks[name] = task
        return task

    names = list(open_dataset("tiny").class_names)
    for run in runs:
        network = {"backbone": "mobilenet_v2", "head": "linear"}
        write_json(run_folder(run) / "bundle" / "manifest.json", {"classes": names, "network": network})
    monkeypatch.setattr(background, "start", start)
    at = open_page("compare_runs", runs=",".join(runs), tab="images")
    for _ in runs:  # one run after the other
        at.run()
    assert [box.label for box in at.expander if box.label.startswith("No maps")] == ["No maps of 2 runs"]
    assert said(at).count("The classifier is gone.") == 2
    assert images_shown(at) == 4 * 3
