"""`datasets interrupted`: imports that were ended before they were whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from lib.cli.output import ProgressLine, answer, describe_time, json_option, note, print_json, print_table
from lib.data.importing import continue_import
from lib.data.interrupted import KEPT_DAYS, InterruptedImport, drop_interrupted, find_interrupted, interrupted_imports
from lib.disk_cache import size_words
from lib.errors import UserError


@click.command()
@click.option("--continue", "continued", metavar="KEY", help="Go on with that import, as it was asked for.")
@click.option("--drop", "dropped", metavar="KEY", help="Remove what that import stored.")
@json_option
def interrupted(continued: str | None, dropped: str | None, as_json: bool) -> None:
    """List imports that were ended before they were whole; go on with one, or remove what it stored.

    The same `datasets import` made again goes on, too.
    """
    if continued and dropped:
        raise UserError("Give --continue or --drop, not both.")
    if continued:
        with ProgressLine() as progress, said_what_is_kept(_source_of(continued)):
            dataset = continue_import(continued, progress=progress)
        facts = {"name": dataset.name, "version": dataset.version, "num_images": dataset.num_images}
        answer(facts, f"Imported {dataset.name}: {dataset.num_images:,} images.", as_json=as_json)
    elif dropped:
        one = drop_interrupted(dropped)
        sentence = f"Removed what the import of {one.name} had stored ({size_words(one.num_bytes)})."
        answer({"freed_bytes": one.num_bytes}, sentence, as_json=as_json)
    else:
        _list(interrupted_imports(), as_json=as_json)


@contextmanager
def said_what_is_kept(source: str) -> Iterator[None]:
    """An import that is interrupted by the keyboard says what is kept of it."""
    try:
        yield
    except KeyboardInterrupt:
        if found := find_interrupted(source):
            note(f"{found.sentence} and kept for {KEPT_DAYS} days; the same command again goes on from there.")
        raise


def _source_of(key: str) -> str:
    return next((one.source for one in interrupted_imports() if one.key == key), "")


def _list(found: list[InterruptedImport], *, as_json: bool) -> None:
    if as_json:
        print_json({"interrupted": [asdict(one) for one in found]})
        return
    rows = [
        (one.key, one.name, f"{one.num_stored} of {one.num_files}", size_words(one.num_bytes),
         describe_time(one.last_s), one.source)
        for one in found
    ]  # fmt: skip
    print_table(rows, ("key", "name", "images", "size", "last stored", "source"))
    if not found:
        note("No import was interrupted.")
