"""The run store by MLflow's own client: what `mlflow ui` on the same file shows."""

import json

import pytest

from lib.tracking import list_runs, metric_history, rename_run
from lib.tracking.store import EXPERIMENT, tracking_uri
from tests.generated_runs import make_generated_runs


@pytest.fixture
def mlflow_runs(home):
    """MLflow's client, and run id -> the run as it reads it."""
    from mlflow.tracking import MlflowClient

    make_generated_runs(3, num_test=40)
    rename_run(list_runs()[0].run_id, "A name of my own")
    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return client, {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}


def test_mlflow_lists_the_same_runs_with_the_same_figures_settings_and_tags(mlflow_runs):
    client, theirs = mlflow_runs
    ours = {run.run_id: run for run in list_runs()}
    assert len(ours) == 3
    assert set(theirs) == set(ours)
    for run_id, run in ours.items():
        found = theirs[run_id]
        assert found.info.run_name == run.label
        assert found.info.status == "FINISHED"
        assert found.data.metrics == run.metrics
        assert found.data.metrics["test_accuracy"] == run.summary["test_accuracy"]
        assert run.tags.items() <= found.data.tags.items()
        assert json.loads(found.data.tags["config"])["strategy"] == run.config["strategy"]
        curve = client.get_metric_history(run_id, "val_loss")
        history = metric_history(run_id)
        own = history[history["key"] == "val_loss"]
        assert [(point.step, point.value) for point in curve] == list(zip(own["step"], own["value"], strict=True))
    assert "A name of my own" in {run.info.run_name for run in theirs.values()}
