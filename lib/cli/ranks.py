"""`train` and `runs resume` under torchrun: the first process holds run and output, the others follow it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.cli.output import ProgressLine, note
from lib.distributed import Ranks, ending_on_signal, is_peer_lost, joined, launch_key
from lib.errors import Stopped, UserError

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter


def train_launched(make_config: Callable[[], Any], *, as_json: bool) -> int:
    """Train what the first rank's `make_config` says, or go on with it after a restart; returns the exit status."""
    from lib.jobs import control

    key = launch_key()

    def find() -> "RunWriter | None":
        return None if control.is_stopped_by_person(key) else control.attached_run(key, make_config)

    return _launched(find, as_json=as_json)


def resume_launched(run_id: str, *, as_json: bool) -> int:
    """Go on with a stopped, failed or killed run on all ranks; returns the exit status."""
    from lib.jobs import prepare_resume

    return _launched(lambda: prepare_resume(run_id), as_json=as_json)


def _launched(find: "Callable[[], RunWriter | None]", *, as_json: bool) -> int:
    with joined() as ranks:
        return _lead(find, ranks, as_json=as_json) if ranks.is_first else _follow(ranks)


def _lead(find: "Callable[[], RunWriter | None]", ranks: Ranks, *, as_json: bool) -> int:
    from lib.cli.training import report_outcome
    from lib.jobs.control import work_together

    run = find()
    if run is None:
        note("Stopped on request.")
        return 0
    note(f"Run {run.run_id[:8]}: {run.name} ({ranks.size} {'process' if ranks.is_alone else 'processes'})")
    summary = run.summary
    if not summary:
        with ProgressLine() as progress:
            found = work_together(
                run,
                ranks,
                listener=progress.listen,
                on_wait=lambda ahead: note(f"Waiting for the device: {ahead} in front."),
            )
        summary = found or {}
    report_outcome(run.run_id, summary or None, as_json=as_json)
    return 0  # torchrun takes any other status for a failure, and would restart a training that was stopped


def _follow(ranks: Ranks) -> int:
    from lib.training.session import follow_first_rank

    with ending_on_signal(ranks):
        try:
            follow_first_rank(ranks)
        except Stopped:
            return 0
        except RuntimeError as error:
            if not is_peer_lost(error):
                raise
            raise UserError(f"Rank {ranks.rank}: another process of this training ended.") from None
    return 0
