"""`compare`: which of several runs is better, by how much, and is it real? The numbers of the page."""

from pathlib import Path
from typing import Any

import click

from lib import tracking
from lib.atomic import write_text
from lib.cli.output import check_folder, json_option, note, print_json, print_score, print_table
from lib.cli.runs import figures_of
from lib.errors import UserError
from lib.evaluation.headline import in_order
from lib.evaluation.metric_table import METRICS
from lib.reports.selection import select
from lib.tracking.comparison import Comparison
from lib.tracking.records import RunRecord
from lib.tracking.scores import judged_by, looks_of, run_score
from lib.tracking.tested import read_tested

FILE = click.Path(dir_okay=False, path_type=Path)
_FIGURES = ("headline", *(f"test_{key}{end}" for key in METRICS for end in ("", "_low", "_high")),
            "test_baseline_accuracy", "baseline_class", "test_referable_auroc", "num_test",
            "seconds_total")  # fmt: skip
_SHOWN = {"test_accuracy": "accuracy", "test_quadratic_weighted_kappa": "kappa",
          "test_baseline_accuracy": "commonest class", "num_test": "n", "seconds_total": "seconds"}  # fmt: skip


@click.command("compare")
@click.argument("run_ids", nargs=-1, required=True, metavar="ID ID ...")
@click.option("--metric", "key", type=click.Choice(list(METRICS)), help="By default what the runs are judged by.")
@click.option("--csv", type=FILE, metavar="FILE", help="Write a table of the runs, all metrics with their intervals.")
@click.option("--markdown", type=FILE, metavar="FILE", help="The same as Markdown.")
@click.option("--latex", type=FILE, metavar="FILE", help="The same as LaTeX (package booktabs).")
@click.option("--html", type=FILE, metavar="FILE", help="Write one page with numbers, tests and pictures, for offline.")
@json_option
def compare_command(run_ids: tuple[str, ...], key: str | None, as_json: bool, **files: Path | None) -> None:
    """Compare runs: one metric with its intervals, and a test of each two that share test images.

    P values of more than one test are Holm-corrected. Seeds of one series are one row.
    """
    if len(run_ids) < 2:
        raise UserError(f"Comparing needs at least two runs, received {len(run_ids)}: python -m lib compare ID ID")
    runs = [tracking.get_run(run_id) for run_id in run_ids]
    repeated = [run.short_id for position, run in enumerate(runs) if run in runs[:position]]
    if repeated:
        raise UserError(f"The run {repeated[0]} was given twice; comparing needs different runs.")
    metric = METRICS[key] if key else judged_by(runs)
    names = {run.run_id: f"{run.label} ({run.short_id})" for run in runs}
    asked = {kind: path for kind, path in files.items() if path is not None}
    for path in asked.values():
        check_folder(path)
    selection = select(
        runs, metric, names, lambda run: read_tested(run, names[run.run_id]), num_looks=looks_of(tracking.list_runs())
    )
    found = selection.comparison
    for kind, path in asked.items():
        from lib.reports.formats import FORMATS

        write_text(path, FORMATS.get(kind).write(selection))
        note(f"Written: {path}")
    by_id = {run.run_id: run for run in runs}
    ordered = [by_id[run_id] for run_id in in_order({run.run_id: run_score(run) for run in runs})]
    caveats = tracking.split_caveats(runs)
    if as_json:
        print_json({"runs": [_facts(run) for run in ordered], **found.to_dict(), "split_caveats": caveats})
        return
    _print(found, ordered)
    for caveat in caveats:
        click.echo(f"\n{caveat}")


def _facts(run: RunRecord) -> dict[str, Any]:
    figures = figures_of(run)
    return {"run_id": run.run_id, "name": run.label, **{key: figures.get(key) for key in _FIGURES}}


def _print(found: Comparison, runs: list[RunRecord]) -> None:
    figures = {run.run_id: figures_of(run) for run in runs}
    cells = [
        (row.runs[0].short_id, row.label.rpartition(" (")[0] or row.label, row.words(found.metric),
         *((figures[row.key].get(key) for key in _SHOWN) if not row.is_series else [None] * len(_SHOWN)))
        for row in found.rows
    ]  # fmt: skip
    print_table(cells, ("id", "run", f"{found.metric.word}, 95 % interval", *_SHOWN.values()))
    click.echo()
    for run in runs:
        print_score(run_score(run), f"{run.short_id}: ")
    if found.verdict:
        click.echo(f"\n{found.verdict}")
    for pair in found.pairs:
        click.echo(pair.sentence)
    for caution in found.cautions:
        click.echo(f"Warning: {caution}")
