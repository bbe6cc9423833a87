"""Trainings as jobs: detached worker processes, one at a time, that survive pages and servers."""

from lib.jobs.control import enforce_stop, launch, prepare, prepare_resume, request_stop, resume, start, stop
from lib.jobs.dead_runs import active_runs, reconcile, require_unused
from lib.jobs.event_text import tail_log
from lib.jobs.worker import run_worker, work

__all__ = [
    "active_runs", "enforce_stop", "launch", "prepare", "prepare_resume", "reconcile", "request_stop", "require_unused",
    "resume", "run_worker", "start", "stop", "tail_log", "work",
]  # fmt: skip
