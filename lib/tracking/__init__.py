"""Runs: a narrow face over MLflow, and a folder per run. Importing this costs nothing; MLflow comes with first use."""

from lib.tracking.records import (
    RunRecord,
    delete_run,
    get_run,
    list_runs,
    metric_history,
    predictions,
    rename_run,
    restore_run,
    split_caveats,
    validation_confusions,
)
from lib.tracking.state import ACTIVE_STATES, RESUMABLE_STATES, STATES, RunState, read_state, run_folder
from lib.tracking.writer import RunWriter, create_run

__all__ = [
    "ACTIVE_STATES", "RESUMABLE_STATES", "STATES", "RunRecord", "RunState", "RunWriter", "create_run", "delete_run",
    "get_run", "list_runs", "metric_history", "predictions", "read_state", "rename_run", "restore_run", "run_folder",
    "split_caveats", "validation_confusions",
]  # fmt: skip
