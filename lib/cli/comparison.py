"""`compare`: which of several runs is better, and whether that is more than chance."""

from itertools import combinations
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import json_option, print_json, print_table
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.evaluation.comparison import PairedComparison
    from lib.tracking.records import RunRecord

_COMPARED = ("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_balanced_accuracy",
             "test_quadratic_weighted_kappa", "test_auroc", "num_test", "seconds_total")  # fmt: skip


@click.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="ID ID ...")
@json_option
def compare(run_ids: tuple[str, ...], as_json: bool) -> None:
    """Compare runs: their figures with intervals, and a paired test for each two that share test images."""
    from lib import tracking

    if len(run_ids) < 2:
        raise UserError(f"Comparing needs at least two runs, received {len(run_ids)}: python -m lib compare ID ID")
    runs = [tracking.get_run(run_id) for run_id in run_ids]
    repeated = [run.short_id for position, run in enumerate(runs) if run in runs[:position]]
    if repeated:
        raise UserError(f"The run {repeated[0]} was given twice; comparing needs different runs.")
    pairs = [_pair(first, second) for first, second in combinations(runs, 2)]
    if as_json:
        rows = [{"run_id": run.run_id, "name": run.label, **{key: run.metrics.get(key) for key in _COMPARED}}
                for run in runs]  # fmt: skip
        print_json({"runs": rows, "pairs": pairs})
        return
    headings = ("id", "run", *(key.removeprefix("test_") for key in _COMPARED))
    print_table([(run.short_id, run.label, *(run.metrics.get(key) for key in _COMPARED)) for run in runs], headings)
    click.echo()
    for pair in pairs:
        click.echo(pair["sentence"])


def _pair(first: "RunRecord", second: "RunRecord") -> dict[str, Any]:
    names = {"run_a": first.run_id, "run_b": second.run_id}
    compared = _compare_paired(first, second)
    if compared is None and first.config.get("target_map") != second.config.get("target_map"):
        sentence = (
            f"Not compared: {first.short_id} and {second.short_id} tell different classes apart "
            f"(target_map {first.config.get('target_map')} and {second.config.get('target_map')})."
        )
        return {**names, "n": 0, "sentence": sentence}
    if compared is None and first.config.get("dataset_version") != second.config.get("dataset_version"):
        versions = " and ".join(str(run.config.get("dataset_version")) for run in (first, second))
        sentence = (
            f"Not compared: {first.short_id} and {second.short_id} were tested on other data sets or versions of one "
            f"({versions}), whose classes or images differ."
        )
        return {**names, "n": 0, "sentence": sentence}
    if compared is None:
        sentence = f"Not compared: {first.short_id} and {second.short_id} share no test images (use one --split-seed)."
        return {**names, "n": 0, "sentence": sentence}
    return {**names, "difference": compared.difference, "low": compared.low, "high": compared.high,
            "p_value": compared.p_value, "n": compared.n, "sentence": compared.sentence}  # fmt: skip


def _compare_paired(first: "RunRecord", second: "RunRecord") -> "PairedComparison | None":
    from lib import tracking
    from lib.data.catalog import image_groups
    from lib.evaluation.comparison import compare_paired

    tables = []
    for run in (first, second):
        table = tracking.predictions(run.run_id)
        tables.append(table[table["split"] == "test"].drop_duplicates("image_id").set_index("image_id"))
    shared = tables[0].index.intersection(tables[1].index)
    a, b = (table.loc[shared] for table in tables)
    is_same = all(first.config.get(key) == second.config.get(key) for key in ("dataset", "target_map"))
    is_same = is_same and bool((a["target"] == b["target"]).all())
    if not len(shared) or not is_same:
        return None
    columns = [[name for name in table.columns if name.startswith("probability_")] for table in (a, b)]
    return compare_paired(
        a["target"].to_numpy(),
        a[columns[0]].to_numpy(),
        b[columns[1]].to_numpy(),
        name_a=f"{first.label} ({first.short_id})",
        name_b=f"{second.label} ({second.short_id})",
        groups=image_groups(str(first.config.get("dataset")), list(shared)),
    )
