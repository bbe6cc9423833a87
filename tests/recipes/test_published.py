"""Published results: every one with its source, apart by protocol, and what stands beside a run of ours."""

import numpy as np
import pytest

from lib.data.grades import GRADE_NAMES
from lib.data.specs import DatasetSpec
from lib.recipes import RECIPES, published_matrices, published_protocols, published_results
from lib.recipes.protocols import PROTOCOLS
from lib.recipes.published import PUBLISHED_METRICS, TASKS, are_five_grades, stands_beside

LINES = [(protocol, line) for protocol in published_protocols() for line in protocol.lines]
FOREST = ("forest", "meadow")


def spec(name, classes=GRADE_NAMES):
    return DatasetSpec(name=name, title=name, class_names=tuple(classes), domain="toy")


@pytest.mark.parametrize(("protocol", "line"), LINES, ids=lambda one: getattr(one, "name", getattr(one, "title", "")))
def test_every_line_says_where_it_comes_from_and_what_it_may_be_held_against(protocol, line):
    assert line.source and line.read_in and line.values
    assert set(line.values) <= set(PUBLISHED_METRICS)
    assert all(0 < value < 1 for value in line.values.values())
    assert set(line.intervals) <= set(line.values)
    assert all(low < line.values[key] < high for key, (low, high) in line.intervals.items())
    assert protocol.task in TASKS
    assert protocol.data and protocol.split and protocol.definition and protocol.comparable.endswith(".")


def test_every_figure_of_the_studies_is_on_a_board():
    shown = {line.recipe for _, line in LINES if line.recipe}
    assert shown == {recipe.name for recipe in RECIPES if recipe.published.accuracy is not None}
    assert {protocol.study for protocol in PROTOCOLS if protocol.study} == {recipe.study.title for recipe in RECIPES}
    food = {line.recipe: line for _, line in LINES}
    assert food["vgg16-food-transfer"].values["validation_accuracy"] == 0.617
    assert food["vgg16-food-finetune"].values["validation_accuracy"] == 0.718
    assert (food["vgg16-food-transfer"].seconds, food["vgg16-food-finetune"].seconds) == (3127, 4339)


def test_places_on_the_leaderboard_stand_beside_the_first_study_alone():
    places = {
        (protocol.name, line.values["quadratic_weighted_kappa"]): line.places for protocol, line in LINES if line.places
    }
    assert places == {
        ("vgg16-dr-1000", 0.51096): "79-80",
        ("vgg16-dr-1000", 0.74558): "25-26",
        ("vgg16-dr-1000", 0.74487): "26-27",
        ("vgg16-dr-1000", 0.72214): "32-33",
    }


def test_the_file_holds_class_reports_that_follow_from_the_matrices():
    found = {entry["recipe"]: entry for entry in published_results()["results"]}
    report = found["vgg16-dr-lr"]["class_report"]
    # Of the 60 photographs without retinopathy 15 were found; 58 were called so.
    assert report[0] == {"class_name": "No DR", "precision": 0.2586, "recall": 0.25, "f1": 0.2542, "count": 60}
    assert sum(row["count"] for row in report) == 300
    assert found["vgg16-dogscats"]["class_report"] == []


def test_the_five_matrices_are_for_five_grades_only():
    found = published_matrices(5, are_grades=True)
    assert [np.array(line.confusion).sum() for line in found] == [300] * 5
    assert published_matrices(5, are_grades=False) == published_matrices(2, are_grades=True) == []
    assert are_five_grades(GRADE_NAMES, is_ordinal=True)
    assert not are_five_grades(GRADE_NAMES, is_ordinal=False)
    assert not are_five_grades(GRADE_NAMES[::-1], is_ordinal=True)


@pytest.mark.parametrize(
    ("protocol", "config", "classes", "is_ordinal", "dataset", "expected"),
    [
        ("vgg16-dr-1000", {}, GRADE_NAMES, True, "fundus-demo", "other data"),
        ("vgg16-dr-1000", {}, GRADE_NAMES, True, "eyepacs", "same data"),
        ("vgg16-dr-1000", {}, GRADE_NAMES, True, None, "other data"),
        ("vgg16-dr-1000", {}, FOREST, False, "woods", None),
        ("vgg16-dr-1000", {"recipe": "vgg16-dr-lr"}, FOREST, False, "woods", "other data"),
        ("vgg16-food-10", {"recipe": "vgg16-dr-lr"}, GRADE_NAMES, True, "fundus-demo", None),
        ("vgg16-dogs-cats", {}, ("cats", "dogs"), False, "pets", "same data"),
        ("retinamnist", {}, GRADE_NAMES, True, "retinamnist-224", "same data"),
        ("referable-eyepacs-1", {}, GRADE_NAMES, True, "fundus-demo", "other data"),
    ],
)
def test_runs_of_the_same_kind_stand_beside_a_protocol_and_other_data_are_marked(
    protocol, config, classes, is_ordinal, dataset, expected
):
    own = None if dataset is None else spec(dataset, classes)
    found = stands_beside(PROTOCOLS.get(protocol), config, classes, is_ordinal=is_ordinal, spec=own)
    assert found == expected
