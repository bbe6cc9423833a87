"""`runs list | show | stop | resume | delete | restore | rename | repair | tag | note | pin | archive`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lib import jobs, tracking
from lib.atomic import read_json_or_empty
from lib.cli.output import answer, describe_time, json_option, note, print_facts, print_json, print_score, print_table
from lib.cli.training import resume_launched, work_here
from lib.data.library import version_now, version_words
from lib.distributed import is_launched
from lib.errors import UserError
from lib.jobs import dead_runs, queue
from lib.tracking.marks import Marks, archive_run, label_run, note_run, pin_run
from lib.tracking.scores import beside_metrics, run_score
from lib.tracking.state import COMPUTE_FILE, find_local_run, stored_states
from lib.tracking.store import repair_store

if TYPE_CHECKING:
    from lib.tracking.records import RunRecord

_LOG_LINES = 15
_BESIDE = ("headline", "baseline_class", "test_baseline_accuracy", "test_referable_auroc", "test_referable_auroc_low",
           "test_referable_auroc_high")  # fmt: skip


@click.group()
def runs() -> None:
    """List, show, stop, resume, delete and restore runs. ID is an id, the start of one, or "latest"."""


@runs.command("list")
@click.option("--all", "include_deleted", is_flag=True, help="Deleted runs too.")
@click.option("--archived", is_flag=True, help="Archived runs too.")
@click.option("--pinned", is_flag=True, help="Pinned runs alone.")
@click.option("--dataset", multiple=True, help="Runs on this data set; may be given several times, as the next ones.")
@click.option("--strategy", multiple=True, help="Runs of this strategy.")
@click.option("--backbone", multiple=True, help="Runs with this backbone.")
@click.option("--state", multiple=True, help="Runs in this state, such as finished.")
@click.option("--tag", multiple=True, help="Runs with this tag.")
@click.option("--search", default="", help="Runs whose name, tags, note or settings hold these words.")
@json_option
def list_all(include_deleted: bool, archived: bool, pinned: bool, as_json: bool, search: str, **kinds: Any) -> None:
    """List runs, newest first; those that are archived only if asked for."""
    jobs.reconcile()
    found = tracking.list_runs(include_deleted)
    hidden = [run for run in found if Marks.of(run.tags).is_archived and not archived]
    is_filtered = bool(search or pinned or any(kinds.values()))
    shown = _shown(kinds, search, pinned) if is_filtered else {run.run_id for run in found}
    found = [run for run in found if run.run_id in shown and run not in hidden]
    if as_json:
        print_json({"runs": [_facts(run) for run in found]})
        return
    has_labels = any(Marks.of(run.tags).labels for run in found)
    rows = [
        (run.short_id, "deleted" if run.is_deleted else run.title.lower(), *_result(run), run.label,
         *([", ".join(Marks.of(run.tags).labels)] if has_labels else []), describe_time(run.created_s))
        for run in found
    ]  # fmt: skip
    print_table(rows, ("id", "state", "result", "commonest class", "run", *(["tags"] if has_labels else []), "created"))
    if hidden:
        note(f"{len(hidden)} archived {'run is' if len(hidden) == 1 else 'runs are'} not listed: --archived")
    if not found:
        is_new = not (is_filtered or hidden)
        note("No runs yet: python -m lib train --dataset FOLDER" if is_new else "No run is like that.")


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
def show(run_id: str, as_json: bool) -> None:
    """Show a run: state, settings, figures, and the end of its log."""
    from lib.grading.external import external_results

    jobs.reconcile()
    run = tracking.get_run(run_id, include_deleted=True)
    compute = read_json_or_empty(run.folder / COMPUTE_FILE)  # empty before the run chose it
    if as_json:
        now = {"dataset_version_now": version_now(str(run.config.get("dataset")))}
        settings = {"config": run.config, "compute": compute}
        elsewhere = {"external": [one.to_dict() for one in external_results(run.run_id)]}
        print_json({**_facts(run), **now, **settings, "metrics": run.metrics, "summary": run.summary, **elsewhere})
        return
    facts = {key: value for key, value in _facts(run).items() if key not in ("created_s", "ended_s")}
    if run.recorded_words:
        facts["made"] = run.recorded_words
    facts["dataset_version"] = version_words(str(facts["dataset"]), str(facts["dataset_version"] or ""))
    print_facts({**facts, "created": describe_time(run.created_s), "ended": describe_time(run.ended_s)})
    print_score(run_score(run), "Test ")
    for kept in external_results(run.run_id):
        click.echo(kept.sentence(run.short_id))
    parts = (("Progress", _progress(run)), ("Settings", run.config), ("Computed by", compute))
    for title, facts in (*parts, ("Figures", run.metrics)):
        if facts:
            click.echo(f"\n{title}")
            print_facts(facts)
    for caveat in tracking.split_caveats([run]):
        click.echo(f"\n{caveat}")
    if run.folder.exists() and (log := jobs.tail_log(run.run_id, _LOG_LINES)):
        click.echo(f"\nLog\n{log}")


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
def stop(run_id: str, as_json: bool) -> None:
    """Stop a run, or take it out of the queue; its process is gone within five seconds."""
    # By its folder if it has one: to ask a server first would take seconds that the run goes on.
    found = find_local_run(run_id) or _find(run_id).run_id
    state = jobs.request_stop(found)
    if state.is_active:
        note(f"{found[:8]} is stopping ...")
        state = jobs.enforce_stop(found)
    content = {"run_id": found, "state": state.state, "message": state.message}
    answer(content, f"{found[:8]} is {state.state}. {state.message}".strip(), as_json=as_json)


@runs.command()
@click.argument("run_id", metavar="ID")
@click.option("--detach", is_flag=True, help="Go on in the background and return at once.")
@json_option
def resume(run_id: str, detach: bool, as_json: bool) -> int:
    """Take a stopped, failed or killed run up again, from its last checkpoint."""
    run = _find(run_id)
    if is_launched():
        return resume_launched(run.run_id, as_json=as_json)
    if not detach:
        return work_here(jobs.prepare_resume(run.run_id), as_json=as_json)
    jobs.resume(run.run_id)
    sentence = f"{run.short_id} goes on in the background. Watch it with: python -m lib runs show {run.short_id}"
    answer({"run_id": run.run_id, "state": "queued"}, sentence, as_json=as_json)
    return 0


@runs.command()
@click.argument("run_id", metavar="ID")
def delete(run_id: str) -> None:
    """Move a run to the trash."""
    run = _find(run_id)
    tracking.delete_run(run.run_id)
    click.echo(f"Deleted {run.short_id} ({run.label}). Undo with: python -m lib runs restore {run.short_id}")


@runs.command()
@click.argument("run_id", metavar="ID")
def restore(run_id: str) -> None:
    """Bring a deleted run back."""
    run = tracking.get_run(run_id, include_deleted=True)
    tracking.restore_run(run.run_id)
    click.echo(f"Restored {run.short_id} ({run.label}).")


@runs.command()
def repair() -> None:
    """Move a damaged database of runs or of the queue aside, and enter the runs anew from their folders."""
    at_work = [state.run_id[:8] for state in stored_states() if state.is_active and dead_runs.may_live(state)]
    if at_work:
        raise UserError(f"Trainings are at work ({', '.join(at_work)}); wait for them, or stop them first.")
    for sentence in [*queue.repair(), *repair_store()]:
        click.echo(sentence)


@runs.command()
@click.argument("run_id", metavar="ID")
@click.argument("name")
def rename(run_id: str, name: str) -> None:
    """Give a run another name."""
    run = _find(run_id)
    tracking.rename_run(run.run_id, name)
    click.echo(f"{run.short_id} is now called {tracking.get_run(run.run_id).label}.")


@runs.command()
@click.argument("run_id", metavar="ID")
@click.argument("tags", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take the tags away.")
@json_option
def tag(run_id: str, tags: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """Give a run tags, or take them away; they are tags of MLflow too."""
    run = _find(run_id)
    now = label_run(run.run_id, remove=tags) if remove else label_run(run.run_id, add=tags)
    words = f"{run.short_id} has {'the tags ' + ', '.join(now) if now else 'no tags'}."
    answer({"run_id": run.run_id, "tags": list(now)}, words, as_json=as_json)


@runs.command("note")
@click.argument("run_id", metavar="ID")
@click.argument("text")
def write_note(run_id: str, text: str) -> None:
    """Write a note on a run in place of the one it has; an empty text takes it away."""
    run = _find(run_id)
    note_run(run.run_id, text)
    click.echo(f"{run.short_id} has {'a note' if text.strip() else 'no note'} now.")


@runs.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="ID ...")
@click.option("--undo", is_flag=True, help="Let them go to their places.")
def pin(run_ids: tuple[str, ...], undo: bool) -> None:
    """Keep runs on top of the board."""
    for run in [_find(run_id) for run_id in run_ids]:
        pin_run(run.run_id, is_pinned=not undo)
        click.echo(f"{run.short_id} is {'not pinned any more' if undo else 'pinned'} ({run.label}).")


@runs.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="ID ...")
@click.option("--undo", is_flag=True, help="Bring them back.")
def archive(run_ids: tuple[str, ...], undo: bool) -> None:
    """Put runs away: board and list show them only if asked for."""
    for run in [_find(run_id) for run_id in run_ids]:
        archive_run(run.run_id, is_archived=not undo)
        undone = "" if undo else f" Undo with: python -m lib runs archive {run.short_id} --undo"
        click.echo(f"{run.short_id} is {'back' if undo else 'archived'} ({run.label}).{undone}")


def _shown(kinds: Mapping[str, Sequence[str]], search: str, is_pinned: bool) -> set[str]:
    """The ids of the runs that a person asks for, as the board finds them."""
    from lib.board import read_board
    from lib.board.arranging import Filters

    values = {"label" if kind == "tag" else kind: tuple(asked) for kind, asked in kinds.items()}
    table = read_board(at_once_s=0.0).table
    rows = Filters(**values, search=search, with_archived=True).matching(table)  # type: ignore[arg-type]
    return set(table["run_id"][rows & table["is_pinned"] if is_pinned else rows])


def _find(run_id: str) -> "RunRecord":
    jobs.reconcile()
    return tracking.get_run(run_id)


def _result(run: "RunRecord") -> tuple[str | None, float | None]:
    """What the run is judged by, as text, and the accuracy of always the commonest class on the same images."""
    score = run_score(run)
    if score is None:
        return None, None
    return f"{score.metric.word} {score.metric.text(score.value)}", score.baseline_accuracy


def figures_of(run: "RunRecord") -> dict[str, Any]:
    """A run's figures with what stands beside them, also of a run that is older than those."""
    figures = {**run.metrics, **run.summary}
    return {**beside_metrics(run.folder, figures), **figures}


def _facts(run: "RunRecord") -> dict[str, Any]:
    figures, marks = figures_of(run), Marks.of(run.tags)
    return {
        "run_id": run.run_id,
        "name": run.label,
        "state": run.state,
        "ending": run.ending,
        "message": run.message,
        "dataset": run.config.get("dataset"),
        "dataset_version": run.config.get("dataset_version"),
        "backbone": run.config.get("backbone"),
        "strategy": run.config.get("strategy"),
        "test_accuracy": run.metrics.get("test_accuracy"),
        **{key: figures[key] for key in _BESIDE if figures.get(key) is not None},
        "created_s": run.created_s,
        "ended_s": run.ended_s,
        "folder": str(run.folder),
        "parent": run.parent,
        "is_deleted": run.is_deleted,
        "tags": list(marks.labels),
        "note": marks.note,
        "is_pinned": marks.is_pinned,
        "is_archived": marks.is_archived,
    }


def _progress(run: "RunRecord") -> dict[str, Any]:
    if not run.is_active:
        return {}
    state = tracking.read_state(run.run_id)
    return {**state.progress, "heartbeat": f"{state.heartbeat_age_s:.0f} s ago", "pid": state.pid}
