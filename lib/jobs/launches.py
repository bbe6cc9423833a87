"""Which run a launch of `torchrun` works on, so that its restarts go on where the killed processes were."""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.atomic import read_json, write_json
from lib.distributed import Ranks, is_peer_lost, restart_count
from lib.errors import UserError
from lib.jobs.control import STOPPING_MESSAGE, prepare, prepare_resume
from lib.jobs.dead_runs import reconcile
from lib.jobs.worker import Listener, ShouldStop, train_run, work
from lib.settings import HEARTBEAT_STALE_S, runs_dir
from lib.tracking.state import RunState, read_state
from lib.tracking.writer import RunWriter

_PEER_LOST = "Another process of this training ended, so this one could not go on; its own message says why."


def attached_run(key: str, make_config: Callable[[], Any]) -> RunWriter:
    """The run of the launch `key`, put into the queue: the unfinished one of its earlier attempt, else a new one.

    A finished one is returned as it is where torchrun restarts a launch, and begun anew in a new launch. A launch that
    comes again later under the same --rdzv-id goes on only with the same settings.
    """
    config = make_config()
    state = _known(key)
    if state is not None and (restart_count() or _has_config(state, config)):
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


def _has_config(state: RunState, config: Any) -> bool:
    from lib.data.library import open_dataset
    from lib.experiment import resolve_start

    return RunWriter(state.run_id).config == resolve_start(config, open_dataset(config.dataset)).to_dict()
