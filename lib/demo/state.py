"""How far the preparation of the demo is: readable by every page, without MLflow and torch."""

from lib.series import SeriesFiles, SeriesState, read_series, run_state
from lib.settings import runs_dir

KEPT_MESSAGE = "What is done is kept; preparing again goes on from there."
_ENDED_MESSAGE = "The preparation ended without a word (its process is gone)."


def demo_files() -> SeriesFiles:
    """Where the state, the stop flag and the log are kept."""
    return SeriesFiles(runs_dir() / "demo.json", kept=KEPT_MESSAGE, ended=_ENDED_MESSAGE)


def read_demo() -> SeriesState:
    """The state of the preparation."""
    return read_series(demo_files())


def demo_run_ids() -> list[str]:
    """The finished runs of the demo that are still here, in the order of the story."""
    return [run_id for run_id in read_demo().runs.values() if run_state(run_id) == "finished"]
