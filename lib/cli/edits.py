"""`datasets edit | edits | label-next`: corrections of single images, the log of them, and labels to give."""

from dataclasses import asdict
from typing import Any

import click
import numpy as np

from lib.cli.output import ProgressLine, answer, describe_time, json_option, print_json, print_table
from lib.data.dataset import Dataset
from lib.data.edit_log import EXCLUDE, RELABEL, RESTORE, SPLIT
from lib.data.edits import add_edit, describe_edit, find_images, undo_edit
from lib.data.library import open_dataset
from lib.errors import UserError


@click.command()
@click.argument("name")
@click.option("--exclude", multiple=True, metavar="ID|PATH", help="An image that is to count nowhere.")
@click.option("--restore", multiple=True, metavar="ID|PATH", help="An excluded image that is to take part again.")
@click.option("--relabel", multiple=True, metavar="ID|PATH=CLASS", help="An image that is of another class.")
@click.option("--part", "parts", multiple=True, metavar="ID|PATH=PART",
              help="train, val or test for an image and its group, whatever the seed of the split; nothing behind the "
              "= lets it be drawn again.")  # fmt: skip
@click.option("--undo", multiple=True, metavar="EDIT", help="An edit to take back, by its number in the log.")
@click.option("--reason", default="", help="Why, for the log.")
@json_option
def edit(
    name: str,
    *,
    exclude: tuple[str, ...],
    restore: tuple[str, ...],
    relabel: tuple[str, ...],
    parts: tuple[str, ...],
    undo: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> None:
    """Correct images of a data set: another class, taken out, brought back, a fixed part; each can be undone.

    Files and pixels stay as they are; each option may be given several times. An image is named by its id (or the first
    six letters of it) or its path. The data set has a new version after it; runs keep the one that they were trained
    on.
    """
    dataset = open_dataset(name)
    asked: list[tuple[str, str, list[str]]] = []
    # All names are understood before anything is written.
    for kind, images in ((EXCLUDE, exclude), (RESTORE, restore)):
        if images:
            asked.append((kind, "", find_images(dataset, images)))
    for kind, pairs, what in ((RELABEL, relabel, "CLASS"), (SPLIT, parts, "PART")):
        by_value: dict[str, list[str]] = {}
        for pair in pairs:
            image, equals, value = pair.rpartition("=")
            if not equals:
                raise UserError(f"Give an image and what it is to be as ID={what}, received {pair!r}.")
            by_value.setdefault(value, []).extend(find_images(dataset, [image]))
        asked += [(kind, value, ids) for value, ids in by_value.items()]
    if not asked and not undo:
        raise UserError("Nothing to change: give --exclude, --restore, --relabel, --part or --undo.")
    before, number = dataset.version, len(dataset.edits)
    for edit_id in undo:
        dataset = undo_edit(name, edit_id, reason=reason)
    for kind, value, ids in asked:
        dataset = add_edit(name, kind, ids, value, reason)
    new = dataset.edits[number:]
    said = "; ".join(f"{one.edit_id}: {describe_edit(one, dataset)}" for one in new)
    sentence = f"{said}. {name} is at version {dataset.version} now; undo with --undo {new[-1].edit_id}."
    answer(
        {"name": name, "version": dataset.version, "version_before": before, "edits": [asdict(one) for one in new]},
        sentence, as_json=as_json,
    )  # fmt: skip


@click.command()
@click.argument("name")
@json_option
def edits(name: str, as_json: bool) -> None:
    """List the edits of a data set, oldest first, with those that were undone."""
    dataset = open_dataset(name)
    if as_json:
        print_json({"name": name, "version": dataset.version, "edits": [asdict(one) for one in dataset.edits]})
        return
    print_table(
        [
            (one.edit_id, describe_time(one.time_s), describe_edit(one, dataset), _images(one.image_ids, dataset),
             one.reason, one.who, "yes" if one.is_in_effect else "undone")
            for one in dataset.edits
        ],
        ("edit", "when", "what", "images", "reason", "by", "in effect"),
    )  # fmt: skip
    if not dataset.edits:
        click.echo(f"No image of {name} was edited.")


@click.command("label-next")
@click.argument("name")
@click.option("--number", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many images.")
@json_option
def label_next(name: str, *, number: int, as_json: bool) -> None:
    """Say which images to label next, and what their nearest labelled neighbours are.

    The images are compared by features of the default network, which are computed where they are not kept; the page
    Explore data labels by keyboard. A label is given by: datasets edit NAME --relabel ID=CLASS
    """
    from lib.features.label_suggestions import labelling_features, suggest_next

    dataset = open_dataset(name)
    targets = dataset.table["target"].to_numpy()
    waiting = np.flatnonzero((targets < 0) & ~dataset.has_exclusion)
    with ProgressLine() as progress:
        features = labelling_features(dataset, progress=progress)
    found: list[dict[str, Any]] = []
    while len(waiting) and len(found) < number:
        one = suggest_next(features, targets, waiting, num_classes=len(dataset.class_names))
        waiting = waiting[waiting != one.row]
        record = dataset.table.iloc[one.row]
        likely = dataset.class_names[one.target] if one.target >= 0 else ""
        found.append({
            "image_id": str(record["image_id"]), "path": str(record["path"]), "class_name": likely,
            "share": round(one.share, 4) if likely else None, "num_agreeing": one.num_agreeing, "num": one.num,
        })  # fmt: skip
    num_labelled = int((targets >= 0).sum())
    if as_json:
        print_json({"name": name, "num_labelled": num_labelled, "num_images": len(targets), "next": found})
        return
    click.echo(f"{num_labelled:,} of {len(targets):,} images of {name} have a label.")
    if found:
        print_table([tuple(one.values()) for one in found], ("image", "path", "likely", "share", "agree", "of"))


def _images(image_ids: tuple[str, ...], dataset: Dataset) -> str:
    paths = dict(zip(dataset.table["image_id"], dataset.table["path"], strict=True))
    shown = ", ".join(paths.get(one, f"{one} (gone)") for one in image_ids[:3])
    return shown if len(image_ids) <= 3 else f"{shown} and {len(image_ids) - 3} more"
