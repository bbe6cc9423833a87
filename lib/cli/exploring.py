"""`datasets measures`: what the images of a data set are like, and what stands out."""

from typing import TYPE_CHECKING

import click
import numpy as np

from lib.cli.output import ProgressLine, json_option, note, print_json, print_table
from lib.csv_text import csv_of_table
from lib.data.class_contrasts import find_contrasts, what_stands_out
from lib.data.dataset import parts_of
from lib.data.image_measures import MEASURES, image_measures
from lib.data.image_query import image_table
from lib.data.library import open_dataset
from lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.argument("name")
@click.option("--split-seed", type=int, default=0, show_default=True, help="Seed of the split that is compared.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every image with all its measures as CSV.")
@json_option
def measures(name: str, split_seed: int, *, as_csv: bool, as_json: bool) -> None:
    """Measure size, brightness, contrast, sharpness and colour of every image; say what stands out.

    Medians by class, and by what classes and splits differ: in how many of 100 pairs one has more than another.
    """
    if as_csv and as_json:
        raise UserError("Choose one of --csv and --json.")
    dataset = open_dataset(name)
    split, _ = parts_of(dataset, split_seed)
    with ProgressLine() as progress:
        found = image_measures(dataset, progress=progress)
    if as_csv:
        click.echo(csv_of_table(image_table(dataset, split, found), digits=6), nl=False)
        return
    contrasts = find_contrasts(dataset, split, found)
    told = what_stands_out(contrasts)
    medians = _medians(found, dataset.table["target"].to_numpy(), list(dataset.class_names))
    if as_json:
        print_json({
            "name": name, "version": dataset.version, "num_images": dataset.num_images,
            "units": {one.name: one.unit for one in MEASURES.values()}, "medians": medians,
            "stands_out": [{**vars(one), "sentence": one.sentence} for one in told],
            "contrasts": [vars(one) for one in contrasts],
        })  # fmt: skip
        return
    rows = [(class_name, *(values[one] for one in MEASURES)) for class_name, values in medians.items()]
    print_table(rows, ("median of class", *(one.title.lower() for one in MEASURES.values())))
    click.echo()
    for one in told:
        click.echo(one.sentence)
    if not told:
        click.echo("No class and no split differs much from the others in any of these measures.")
        if contrasts:
            note(f"The largest difference: {contrasts[0].sentence}")


def _medians(found: "pd.DataFrame", targets: np.ndarray, class_names: list[str]) -> dict[str, dict[str, float]]:
    """Class name -> measure -> median; a class without images has NaN."""
    by_target = found[list(MEASURES)].groupby(targets).median().reindex(range(len(class_names)))
    values = by_target.to_numpy().tolist()
    return {name: dict(zip(MEASURES, own, strict=True)) for name, own in zip(class_names, values, strict=True)}
