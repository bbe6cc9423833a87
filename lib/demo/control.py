"""Starting and stopping the preparation from a page."""

from lib.demo.state import demo_files
from lib.series import SeriesState, control

STOP_TIMEOUT_S = control.STOP_TIMEOUT_S


def start() -> SeriesState:
    """Start the preparation in a detached process, unless one runs; returns at once. Raises UserError if it cannot."""
    return control.start(demo_files(), ["demo", "prepare", "--worker"])


def stop() -> SeriesState:
    """Ask the preparation to stop; a process that does not within seconds is ended. What is done is kept."""
    return control.stop(demo_files(), timeout_s=STOP_TIMEOUT_S)


def stop_and_wait() -> SeriesState:
    """As `stop`, and wait until the process is gone."""
    return control.stop_and_wait(demo_files(), timeout_s=STOP_TIMEOUT_S)
