"""`datasets split`: how a data set is divided, another division by a plan or a file, and its export."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from lib.audit.audited import copy_numbers
from lib.cli.output import ProgressLine, check_folder, json_option, note, print_json, print_table
from lib.data.dataset import Dataset
from lib.data.library import open_dataset
from lib.data.split_files import read_split, split_bytes
from lib.data.split_plan import (
    GROUPINGS,
    PARTS,
    SplitPlan,
    draw_anew,
    draw_split,
    is_divided_by_hand,
    keep_split,
    split_table,
)
from lib.errors import UserError

_PLAN = ("test_share", "val_share", "seed", "group", "is_stratified")


@click.command()
@click.argument("name")
@click.option("--test", "test_share", type=float, help="Draw: share of all images to test on.  [default: 0.2]")
@click.option("--val", "val_share", type=float, help="Draw: share of all images to validate on.  [default: 0.16]")
@click.option("--seed", type=click.IntRange(0), help="Draw: another seed, another division.  [default: 0]")
@click.option("--group", type=click.Choice(list(GROUPINGS)),
              help="Draw: what stays in one part: groups of the data set (patients), images of one folder, or none.  "
              "[default: groups]")  # fmt: skip
@click.option("--stratify/--no-stratify", "is_stratified", default=None,
              help="Draw: divide every class alike, or as it comes.  [default: stratify]")  # fmt: skip
@click.option("--from", "from_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Take the division of a CSV or parquet file with the columns image_id and split.")  # fmt: skip
@click.option("--anew", is_flag=True, help="Let go of what was divided by hand: the source and the split seed decide.")
@click.option("--copies/--no-copies", "keeps_copies", default=True, show_default=True,
              help="Look for near duplicates: they stay together, and a file that parts them is refused.")  # fmt: skip
@click.option("--save", is_flag=True, help="Keep the division that is shown, as a new version of the data set.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the division that is shown to a .csv or .parquet.")
@click.option("--split-seed", type=int, default=0, show_default=True,
              help="Seed of the present division, where nothing fixes it.")  # fmt: skip
@click.option("--reason", default="", help="Why, for the log.")
@json_option
def split(
    name: str, *, from_file: Path | None, anew: bool, keeps_copies: bool, save: bool, out: Path | None,
    split_seed: int, reason: str, as_json: bool, **asked: Any,
) -> None:  # fmt: skip
    """Show how a data set is divided; divide it otherwise by a plan or a file, and keep that with --save.

    A division that is kept is a new version over the same pixels: fixed for every image, whatever the split seed. Runs
    keep the version that they were trained on. A division in which a patient or near duplicates are in two parts is
    refused.
    """
    dataset = open_dataset(name)
    plan = {key: asked[key] for key in _PLAN if asked[key] is not None}
    if sum((bool(plan), from_file is not None, anew)) > 1:
        raise UserError("Draw a division, read one --from a file, or let go of it (--anew): one at a time.")
    if save and not (plan or from_file):
        raise UserError("There is nothing to keep: give shares such as --test 0.2, or --from FILE.")
    if out is not None:
        check_folder(out)
    if anew:
        after = draw_anew(dataset, reason)
        _tell(after, after.split(split_seed), as_json=as_json, before=dataset)
        return
    shown, words = dataset.split(split_seed), ""
    if plan or from_file is not None:
        with ProgressLine() as progress:
            copies = copy_numbers(dataset, progress=progress) if keeps_copies else None
        if from_file is not None:
            shown, words = read_split(dataset, from_file.read_bytes(), from_file.name, copies=copies), from_file.name
        else:
            chosen = SplitPlan(**plan)
            shown, words = draw_split(dataset, chosen, copies), chosen.words
        if save:
            after = keep_split(dataset, shown, reason or words, copies=copies)
            _write(after, shown, out)
            _tell(after, shown, as_json=as_json, before=dataset)
            return
    _write(dataset, shown, out)
    _tell(dataset, shown, as_json=as_json, words=words)


def _write(dataset: Dataset, shown: np.ndarray, out: Path | None) -> None:
    if out is not None:
        content = split_bytes(dataset, shown, out.name)
        out.write_bytes(content)
        note(f"Written: {out}")


def _tell(
    dataset: Dataset, shown: np.ndarray, *, as_json: bool, before: Dataset | None = None, words: str = ""
) -> None:
    table = split_table(dataset, shown)
    facts = {
        "name": dataset.name, "version": dataset.version, "was_version": (before or dataset).version,
        "is_kept": before is not None or not words, "is_by_hand": is_divided_by_hand(dataset),
        "num_excluded": int(dataset.is_excluded.sum()),
    }  # fmt: skip
    if as_json:
        print_json({**facts, "plan": words, "table": table.to_dict("records")})
        return
    rows = []
    for class_name, own in table.groupby("class_name", sort=False):
        cells = [f"{num} ({share:.0%})" for num, share in zip(own["images"], own["share"], strict=True)]
        rows.append((class_name or "all", *cells, *own["groups"]))
    print_table(rows, ("class", *PARTS, *(f"groups {part}" for part in PARTS)))
    if before is not None:
        edit = dataset.edits[-1].edit_id
        note(f"Kept as version {dataset.version}. Undo with: python -m lib datasets edit {dataset.name} --undo {edit}")
    elif words:
        note(f"Not kept yet ({words}); keep it with --save.")
