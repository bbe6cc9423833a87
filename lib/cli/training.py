"""`train`: in this process, with the other ranks of torchrun, or as a detached job."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lib import jobs
from lib.cli import INTERRUPTED_STATUS
from lib.cli.output import ProgressLine, answer, json_option, note, print_facts, print_json, print_score
from lib.cli.training_config import config_from, given_options, recipe_config, training_options
from lib.distributed import Ranks, ending_on_signal, is_launched, is_peer_lost, joined, launch_key
from lib.errors import Stopped, UserError
from lib.evaluation.headline import Score
from lib.jobs import control
from lib.jobs.control import work_together

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter


@click.command()
@training_options
@click.option("--recipe", help="A published experiment (`recipes list`); other options given here come on top of it.")
@click.option("--seeds", "num_seeds", type=int, help="Train so many times, with the seeds 0, 1, ...; the split stays.")
@click.option("--dry-run", is_flag=True, help="Train nothing: say what it would take, from a few measured steps.")
@click.option("--detach", is_flag=True, help="Start in the background and return at once.")
@click.option("--run", "run_id", hidden=True, help="Work on this queued run: what a worker process is told.")
@json_option
@click.pass_context
def train(
    ctx: click.Context,
    *,
    run_id: str | None,
    recipe: str | None,
    num_seeds: int | None,
    dry_run: bool,
    detach: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train a classifier on a data set, and evaluate it on the test images.

    Ctrl-C stops it; `runs resume` goes on from the last checkpoint. Under torchrun all its processes train together.
    """
    if run_id:
        jobs.run_worker(run_id)
        return 0
    make_config = (
        partial(recipe_config, recipe, **given_options(ctx, options)) if recipe else partial(config_from, **options)
    )
    if is_launched():
        if detach:
            raise UserError("--detach and torchrun exclude each other; leave one of them out.")
        return train_launched(make_config, as_json=as_json)
    config = make_config()
    if dry_run:
        from lib.cli.estimates import report_estimate

        return report_estimate(config, as_json=as_json)
    if num_seeds is not None:
        from lib.cli.sweeps import start_seeds

        return start_seeds(config, num_seeds, is_detached=detach, as_json=as_json)
    if detach:
        found = jobs.start(config)
        how = f"Watch it with: python -m lib runs show {found[:8]}; stop it with: runs stop {found[:8]}"
        answer({"run_id": found, "state": "queued"}, f"Started {found}. {how}", as_json=as_json)
        return 0
    return work_here(jobs.prepare(config), as_json=as_json)


def work_here(run: "RunWriter", *, as_json: bool) -> int:
    """Do a prepared run in this process, with progress on standard error; returns the exit status."""
    short = run.run_id[:8]
    note(f"Run {short}: {run.name}")
    with ProgressLine() as progress:
        summary = jobs.work(
            run,
            listener=progress.listen,
            on_wait=lambda ahead: note(f"Waiting for the device: {ahead} {'run' if ahead == 1 else 'runs'} in front."),
        )
    if summary is None:
        note(f"Stopped. Resume with: python -m lib runs resume {short}")
    report_outcome(run.run_id, summary, as_json=as_json)
    return INTERRUPTED_STATUS if summary is None else 0


def report_outcome(run_id: str, summary: dict[str, Any] | None, *, as_json: bool) -> None:
    """Print how a run in this process ended: its summary, None if it was stopped."""
    if as_json:
        print_json(summary or {"run_id": run_id, "state": "stopped"})
    if summary is None or as_json:
        return
    print_score(Score.of(summary), "Test ")
    caveat = summary.get("split_caveat")
    print_facts({key: value for key, value in summary.items() if key != "split_caveat"})
    if caveat:
        click.echo(f"\n{caveat}")


def train_launched(make_config: Callable[[], Any], *, as_json: bool) -> int:
    """Train what the first rank's `make_config` says, or go on with it after a restart; returns the exit status."""
    key = launch_key()

    def find() -> "RunWriter | None":
        return None if control.is_stopped_by_person(key) else control.attached_run(key, make_config)

    return _launched(find, as_json=as_json)


def resume_launched(run_id: str, *, as_json: bool) -> int:
    """Go on with a stopped, failed or killed run on all ranks; returns the exit status."""
    return _launched(lambda: jobs.prepare_resume(run_id), as_json=as_json)


def _launched(find: "Callable[[], RunWriter | None]", *, as_json: bool) -> int:
    with joined() as ranks:
        return _lead(find, ranks, as_json=as_json) if ranks.is_first else _follow(ranks)


def _lead(find: "Callable[[], RunWriter | None]", ranks: Ranks, *, as_json: bool) -> int:
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
