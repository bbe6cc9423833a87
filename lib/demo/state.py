"""How far a training of the demo on this machine is, and which runs tell the story. Needs neither MLflow nor torch."""

from lib.demo.installation import installed_runs
from lib.demo.story import RUNG_NAMES
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
    """The finished runs of the story that are here, in its order: those trained here, or else the recorded ones."""
    trained = [run_id for run_id in read_demo().runs.values() if run_state(run_id) == "finished"]
    recorded = [run_id for run_id in installed_runs().values() if run_state(run_id) == "finished"]
    return trained if len(trained) == len(RUNG_NAMES) or not recorded else recorded
