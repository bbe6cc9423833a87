"""Cost and size below the board, and the files under every figure."""

import pytest

from lib.sweeps.sizes import SizeSweep, make_plan
from lib.tracking import get_run
from lib.tracking.state import PREDICTIONS_FILE
from lib.training.config import TrainConfig
from lib.training.resolution import trained_parameters
from tests.generated_runs import make_generated_runs
from tests.pages.scene import link, make_dataset, make_run, open_comparison, plain_words


@pytest.mark.parametrize("axis", ["", "parameters"])
@pytest.mark.parametrize(("number", "classes"), [(1, 2), (3, 5)])
def test_results_against_what_they_cost(axis, number, classes):
    runs = make_generated_runs(number, num_classes=classes, num_test=60)
    at = open_comparison(runs, "cost", **({"axis": axis} if axis else {}))
    assert len(at.get("plotly_chart")) == 1
    assert "None is better at the same or a lower cost" in plain_words(at)
    at = open_comparison(runs, "cost", metric="log_loss")
    assert "lower is better" in plain_words(at)


def test_runs_without_predictions_have_no_cost_to_hold_against():
    runs = make_generated_runs(1, num_test=60)
    (get_run(runs[0]).folder / PREDICTIONS_FILE).unlink()
    assert "no selected run has kept any" in plain_words(open_comparison(runs, "cost"))


def test_trained_parameters_are_counted_without_a_network():
    probe = TrainConfig(dataset="d", backbone="mobilenet_v2", strategy="linear_probe")
    trained, whole = trained_parameters(probe, 5)
    assert trained == 5 * 1280 + 5
    full = TrainConfig(dataset="d", backbone="mobilenet_v2", strategy="full_finetuning")
    assert trained_parameters(full, 5)[0] == whole > 2_000_000
    neighbors = TrainConfig(dataset="d", backbone="mobilenet_v2", strategy="nearest_neighbors")
    assert trained_parameters(neighbors, 5)[0] == 0


def test_one_button_starts_a_series(monkeypatch):
    make_dataset()
    run = make_run("linear_probe")
    started = []
    monkeypatch.setattr(SizeSweep, "start", lambda plan: started.append(plan.shares))
    at = open_comparison([run], "size")
    assert not at.get("plotly_chart")
    at.button(key=f"compare_size_start_{run[:12]}").click().run()
    assert started == [(0.1, 0.3, 1.0)]
    assert link(at, "tab") == "size"


def test_a_series_that_was_broken_off_is_resumed(monkeypatch):
    make_dataset()
    run = make_run("linear_probe")
    plan = make_plan(TrainConfig(dataset="tiny", strategy="linear_probe", weights="random"))
    plan.keep(plan.read().ended("stopped", "Stopped on request.", runs={"100 %": run}))
    started = []
    monkeypatch.setattr(SizeSweep, "start", lambda plan: started.append(plan.series_id))
    at = open_comparison([run], "size")
    assert "Stopped on request." in plain_words(at)
    at.button(key=f"compare_size_resume_{plan.series_id}").click().run()
    assert started == [plan.series_id]


def test_a_run_that_has_not_finished_cannot_be_a_series():
    make_dataset()
    run = make_run("full_finetuning", epochs=2, state="stopped")
    assert "Select a finished run" in plain_words(open_comparison([run], "size"))


def test_every_figure_has_its_data_and_two_pictures():
    runs = make_generated_runs(2, num_test=60)
    for tab in ("verdict", "matrices", "roc", "cost"):
        at = open_comparison(runs, tab)
        figures, keys = at.get("plotly_chart"), [component.proto for component in at.get("bidi_component")]
        assert len([one for one in keys if one.component_name.endswith("figure_files")]) == len(figures) > 0


def test_of_several_runs_one_is_chosen_for_a_series(monkeypatch):
    make_dataset()
    first, second = make_run("linear_probe"), make_run("nearest_neighbors")
    monkeypatch.setattr(SizeSweep, "start", lambda plan: None)
    at = open_comparison([first, second], "size")
    offered = [button.label for button in at.button if button.label.startswith("Train it with")]
    assert len(offered) == 1
    at.selectbox(key="compare_size_run").set_value(second).run()
    assert at.button(key=f"compare_size_start_{second[:12]}").label == offered[0]
