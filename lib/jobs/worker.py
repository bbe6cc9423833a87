"""What happens in the process that trains: wait for the turn, hold the device, run, say how it ended."""

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from filelock import FileLock, Timeout

from lib.distributed import ALONE, Ranks
from lib.errors import Stopped, UserError
from lib.jobs import tickets
from lib.jobs.failures import describe_failure
from lib.jobs.narration import write_event_to_log
from lib.jobs.processes import RUN_ID_VARIABLE, give_way, is_alive, start_time_s
from lib.jobs.reserve import keep_reserve, release_reserve
from lib.jobs.watchdog import CANCELLED_MESSAGE, STOPPED_MESSAGE, Watchdog, is_ours
from lib.settings import runs_dir
from lib.tracking.state import LOG_FILE, host_name, read_state, update_state
from lib.tracking.writer import RunWriter

_POLL_S = 0.2

Listener = Callable[[Any], None]
# Called as experiment(run, should_stop, listener), in the process that trains; returns the summary.
Experiment = Callable[[RunWriter, Callable[[], bool], Listener], dict[str, Any]]


def train_run(
    run: RunWriter, should_stop: Callable[[], bool], listener: Listener, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """The real experiment. Torch is imported here: after the turn and the device lease are ours."""
    from lib.experiment import run_experiment
    from lib.training.config import TrainConfig

    config = TrainConfig.from_dict(run.config)
    return run_experiment(config, run, should_stop=should_stop, listener=listener, ranks=ranks)


def run_worker(run_id: str, *, experiment: Experiment = train_run) -> None:
    """The whole life of a detached worker (`python -m lib train --run RUN_ID`)."""
    give_way()
    state = read_state(run_id)
    if not state.is_active or (state.pid != os.getpid() and is_alive(state.pid, state.pid_started_s)):
        raise UserError(
            f"The run {run_id[:8]} is {state.state}; resume it with: python -m lib runs resume {run_id[:8]}"
        )
    # Cancelled while it waited: loading MLflow to say so would take seconds; whoever asked settles it (control.py).
    with suppress(Stopped):
        _work(RunWriter(run_id), experiment, lambda event: None, lambda ahead: None)


def work(
    run: RunWriter, *, experiment: Experiment = train_run, listener: Listener, on_wait: Callable[[int], None]
) -> dict[str, Any] | None:
    """Do one run in this process, from the queue to its final state.

    `on_wait` is called with the number of jobs in front whenever it changes. Returns the summary, None if it was
    stopped. Raises UserError after a failure; the run's state says the same.
    """
    try:
        return _work(run, experiment, listener, on_wait)
    except Stopped:
        _finish(run, "stopped", CANCELLED_MESSAGE, "cancelled")
        return None
    finally:
        tickets.hand_back_own(run.run_id)


def _work(
    run: RunWriter, experiment: Experiment, listener: Listener, on_wait: Callable[[int], None]
) -> dict[str, Any] | None:
    """As `work`; raises Stopped, and leaves the run as it is, if it was stopped before its turn came."""
    os.environ[RUN_ID_VARIABLE] = run.run_id
    tickets.hold(run.run_id)
    update_state(run.run_id, pid=os.getpid(), pid_started_s=start_time_s(os.getpid()), host=host_name())
    try:
        with Watchdog(run) as watchdog, _device_lease(run.run_id, watchdog.should_stop, on_wait):
            return _work_leased(run, watchdog.should_stop, experiment, listener)
    finally:
        del os.environ[RUN_ID_VARIABLE]
        if not is_ours(run.run_id) or not read_state(run.run_id).is_active:
            tickets.hand_back_own(run.run_id)


def _work_leased(
    run: RunWriter, should_stop: Callable[[], bool], experiment: Experiment, listener: Listener
) -> dict[str, Any] | None:
    def listen(event: Any) -> None:
        write_event_to_log(event, run.folder / LOG_FILE)
        listener(event)

    keep_reserve(run.folder)
    try:
        run.set_state("running", started_s=time.time())
        if should_stop():
            raise Stopped
        summary = experiment(run, should_stop, listen)
    except (Stopped, KeyboardInterrupt):
        _finish(run, "stopped", STOPPED_MESSAGE, "stopped")
        return None
    except Exception as error:
        ending, sentence = describe_failure(error)
        release_reserve(run.folder)  # a full disk must not keep the run from saying so
        if not isinstance(error, UserError):
            with suppress(OSError), (run.folder / LOG_FILE).open("a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
        _finish(run, "failed", sentence, ending)
        if isinstance(error, UserError):
            raise
        raise UserError(sentence) from error
    is_stopped = summary.get("state") == "stopped"
    _finish(run, *(("stopped", STOPPED_MESSAGE, "stopped") if is_stopped else ("finished", "", "")))
    return None if is_stopped else summary


@contextmanager
def _device_lease(run_id: str, should_stop: Callable[[], bool], on_wait: Callable[[int], None]) -> Iterator[None]:
    """Wait until this run is first in the queue and the device is free, and hold the device meanwhile."""
    lease = FileLock(runs_dir() / "device.lock")
    said = -1
    while True:
        if should_stop():
            raise Stopped
        if tickets.is_first(run_id):
            with suppress(Timeout):
                lease.acquire(timeout=0)
                break
        ahead = sum(ticket.is_held for ticket in tickets.queue() if ticket.run_id != run_id)
        if ahead != said:
            on_wait(said := ahead)
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        lease.release()


def _finish(run: RunWriter, state: str, message: str, ending: str) -> None:
    if not is_ours(run.run_id):
        return
    release_reserve(run.folder)
    # The experiment may have entered a final state itself.
    if read_state(run.run_id).is_active:
        run.finish(state, message, ending)
