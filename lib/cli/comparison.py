"""`compare`: which of several runs is better, and whether that is more than chance."""

from itertools import combinations
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import json_option, print_json, print_score, print_table
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.tracking.records import RunRecord

_COMPARED = ("headline", "test_quadratic_weighted_kappa", "test_quadratic_weighted_kappa_low",
             "test_quadratic_weighted_kappa_high", "test_accuracy", "test_accuracy_low", "test_accuracy_high",
             "test_baseline_accuracy", "baseline_class", "test_balanced_accuracy", "test_auroc", "test_referable_auroc",
             "num_test", "seconds_total")  # fmt: skip
_LONG = ("headline", "_low", "_high", "baseline_class")  # in a table of text for one screen, intervals are left out
_HEADINGS = {"test_quadratic_weighted_kappa": "kappa", "test_baseline_accuracy": "commonest class",
             "test_balanced_accuracy": "balanced", "test_referable_auroc": "referable auc", "num_test": "n",
             "seconds_total": "seconds"}  # fmt: skip


@click.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="ID ID ...")
@json_option
def compare(run_ids: tuple[str, ...], as_json: bool) -> None:
    """Compare runs: their figures with intervals, and a paired test for each two that share test images."""
    from lib import tracking
    from lib.tracking.scores import run_score

    if len(run_ids) < 2:
        raise UserError(f"Comparing needs at least two runs, received {len(run_ids)}: python -m lib compare ID ID")
    runs = [tracking.get_run(run_id) for run_id in run_ids]
    repeated = [run.short_id for position, run in enumerate(runs) if run in runs[:position]]
    if repeated:
        raise UserError(f"The run {repeated[0]} was given twice; comparing needs different runs.")
    ordered = _in_order(runs)
    pairs = [_pair(first, second) for first, second in combinations(ordered, 2)]
    rows = [_row(run) for run in ordered]
    if as_json:
        told = [{"run_id": run.run_id, "name": run.label, **{key: row.get(key) for key in _COMPARED}}
                for run, row in zip(ordered, rows, strict=True)]  # fmt: skip
        print_json({"runs": told, "pairs": pairs, "split_caveats": tracking.split_caveats(runs)})
        return
    shown = [key for key in _COMPARED if not key.endswith(_LONG)]
    headings = ("id", "run", *(_HEADINGS.get(key, key.removeprefix("test_")) for key in shown))
    cells = [(run.short_id, run.label, *map(row.get, shown)) for run, row in zip(ordered, rows, strict=True)]
    print_table(cells, headings)
    click.echo()
    for run in ordered:
        print_score(run_score(run), f"{run.short_id}: ")
    for pair in pairs:
        click.echo(pair["sentence"])
    for caveat in tracking.split_caveats(runs):
        click.echo(f"\n{caveat}")


def _in_order(runs: "list[RunRecord]") -> "list[RunRecord]":
    """Test set by test set, the best first."""
    from lib.evaluation.headline import in_order
    from lib.tracking.scores import run_score

    by_id = {run.run_id: run for run in runs}
    return [by_id[run_id] for run_id in in_order({run.run_id: run_score(run) for run in runs})]


def _pair(first: "RunRecord", second: "RunRecord") -> dict[str, Any]:
    from lib.tracking.scores import compare_runs

    names = f"{first.label} ({first.short_id})", f"{second.label} ({second.short_id})"
    return {"run_a": first.run_id, "run_b": second.run_id, **compare_runs(first, second, names).to_dict()}


def _row(run: "RunRecord") -> dict[str, Any]:
    """A run's figures with what stands beside them; None where there is none."""
    from lib.tracking.scores import beside_metrics

    figures = {**run.metrics, **run.summary}
    return {key: value for key, value in {**beside_metrics(run.folder, figures), **figures}.items() if key in _COMPARED}
