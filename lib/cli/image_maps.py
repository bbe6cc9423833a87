"""`datasets map`: the images of a data set as points, near to those that a network answers alike."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, check_folder, json_option, note, print_json, print_table
from lib.cli.storage import backbone_or_default
from lib.errors import UserError
from lib.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from lib.explain.image_map import ImageMap, MapQuestion, StageMap
    from lib.figures.image_map_chart import PointColours

_METHODS = ("pca", "tsne", "umap")
_COLOURS = ("class", "split", "prediction", "error", "flag")
_OF_A_RUN = ("prediction", "error")
_ENDINGS = (".csv", ".html", ".png")


@click.command("map")
@click.argument("name")
@click.option("--backbone", metavar="NAME", help=f"The network.  [default: {DEFAULT_BACKBONE}]")
@click.option("--stage", help="Map this stage alone; by default all, one after the other.")
@click.option("--method", type=click.Choice(_METHODS), default="pca", show_default=True, help="What places the points.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, another t-SNE, UMAP.")
@click.option("--colour", "colour", type=click.Choice(_COLOURS), default="class", show_default=True,
              help="What a point's colour in --out says.")  # fmt: skip
@click.option("--run", "run_id", metavar="ID", help="The run whose answers or errors are shown.")
@click.option("--split-seed", type=int, default=0, show_default=True, help="Of the split that is shown.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the points as .csv (all stages), or a map as .html or .png: that of --stage, else of the "
              "stage that heads read.")  # fmt: skip
@json_option
def map_images(name: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Map the images of a data set by the features of a network, stage by stage.

    Each image is a point, near to the images that the stage answers alike. For each stage it is said how many of an
    image's ten nearest are of its own class. At most 20,000 images, of each class its share; what was made is kept.
    """
    from lib.data.dataset import parts_of
    from lib.data.library import open_dataset
    from lib.explain.image_map import measure_map
    from lib.explain.image_map_reading import map_table, method_words, reading, stage_separations

    if out is not None:
        if out.suffix.lower() not in _ENDINGS:
            raise UserError(f"--out ends with one of {', '.join(_ENDINGS)}; received {out.name!r}.")
        check_folder(out)
    if options["colour"] in _OF_A_RUN and not options["run_id"]:
        raise UserError(f"--colour {options['colour']} shows what a run answers: give it by --run ID.")
    dataset = open_dataset(name)
    split = parts_of(dataset, options["split_seed"])[0]
    with ProgressLine() as progress:
        question = _question(dataset, options, progress)
        question.check()
        stages = [options["stage"]] if options["stage"] else None
        found = measure_map(question, stages=stages, progress=progress)
    separations = stage_separations(question, found, split)
    table = map_table(found, separations)
    if out is not None:
        _write(out, question, found, split, options)
    if as_json:
        print_json({
            "dataset": name, "backbone": question.source.spec.name, "method": question.method, "seed": question.seed,
            "num_images": len(question.rows), "num_of": dataset.num_images, "stages": table,
            "reading": reading(found, separations), "method_words": method_words(question), "file": str(out or ""),
        })  # fmt: skip
        return
    headings = ("stage", "name", "features", "same class", "95 %", "by chance", "apart", "in words", "kept in the map")
    print_table([tuple(row.values()) for row in _cells(table)], headings)
    click.echo(f"\n{reading(found, separations)}\n\n{method_words(question)}")
    if out is not None:
        note(f"Wrote {out}")


def _cells(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "title": row["title"], "stage": row["stage"], "features": row["num_features"], "purity": row["purity"],
            "interval": None if row["purity"] is None else f"{row['low']:.3f} to {row['high']:.3f}",
            "chance": row["chance"], "apart": row["apart"], "word": row["word"], "kept": row["kept_in_map"],
        }
        for row in table
    ]  # fmt: skip


def _question(dataset: Any, options: dict[str, Any], progress: ProgressLine) -> "MapQuestion":
    from lib.explain.image_map import MapQuestion
    from lib.features.engine import FrozenPart, choose_engine
    from lib.features.stage_outputs import StagedSource
    from lib.models.backbones import BACKBONES
    from lib.models.weights import require_weights
    from lib.precision import choose_dtype
    from lib.runtime import pick_device, set_threads

    spec = BACKBONES.get(backbone_or_default(options["backbone"]))
    if not spec.num_parameters:
        raise UserError("Hand-made measures have no stages; choose a network (python -m lib weights list).")
    weights = "pretrained" if spec.has_weights else "random"
    if spec.has_weights:
        require_weights(spec.name)
    set_threads()
    device = pick_device("auto")
    dtype = choose_dtype(device)[0]
    part = FrozenPart(spec.name, weights, 0, spec.feature_stage, spec.input_size_px, dtype)
    asked = MapQuestion(dataset, StagedSource.published(spec, weights), options["method"], options["seed"])
    engine = choose_engine(part, device=device, num_images=len(asked.rows), progress=progress)
    return MapQuestion(dataset, asked.source, asked.method, asked.seed, dtype, device, engine)


def _write(out: Path, question: "MapQuestion", found: "ImageMap", split: Any, options: dict[str, Any]) -> None:
    from lib.explain.image_map_reading import point_table
    from lib.figures.image_map_chart import image_map_figure, point_colours, save_image_map

    dataset = question.dataset
    if out.suffix.lower() == ".csv":
        from lib.csv_text import csv_of_table

        out.write_text(csv_of_table(point_table(question, found, split)), encoding="utf-8")
        return
    one = _shown(question, found, options["stage"])
    colours = point_colours(options["colour"], dataset, found.rows, split, tested=_tested(options["run_id"]))
    if out.suffix.lower() == ".html":
        names = dataset.table["path"].iloc[found.rows].astype(str).tolist()
        figure = image_map_figure(one.points, colours, is_dark=False, names=names, height_px=760)
        figure.update_layout(title={"text": _title(question, one)}, margin={"t": 120})
        out.write_text(figure.to_html(include_plotlyjs=True, config={"displaylogo": False}), encoding="utf-8")
        return
    save_image_map(one.points, colours, out, title=_title(question, one), note=_note(question, colours))


def _shown(question: "MapQuestion", found: "ImageMap", stage: str | None) -> "StageMap":
    names = [one.stage.name for one in found.stages]
    heads = question.source.spec.feature_stage
    wanted = stage or (heads if heads in names else names[-1])
    return next(one for one in found.stages if one.stage.name == wanted)


def _title(question: "MapQuestion", one: "StageMap") -> str:
    from lib.explain.image_map import METHODS
    from lib.figures.style import literal

    network = question.source.spec.title
    return f"{literal(question.dataset.spec.title)}: {METHODS[question.method]} of {network}, {one.stage.label}"


def _note(question: "MapQuestion", colours: "PointColours") -> str:
    num, whole = len(question.rows), question.dataset.num_images
    shown = f"{num:,} images" if num == whole else f"{num:,} of {whole:,} images, of each class its share"
    return f"{shown}, coloured by {colours.title.lower()}. {colours.note}"


def _tested(run_id: str | None) -> Any:
    if not run_id:
        return None
    from lib.tracking import get_run
    from lib.tracking.tested import read_tested

    run = get_run(run_id)
    return read_tested(run, run.label)
