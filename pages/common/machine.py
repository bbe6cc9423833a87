"""What the sidebar says about this machine and its jobs, without importing torch here."""

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib import settings
from lib.atomic import read_json
from lib.tracking import RunState
from lib.tracking.mlflow_client import load_mlflow
from lib.tracking.store import sqlite_path

_logger = logging.getLogger("transferscope.pages")
_probe_lock = threading.Lock()
_probes: dict[Path, threading.Thread] = {}
_PROBE_TIMEOUT_S = 180
_WARM_UP = "import mlflow"


def device_line(*, may_measure: bool) -> str:
    """The sidebar's sentence on the device; starts the measurement (`doctor`, in a process of its own) if it may."""
    report = _report(may_measure=may_measure)
    if report is None:
        return "Device: being measured …"
    if "error" in report:
        return "Device: unknown (run `python -m lib doctor`)"
    words = [str(report.get("device", "cpu")).upper(), str(report.get("dtype", ""))]
    cores = report.get("num_cores")
    if cores:
        words.append(f"{cores} cores")
    return "Device: " + " · ".join(word for word in words if word)


def running_jobs() -> list[RunState]:
    """Every queued or running training."""
    from lib.jobs import active_runs

    return active_runs()


def warm_up() -> None:
    """Import MLflow in the background where a server keeps the runs: seconds that the board then does not wait."""
    if sqlite_path(settings.tracking_uri()) is not None:
        return  # read without MLflow
    with _probe_lock:
        if "mlflow" not in sys.modules and not any(thread.name == _WARM_UP for thread in threading.enumerate()):
            threading.Thread(target=load_mlflow, name=_WARM_UP, daemon=True).start()


def _report(*, may_measure: bool) -> dict[str, Any] | None:
    """What `doctor` wrote; None while it is still measuring."""
    file = settings.cache_dir() / "doctor.json"
    if file.exists():
        try:
            return dict(read_json(file))
        except ValueError:
            file.unlink(missing_ok=True)  # of an older or a newer program: measured again
    if not may_measure and file not in _probes:
        return None
    with _probe_lock:
        if file not in _probes:
            _probes[file] = threading.Thread(target=_probe, args=(file,), daemon=True)
            _probes[file].start()
        is_over = not _probes[file].is_alive()
    return {"error": "the measurement ended without a report"} if is_over and not file.exists() else None


def _probe(file: Path) -> None:
    """Let `doctor` measure, once for all servers that share this home; a failure is logged, not repeated."""
    try:
        with FileLock(f"{file}.lock", timeout=_PROBE_TIMEOUT_S):
            if file.exists():
                return
            done = subprocess.run(
                [sys.executable, "-m", "lib", "doctor", "--json", "--no-trial"],
                cwd=settings.PROJECT_ROOT,
                capture_output=True,
                text=True,
                timeout=_PROBE_TIMEOUT_S,
            )
        if done.returncode != 0:
            _logger.warning("doctor failed: %s", done.stderr[-2000:])
    except (OSError, subprocess.SubprocessError, Timeout) as error:
        _logger.warning("doctor gave no report: %s", error)
