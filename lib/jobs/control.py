"""Starting, stopping and resuming jobs from any process, and which run a launch of `torchrun` works on."""

import hashlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.atomic import read_json, write_json
from lib.distributed import Ranks, is_peer_lost, restart_count
from lib.errors import UserError
from lib.jobs import processes, queue
from lib.jobs.dead_runs import finish_dead, is_elsewhere, job_lock, reconcile
from lib.jobs.worker import Listener, ShouldStop, train_run, work
from lib.quota import require_room
from lib.settings import HEARTBEAT_STALE_S, runs_dir
from lib.tracking.state import LOG_FILE, STOP_FILE, RunState, read_state, run_folder, update_state
from lib.tracking.writer import RunWriter, create_run, discard_run

if TYPE_CHECKING:
    from lib.training.config import TrainConfig

_logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 4.0
_LEAST_RUN_BYTES = 64 * 2**20  # of a run with its classifier and checkpoints; a large network takes more
STOPPING_MESSAGE = "Stopping ..."
_PEER_LOST = "Another process of this training ended, so this one could not go on; its own message says why."


def worker_command(run_id: str) -> list[str]:
    """The command line of a worker process."""
    return [sys.executable, "-m", "lib", "train", "--run", run_id]


def start(config: "TrainConfig") -> str:
    """Start a training in a detached worker process, or queue it; returns the run's id. Raises UserError at once."""
    return launch(prepare(config))


def prepare(config: "TrainConfig", *, name: str = "", tags: Mapping[str, str] | None = None) -> RunWriter:
    """Check a config as far as possible without torch, then create its run and take its place in the queue.

    One process may prepare and `work` on several runs, one after the other; each waits for its own turn.
    """
    from lib.data.library import open_dataset
    from lib.experiment import resolve_start
    from lib.recipes import run_title

    require_room(_LEAST_RUN_BYTES, "A training")
    resolved = resolve_start(config, open_dataset(config.dataset))
    if resolved.weights == "pretrained":
        from lib.models.weights import require_weights

        require_weights(resolved.backbone)
    run = create_run(resolved.to_dict(), name=name or run_title(resolved))
    try:
        if tags:
            run.set_tags(tags)
        queue.enqueue(run.run_id)
    except (OSError, UserError):
        discard_run(run.run_id)
        raise
    return run


def resume(run_id: str) -> str:
    """Take a stopped, failed or killed run up again, from its last checkpoint; returns its id. Raises UserError."""
    return launch(prepare_resume(run_id))


def prepare_resume(run_id: str) -> RunWriter:
    """Put a run back into the queue without starting a process."""
    state = read_state(run_id)
    if state.is_resumable and state.pid != os.getpid():
        # The last process says how it ended a moment before it is gone and gives its ticket back.
        processes.wait_until_gone(state.pid, state.pid_started_s, 5.0)
    reconcile()
    with job_lock(run_id):
        state = read_state(run_id)
        if not state.is_resumable:
            raise UserError(f"The run {run_id[:8]} {_why_not(state)}.")
        queue.enqueue(run_id)
        (run_folder(run_id) / STOP_FILE).unlink(missing_ok=True)
        run = RunWriter(run_id)
        # What its last process had worked; a killed one left no sign of its end to count to.
        has_worked = state.started_s and state.state != "killed"
        worked_s = max(0.0, state.heartbeat_s - state.started_s) if has_worked else 0.0
        run.set_state(
            "queued", pid=None, pid_started_s=None, is_detached=False, started_s=0.0, progress={},
            worked_s=state.worked_s + worked_s,
        )  # fmt: skip
    return run


def _why_not(state: RunState) -> str:
    if state.state == "finished":
        return "is finished; start a new run instead"
    if state.is_active:
        return f"is {state.state}; stop it first"
    # The last checkpoint is good, but the way from there is known.
    return f"would end the same way again ({state.title.lower()}); start a new run with other settings"


def request_stop(run_id: str) -> RunState:
    """Ask a run to stop; its state is "stopping" when this returns. Nothing happens to a run that has ended."""
    state = read_state(run_id)
    if not state.is_active:
        return state
    (run_folder(run_id) / STOP_FILE).touch()
    with suppress(OSError):
        update_state(run_id, message=STOPPING_MESSAGE)
    return read_state(run_id)


def enforce_stop(run_id: str) -> RunState:
    """Wait for a run that was asked to stop: SIGTERM at half of `STOP_TIMEOUT_S`, SIGKILL of its group at the end.

    A process under another host name can only be asked; it is given up when its heartbeats have ceased.
    """
    state, half = read_state(run_id), STOP_TIMEOUT_S / 2
    pid, started = state.pid, state.pid_started_s
    if is_elsewhere(state):
        deadline = time.monotonic() + HEARTBEAT_STALE_S + STOP_TIMEOUT_S + processes.WATCH_S
        while read_state(run_id).is_active and not finish_dead(run_id) and time.monotonic() < deadline:
            time.sleep(0.2)
    elif pid is not None and pid != os.getpid():
        if not processes.wait_until_gone(pid, started, half):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
            # A foreground command that has ended its run may go on; it is the person's own process.
            if not processes.wait_until_gone(pid, started, half) and (
                state.is_detached or read_state(run_id).is_active
            ):
                processes.kill(pid, started, is_group=state.is_detached)
                processes.wait_until_gone(pid, started, 1.0)
        finish_dead(run_id)
    return read_state(run_id)


def stop(run_id: str, *, wait: bool = False) -> RunState:
    """Stop a run: it reads "stopping" at once and its process is gone within five seconds."""
    state = request_stop(run_id)
    if not state.is_active:
        return state
    if wait:
        return enforce_stop(run_id)

    def enforce() -> None:
        with suppress(UserError):  # the run was deleted meanwhile
            enforce_stop(run_id)

    threading.Thread(target=enforce, name=f"stop-{run_id[:8]}", daemon=True).start()
    return state


def launch(run: RunWriter) -> str:
    """Start the worker process of a prepared run; returns its id. Raises UserError if the machine cannot."""
    log, marks = run.folder / LOG_FILE, {processes.RUN_ID_VARIABLE: run.run_id}
    try:
        process = processes.spawn_detached(worker_command(run.run_id), log, marks)
    except UserError as error:
        queue.release(run.run_id)
        run.finish("failed", str(error), "never_started")
        raise
    started_s = processes.start_time_s(process.pid)
    queue.claim(run.run_id, process.pid)
    update_state(run.run_id, pid=process.pid, pid_started_s=started_s, is_detached=True, heartbeat_s=time.time())

    def reap() -> None:
        # Without a wait the dead worker would stay a zombie as long as this server lives.
        status = process.wait()
        try:
            finish_dead(run.run_id, status)
        except Exception:  # whoever looks next finishes it; a thread has nobody to tell
            _logger.exception("The run %s could not be finished.", run.run_id)

    threading.Thread(target=reap, name=f"reap-{run.run_id[:8]}", daemon=True).start()
    return run.run_id


def attached_run(key: str, make_config: Callable[[], Any]) -> RunWriter:
    """The run of the launch `key`, put into the queue: the unfinished one of its earlier attempt, else a new one.

    A finished one is returned as it is where torchrun restarts a launch, and begun anew in a new launch. A launch that
    comes again later under the same --rdzv-id goes on only with the same settings.
    """
    from lib.data.library import open_dataset
    from lib.experiment import resolve_start

    config = make_config()
    state = _known(key)
    wanted = resolve_start(config, open_dataset(config.dataset)).to_dict() if state and not restart_count() else {}
    if state is not None and (restart_count() or RunWriter(state.run_id).config == wanted):
        if state.state == "finished" and restart_count():
            return RunWriter(state.run_id)
        if state.is_resumable:
            return prepare_resume(state.run_id)
    run = prepare(config)
    write_json(_record(key), {"run_id": run.run_id})
    return run


def is_stopped_by_person(key: str) -> bool:
    """Whether torchrun restarts what somebody asked to stop (and which was too slow, and was ended)."""
    with suppress(FileNotFoundError, ValueError, KeyError, UserError):
        state = read_state(_recorded_id(key))
        return restart_count() > 0 and state.state == "stopping" and state.message == STOPPING_MESSAGE
    return False


def work_together(run: RunWriter, ranks: Ranks, **options: Any) -> dict[str, Any] | None:
    """As `work`, as the first of several ranks."""

    def experiment(run: RunWriter, should_stop: ShouldStop, listener: Listener) -> dict[str, Any]:
        try:
            return train_run(run, should_stop, listener, ranks)
        except RuntimeError as error:
            if ranks.is_alone or not is_peer_lost(error):
                raise
            raise UserError(_PEER_LOST) from error

    return work(run, experiment=experiment, **options)


def _record(key: str) -> Path:
    return runs_dir() / "launches" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _recorded_id(key: str) -> str:
    return str(read_json(_record(key))["run_id"])


def _known(key: str) -> RunState | None:
    """The state of the recorded run once its former process is finished; None if there is no such run."""
    with suppress(FileNotFoundError, ValueError, KeyError, UserError):
        run_id = _recorded_id(key)
        deadline = time.monotonic() + HEARTBEAT_STALE_S + 10  # on another machine only its silence tells
        while True:
            reconcile()
            state = read_state(run_id)
            if not state.is_active or time.monotonic() > deadline:
                return state
            time.sleep(0.2)
    return None
