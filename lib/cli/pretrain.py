"""`pretrain`: make the bundled backbone again, from nothing, or measure what it is worth on other images."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lib.cli.output import ProgressLine, answer, json_option, note, print_json, print_table
from lib.data.importing import resolve_dataset
from lib.settings import cache_dir


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where rendered images, checkpoints and log are kept.")
@click.option("--out", type=click.Path(path_type=Path), help="The weights file to write, by default in that folder.")
@click.option("--per-class", type=click.IntRange(8, 10_000), default=160, show_default=True, help="Images per class.")
@click.option("--steps", type=click.IntRange(1, 10_000_000), default=6500, show_default=True, help="Training steps.")
@click.option("--class-share", type=click.FloatRange(0.01, 1.0), default=1.0, show_default=True,
              help="Share of each family's classes.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
              help="Number format of the forward passes.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--measure", "datasets", multiple=True, metavar="DATASET",
              help="Measure the bundled weights against random ones on a data set instead.")  # fmt: skip
@json_option
def pretrain(folder: Path | None, out: Path | None, datasets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Pretrain the bundled backbone on generated images; goes on where it was interrupted.

    With --measure: a 5-fold linear probe on its frozen features against the mean of five random initialisations.
    """
    if datasets:
        _measure(datasets, as_json=as_json)
        return
    from lib.pretraining.training import produce

    with ProgressLine() as progress:
        made = produce(folder or cache_dir() / "pretraining", out=out, progress=progress, tell=note, **options)
    wrote = f"Wrote {made['file']} ({made['size_mib']:.1f} MiB)"
    reached = f"accuracy on unseen images {made['val_accuracy']:.3f} of {made['num_classes']} classes."
    answer(made, f"{wrote}, {reached}", as_json=as_json)


def _measure(names: tuple[str, ...], *, as_json: bool) -> None:
    from lib.pretraining.transfer import measure_gain

    rows = []
    for name in names:
        with ProgressLine() as progress:
            dataset = resolve_dataset(name, progress=progress)
            targets = dataset.table["target"].to_numpy()
            gain = measure_gain(dataset.pixels, targets, backbone_name="bundled_vgg", progress=progress)
        rows.append({"dataset": dataset.name, **asdict(gain)})
    if as_json:
        print_json({"gains": rows})
        return
    print_table([tuple(row.values()) for row in rows], tuple(rows[0]))
