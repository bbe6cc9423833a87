"""`corrections list | undo | export`: what a person said of grades, and its way back into a data set."""

from dataclasses import asdict
from pathlib import Path

import click

from lib.cli.output import json_option, note, print_json, print_table
from lib.grading import corrections as log


@click.group()
def corrections() -> None:
    """List, undo and export corrections of grades."""


@corrections.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the corrections that hold, oldest first."""
    found = log.present()
    if as_json:
        print_json({"corrections": [asdict(one) for one in found]})
        return
    rows = [
        (one.correction_id, one.file, one.run[:8], one.given, one.corrected, one.note, one.time[:19]) for one in found
    ]
    print_table(rows, ("id", "file", "run", "given", "corrected", "note", "time"))
    if not found:
        note("No corrections yet: a grade is corrected on the page Grade images.")


@corrections.command()
@click.argument("correction_id", metavar="ID")
def undo(correction_id: str) -> None:
    """Undo a correction; the log keeps it, with the entry that undoes it."""
    undone = log.undo(correction_id)
    click.echo(f"{undone.file}: no longer corrected to {undone.corrected}.")


@corrections.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="A new or empty folder.")
@click.option("--pictures", type=click.Path(path_type=Path), multiple=True, metavar="FOLDER",
              help="Where the pictures are, also several: they are found by their content and copied.")  # fmt: skip
@click.option("--run", "run_id", metavar="ID", help="Corrections of this run only.")
@json_option
def export(out: Path, pictures: tuple[Path, ...], run_id: str | None, *, as_json: bool) -> None:
    """Write corrected classes as labels.csv, with the pictures as a data set that can be imported."""
    chosen = [one for one in log.present() if not run_id or one.run.startswith(run_id)]
    found = log.pictures_below(pictures, (one.sha256 for one in chosen)) if pictures else None
    made = log.export_corrections(chosen, out, pictures=found)
    for name in made.missing:
        note(f"Left out, its picture was not found: {name}")
    if as_json:
        print_json({**asdict(made), "labels": str(made.labels)})
        return
    copied = f", {made.num_copied} pictures copied. Import with: python -m lib datasets import {out}"
    click.echo(f"{made.labels}: {made.num_images} images{copied if made.num_copied else '.'}")
