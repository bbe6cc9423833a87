"""The operating point of a run: chosen in validation where there is one, kept with the classifier, read again."""

import dataclasses
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from lib.errors import UserError
from lib.evaluation.operating_point import predictive_values
from lib.grading.operating_point import (
    FILE,
    PUBLISHED_POINTS,
    choose_operating_point,
    forget_operating_point,
    operating_point_of,
    published_table,
    read_operating_point,
    referable_question,
    store_operating_point,
)
from lib.models.bundle_files import unpacked_bundle, zip_bundle
from lib.tracking import get_run
from lib.tracking.state import PREDICTIONS_FILE
from lib.tracking.tested import read_tested
from tests.generated_runs import GRADES, make_generated_runs


@pytest.fixture
def run(home):
    return get_run(make_generated_runs(1, num_test=100)[0])


def with_validation(run, *, shift=0.0):
    """Put answers in validation into a run's predictions: those of its test images with other ids, moved by a shift."""
    path = run.folder / PREDICTIONS_FILE
    table = pd.read_parquet(path)
    own = table[table["split"] == "test"].assign(split="val", image_id=lambda rows: "val" + rows["image_id"])
    own["probability_4"] += shift
    pd.concat([table, own], ignore_index=True).to_parquet(path)
    return table


def test_without_answers_in_validation_it_says_that_it_is_optimistic(run):
    point = operating_point_of(run, sensitivity=0.8, prevalence=0.2)
    assert point.is_optimistic
    assert "optimistic" in point.chosen_sentence
    assert (point.grade, point.positive) == (2, ("Moderate", "Severe", "Proliferative"))
    reading = point.reading
    assert reading.sensitivity.value >= 0.8
    assert reading.num_groups == 50  # two images a patient
    values = predictive_values(reading.sensitivity.value, reading.specificity.value, 0.2)
    assert (reading.ppv.value, reading.npv.value) == pytest.approx(values)
    assert reading.sensitivity.low < reading.sensitivity.value < reading.sensitivity.high


def test_the_threshold_comes_from_validation_and_the_figures_from_the_test_images(run):
    optimistic = operating_point_of(run, sensitivity=0.8)
    with_validation(run, shift=0.05)
    point = operating_point_of(run, sensitivity=0.8)
    assert not point.is_optimistic
    assert point.threshold == pytest.approx(optimistic.threshold + 0.05)
    assert point.reading.sensitivity.value <= optimistic.reading.sensitivity.value
    assert "chosen on 100 answers in validation" in point.chosen_sentence


def test_folds_are_chosen_on_the_answers_of_all_of_them(run):
    path = run.folder / PREDICTIONS_FILE
    table = pd.read_parquet(path)
    table.assign(fold=np.arange(len(table)) % 3).to_parquet(path)
    point = operating_point_of(run)
    assert (point.num_chosen, point.is_optimistic) == (100, True)


def test_it_is_stored_with_the_classifier_and_travels_with_it(run, tmp_path):
    assert read_operating_point(run) is None
    point = operating_point_of(run)
    store_operating_point(run, point)
    assert read_operating_point(run).to_dict() == point.to_dict()
    assert json.loads((run.folder / "bundle" / FILE).read_text())["is_optimistic"] is True
    (run.folder / "bundle" / "network.safetensors").write_bytes(b"")  # the generated run has no network
    zip_bundle(run.folder / "bundle", tmp_path / "bundle.zip")
    assert FILE in zipfile.ZipFile(tmp_path / "bundle.zip").namelist()
    with unpacked_bundle(tmp_path / "bundle.zip") as folder:
        assert read_operating_point(folder).threshold == point.threshold
    forget_operating_point(run)
    forget_operating_point(run)
    assert read_operating_point(run) is None


@pytest.mark.parametrize(
    "damage",
    [b"{", b"[]", b'{"format_version": 99}', b'{"format_version": 1, "title": "x"}', b'{"format_version": "a"}'],
)
def test_what_cannot_be_read_is_no_point(run, damage):
    store_operating_point(run, operating_point_of(run))
    (run.folder / "bundle" / FILE).write_bytes(damage)
    assert read_operating_point(run) is None


def test_a_run_without_a_classifier_keeps_none(run):
    point = operating_point_of(run)
    with pytest.raises(UserError, match="has no classifier yet"):
        store_operating_point(dataclasses.replace(run, folder=run.folder / "gone"), point)


def test_it_refers_new_answers_by_the_names_of_the_classes(run):
    point = dataclasses.replace(operating_point_of(run), threshold=0.5)
    probabilities = np.array([[0.1, 0.3, 0.2, 0.2, 0.2], [0.2, 0.4, 0.2, 0.1, 0.1]])
    assert point.refers(probabilities, GRADES).tolist() == [True, False]
    turned = [4, 3, 2, 1, 0]
    assert point.refers(probabilities[:, turned], [GRADES[k] for k in turned]).tolist() == [True, False]
    with pytest.raises(UserError, match="'Moderate', which the classifier does not know"):
        point.refers(probabilities[:, :2], ["a", "b"])


def test_bad_wishes_are_refused_in_a_sentence(run):
    for wish, match in (
        ({"sensitivity": 1.2}, "above 0 and up to 1, received 1.2"),
        ({"prevalence": 0.0}, "between 0 and 1, received 0"),
        ({"grade": 5}, "between 1 and 4, received 5"),
        ({"grade": 0}, "between 1 and 4, received 0"),
    ):
        with pytest.raises(UserError, match=match):
            operating_point_of(run, **wish)


def test_classes_without_an_order_have_none(home):
    run = get_run(make_generated_runs(1, num_classes=3, num_test=30, is_ordinal=False)[0])
    with pytest.raises(UserError, match="These classes have no order"):
        operating_point_of(run)


def test_of_two_merged_classes_the_second_is_looked_for():
    question = referable_question(["Not referable", "Referable"], is_ordinal=True)
    assert (question.title, question.positive) == ("Referable", (1,))


def test_a_constant_predictor_and_one_class_are_said(run):
    tested = read_tested(run, "Run")
    question = referable_question(tested.class_names, is_ordinal=True)
    constant = dataclasses.replace(tested, probabilities=np.full((100, 5), 0.2))
    with pytest.raises(UserError, match="same score, so that no threshold"):
        choose_operating_point(constant, question)
    healthy = tested.taking(np.flatnonzero(tested.targets < 2))
    with pytest.raises(UserError, match=r"none of the .* test images is 'Referable: Moderate and above'"):
        choose_operating_point(healthy, question)


def test_published_points_are_marked_as_other_data_and_have_their_source():
    table = published_table()
    assert len(table) == len(PUBLISHED_POINTS) == 6
    assert (table["url"].str.startswith("https://")).all()
    assert table["sensitivity"].tolist()[4] == "0.872 (0.818 to 0.912)"
