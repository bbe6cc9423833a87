"""Boards of published results: each protocol by itself, our runs beside and never among them."""

import math

import numpy as np
import pytest

from lib.data.grades import GRADE_NAMES
from lib.data.specs import DatasetSpec
from lib.evaluation.metrics import quadratic_weighted_kappa, wilson_interval
from lib.recipes.boards import boards_table, published_boards, run_figure
from lib.recipes.published import PUBLISHED_METRICS, published_matrices
from lib.tracking.records import RunRecord
from lib.tracking.tested import TestedRun


def answered(tmp_path, dataset="fundus-demo", recipe="", seed=0, num_classes=5, groups=None):
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(num_classes), 40)
    answers = np.where(generator.random(len(targets)) < 0.6, targets, generator.integers(0, num_classes, len(targets)))
    config = {"dataset": dataset, "strategy": "linear_probe", "recipe": recipe}
    run = RunRecord("a" * 32, "", "finished", "", "", 0.0, 1.0, config, {}, tmp_path)
    names = list(GRADE_NAMES) if num_classes == 5 else ["cat", "dog"]
    ids = np.array([f"image{number}" for number in range(len(targets))])
    return TestedRun(run, "ours", targets, np.eye(num_classes)[answers], ids, names, num_classes == 5, groups)


def spec(name):
    return DatasetSpec(name=name, title=name, class_names=GRADE_NAMES)


def boards(metric, one, name, **options):
    found = published_boards(metric, [one], {one.run.run_id: spec(name)}, **options)
    return {board.protocol.name if board.protocol else board.title: board for board in found}


def test_lines_are_ranked_within_their_protocol_alone(tmp_path):
    found = published_boards("quadratic_weighted_kappa", [], {})
    assert not any(line.is_ours for board in found for line in board.lines)
    by_name = {board.protocol.name: [line.value for line in board.lines] for board in found}
    assert by_name["vgg16-dr-1000"] == [0.74558, 0.74487, 0.72214, 0.70822, 0.51096]
    assert by_name["aptos-folds"] == [0.923, 0.921, 0.908]
    assert by_name["aptos-public"] == [0.787, 0.772, 0.625]
    assert by_name["aptos-elsewhere"] == [0.55, 0.72, 0.47, 0.97]  # each on another set
    losses = published_boards("log_loss", [], {})
    assert [line.value for line in losses[0].lines] == [0.039, 0.061, 0.122]  # less is better


def test_places_and_times_are_said_and_intervals_come_from_the_number_of_images():
    (study, *_) = published_boards("quadratic_weighted_kappa", [], {})
    assert [line.mark for line in study.lines] == [
        "place 25 to 26 in 2016", "place 26 to 27 in 2016", "place 32 to 33 in 2016", "", "place 79 to 80 in 2016",
    ]  # fmt: skip
    assert all(line.low < line.value < line.high for line in study.lines)  # by bootstrap of the matrices
    other = published_boards("quadratic_weighted_kappa", [], {})[1]
    assert all(math.isnan(line.low) for line in other.lines)  # of a kappa alone nothing follows
    accuracy = {board.protocol.name: board for board in published_boards("accuracy", [], {})}
    best = accuracy["vgg16-dr-1000"].lines[0]
    assert (best.low, best.high) == pytest.approx(wilson_interval(200, 300))
    assert not any("place" in line.mark for board in accuracy.values() for line in board.lines)
    assert [line.mark for line in accuracy["vgg16-food-10"].lines] == ["1 h 12 min", "52 min", ""]


def test_a_run_on_other_data_stands_beside_and_not_in_a_board(tmp_path):
    one = answered(tmp_path)
    found = boards("quadratic_weighted_kappa", one, "fundus-demo", is_of_kind_only=True)
    own = next(board for title, board in found.items() if title.startswith("The selected runs"))
    assert [(line.label, line.mark) for line in own.lines] == [("ours", "other data: fundus-demo")]
    assert own.lines[0].value == pytest.approx(quadratic_weighted_kappa(one.targets, one.probabilities))
    assert own.lines[0].low < own.lines[0].value < own.lines[0].high
    assert not any(line.is_ours for line in found["vgg16-dr-1000"].lines)
    assert "dogs-cats-2013" not in boards("accuracy", one, "fundus-demo", is_of_kind_only=True)
    assert "dogs-cats-2013" in boards("accuracy", one, "fundus-demo")


@pytest.mark.parametrize(
    ("dataset", "recipe", "mark"), [("eyepacs", "", "same data"), ("fundus-demo", "vgg16-dr-lr", "other data")]
)
def test_a_run_on_the_data_or_of_the_recipe_also_stands_below_the_published_lines(tmp_path, dataset, recipe, mark):
    one = answered(tmp_path, dataset, recipe)
    lines = boards("quadratic_weighted_kappa", one, dataset)["vgg16-dr-1000"].lines
    assert [line.is_ours for line in lines] == [False] * 5 + [True]
    assert lines[-1].mark == mark


def test_referable_figures_are_of_grade_two_and_above(tmp_path):
    one = answered(tmp_path)
    is_sick, said = one.targets >= 2, one.answers >= 2
    value, low, high = run_figure(one, "sensitivity", "referable")
    assert value == pytest.approx((is_sick & said).sum() / 120)
    assert (low, high) == pytest.approx(wilson_interval((is_sick & said).sum(), 120))
    assert run_figure(one, "specificity", "referable")[0] == pytest.approx((~is_sick & ~said).sum() / 80)
    assert run_figure(one, "accuracy", "referable")[0] == pytest.approx((is_sick == said).mean())
    assert math.isnan(run_figure(one, "auroc", "referable")[0])  # a run without a score
    assert math.isnan(run_figure(one, "validation_accuracy", "grades")[0])
    patients = np.array([f"p{number // 2}" for number in range(200)])
    grouped = run_figure(answered(tmp_path, groups=patients), "sensitivity", "referable")
    assert grouped[0] == value
    assert grouped[1:] != (low, high)


def test_the_table_has_what_must_be_known_of_each_line(tmp_path):
    table = boards_table(published_boards("accuracy", [answered(tmp_path)], {}), "accuracy")
    published = table[~table["is_ours"]]
    for column in ("source", "data", "split", "definition", "comparable"):
        assert published[column].str.len().gt(0).all()
    assert table["is_ours"].sum() == 2  # as grades, and as referable or not


def test_every_metric_has_a_board_and_every_matrix_agrees_with_what_is_printed(tmp_path):
    assert all(published_boards(metric, [], {}) for metric in PUBLISHED_METRICS)
    for line in published_matrices(5, are_grades=True):
        matrix = np.array(line.confusion)
        assert matrix.trace() / matrix.sum() == pytest.approx(line.values["accuracy"], abs=1e-5)
