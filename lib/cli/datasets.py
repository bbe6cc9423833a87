"""`datasets list | sources | import | make | show | change | delete | restore`, and what other files add to them."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from lib import jobs
from lib.cli.auditing import audit
from lib.cli.domain_gap import gap
from lib.cli.edits import edit, edits, label_next
from lib.cli.exploring import measures
from lib.cli.image_maps import map_images
from lib.cli.interrupted import interrupted, said_what_is_kept
from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json, print_table
from lib.cli.splits import split
from lib.data.builtin import make_synthetic_fundus
from lib.data.dataset import Dataset
from lib.data.dataset_changes import change_dataset, rebuild_dataset, restore_version
from lib.data.drawing import Draw
from lib.data.import_options import estimate_import, suggest_for_folder
from lib.data.importing import check_schema, import_from, is_imported
from lib.data.label_schema import SchemaChange, parse_class_names, parse_names
from lib.data.library import delete_dataset, list_datasets, open_dataset, restore_dataset
from lib.data.schema_suggestion import SchemaSuggestion, suggest_for_dataset
from lib.data.sources.catalogue import SOURCES, find_source
from lib.data.sources.reading import called, is_reading, reading_of
from lib.data.sources.table import SourceOption, SourceRequest, SourceSpec
from lib.data.specs import BY_FILE
from lib.data.splits import EXCLUDED
from lib.data.statistics import class_counts
from lib.errors import UserError
from lib.explain.method_spec import read_options
from lib.settings import DEFAULT_STORE_SIDE_PX

_SHOWN_LEFT_OUT = 20
Function = TypeVar("Function", bound=Callable[..., Any])
POLICIES = ("center_square", "retina_box")


@click.group()
def datasets() -> None:
    """Import, make, list, show, measure, audit, map, change, edit, delete and restore data sets."""


datasets.add_command(audit)
datasets.add_command(interrupted)
datasets.add_command(measures)
datasets.add_command(split)
datasets.add_command(edit)
datasets.add_command(edits)
datasets.add_command(label_next)
datasets.add_command(map_images)
datasets.add_command(gap)


def kind_options(function: Function) -> Function:
    """Add the options that say what the classes are; `asked_kind` reads them."""
    for option in (
        click.option("--suggested", "takes_suggested", is_flag=True,
                     help="Take what names and pictures suggest; what is asked for by itself goes first."),
        click.option("--order", help="All classes in their order, by their name now or in the source, between commas."),
        click.option("--classes", help="Names to show, one for each class in that order, or OLD=NEW for some, "
                     "between commas."),
        click.option("--medical/--no-medical", "is_medical", default=None,
                     help="Medical images: every answer carries the notice."),
        click.option("--ordinal/--no-ordinal", "is_ordinal", default=None,
                     help="The classes are grades, in their order: quadratic kappa, expected grade, ordinal loss."),
    ):  # fmt: skip
        function = option(function)
    return function


@datasets.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the data sets of the library."""
    found = list_datasets()
    if as_json:
        print_json({"datasets": [asdict(summary) for summary in found]})
        return
    rows = [(one.name, one.title, one.num_images, one.num_classes, one.num_left_out, one.size_mib) for one in found]
    print_table(rows, ("name", "title", "images", "classes", "left out", "MiB"))
    if not found:
        note("No data sets yet: python -m lib datasets import FOLDER, or datasets make synthetic-fundus")


@datasets.command()
@json_option
def sources(as_json: bool) -> None:
    """List the ways to bring images in, with their options."""
    if as_json:
        print_json({"sources": [_source_facts(spec) for spec in SOURCES]})
        return
    for spec in SOURCES:
        click.echo(f"{spec.name}: {spec.title}{' (needs the network)' if spec.needs_network else ''}\n  {spec.summary}")
        for option in spec.options:
            click.echo(f"  --set {option.name}={_option_words(option)}")


def _source_facts(spec: SourceSpec) -> dict[str, Any]:
    options = [
        {key: getattr(option, key) for key in ("name", "title", "default", "choices", "help", "is_required")}
        | {"kind": option.kind.__name__}
        for option in spec.options
    ]
    said = {key: getattr(spec, key) for key in ("name", "title", "summary", "needs_network")}
    return {**said, "options": options}


def _option_words(option: SourceOption) -> str:
    kind = "|".join(map(str, option.choices)) or {int: "N", bool: "yes|no", Path: "PATH"}.get(option.kind, "TEXT")
    has_default = option.default not in (None, "", ())
    default = f" [{option.default}]" if has_default else " (required)" if option.is_required else ""
    return f"{kind}{default}  {option.title}{'. ' if option.help else ''}{option.help}"


@datasets.command("import")
@click.argument("path", required=False)
@click.option("--source", metavar="NAME", help="Where the images come from, as `datasets sources` lists it; by default "
              "what the path is.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="An option of the source; one of several texts is given several times.")  # fmt: skip
@click.option("--name", help="Name in the library; by default the folder's.")
@click.option("--labels", multiple=True, metavar="FILE|folders",
              help="CSV with a column of images and one of classes, also several; found by itself in the folder or "
              "beside it. \"folders\": the sub-folders are the classes, whatever a CSV says.")  # fmt: skip
@click.option("--class-column", help="Column of the label file that holds the classes; recognised where it is clear.")
@click.option("--image-column", help="Column of the label file that names the images; recognised where it is clear.")
@click.option("--group-column", help="Column of the label file or of metadata.csv that says which images belong "
              "together (a patient).")  # fmt: skip
@click.option("--pairs/--no-pairs", default=None,
              help="Keep the images of a patient in one split: by a column such as patient, or by names such as 7_left "
              "and 7_right.  [default: pairs]")  # fmt: skip
@click.option("--side", "store_side_px", type=int, default=DEFAULT_STORE_SIDE_PX, show_default=True,
              help="Stored side in pixels.")  # fmt: skip
@click.option("--crop-policy", type=click.Choice(POLICIES),
              help="What is kept of an image that is not square.  [default: center_square]")  # fmt: skip
@click.option("--per-class", type=int, metavar="N", help="Draw N images of each class, before anything is decoded.")
@click.option("--train-per-class", type=int, metavar="N",
              help="Draw N images of a class to train, from the published training part if there is one.")  # fmt: skip
@click.option("--test-per-class", type=int, metavar="N", help="The same of those to test.")
@click.option("--draw-seed", type=int, default=0, show_default=True, help="Another seed, other images.")
@click.option("--pseudonyms/--no-pseudonyms", default=None,
              help="Show and export no name of a file or patient; what they are called stays in this home.  [default: "
              "as in the last import of the same, else pseudonyms for medical images]")  # fmt: skip
@kind_options
@json_option
def import_path(
    path: str | None,
    source: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    takes_suggested: bool,
    **options: Any,
) -> None:
    """Import a folder of images, or from another source (`datasets sources` lists them).

    One sub-folder per class, below train/, val/, test/ or not; or images with a label file (a CSV such as
    trainLabels.csv).

    What class names and pictures suggest (grades, medical images, a round field on black) is said; it is set where you
    ask for it, by --suggested or one by one, now or later by `datasets change`.
    """

    kind = asked_kind(options)
    numbers = {key: options.pop(key) for key in ("per_class", "train_per_class", "test_per_class")}
    options["draw"] = draw = Draw(**numbers, seed=options.pop("draw_seed"))
    reading = {key: options.pop(key) for key in ("labels", "class_column", "image_column", "group_column", "pairs")}
    given = {name: value for name, value in reading.items() if value not in (None, ())}
    spec = _asked_source(path, source)
    values = spec.complete({**_first_option(spec, path), **given, **_settings(spec, settings)})
    if spec.look is not None:
        kind, options["crop_policy"] = _look_before(
            spec, values, kind, takes_suggested=takes_suggested, name=options["name"],
            crop_policy=options["crop_policy"], draw=draw,
        )  # fmt: skip
    elif takes_suggested:
        raise UserError(
            f"--suggested looks at a folder or an archive, and {spec.name} is none; take it after the import, by: "
            "python -m lib datasets change NAME --suggested"
        )
    if options["pseudonyms"] is None and kind.is_medical and not is_imported(spec.name, values, options["name"]):
        options["pseudonyms"] = True
        note("Medical images: names of files and patients become pseudonyms (--no-pseudonyms keeps the names).")
    with ProgressLine() as progress, said_what_is_kept(spec.key(values)):
        dataset = import_from(spec.name, values, kind=kind, progress=progress, **options)
    suggestion = suggest_for_dataset(dataset)
    _report(dataset, as_json=as_json, suggestions=suggestion.to_dict())
    note_suggestions(dataset, suggestion)


def _asked_source(path: str | None, source: str | None) -> SourceSpec:
    if source is not None:
        return SOURCES.get(source)
    if path is None:
        raise UserError("Nothing to import: give the path of a folder, or a source by --source NAME.")
    return find_source(Path(path).expanduser())


def _first_option(spec: SourceSpec, path: str | None) -> dict[str, str]:
    """What stands without a name is the source's first option."""
    if path is None:
        return {}
    if not spec.options:
        raise UserError(f"The source {spec.name} has no options; {path!r} is too much.")
    return {spec.options[0].name: path}


def _settings(spec: SourceSpec, settings: tuple[str, ...]) -> dict[str, Any]:
    """What --set gives; an option of several texts gathers them."""
    found: dict[str, Any] = {}
    several = {option.name for option in spec.options if option.kind is tuple}
    for setting in settings:
        name, value = next(iter(read_options([setting]).items()))
        found[name] = (*found.get(name, ()), value) if name in several else value
    return found


def _look_before(
    spec: SourceSpec,
    values: dict[str, Any],
    kind: SchemaChange,
    *,
    takes_suggested: bool,
    name: str | None,
    crop_policy: str | None,
    draw: Draw,
) -> tuple[SchemaChange, str | None]:
    """Say what an import will take; returns kind and crop, as suggested where that is asked for."""
    assert spec.look is not None  # noqa: S101  (asked for by the caller)
    path, reading = values["path"], {name: value for name, value in values.items() if is_reading(name)}
    folder = spec.look(SourceRequest(values=values, folder=Path(os.devnull)))
    with called(folder, path):
        if folder != path:
            reading["labels"] = reading_of(values, folder, beside=path.parent).labels
        estimate = estimate_import(folder, draw=draw, **reading)
        if takes_suggested:
            kind, crop_policy = take_suggested(folder, kind, crop_policy=crop_policy, reading=reading)
    check_schema(path, estimate.class_names, kind, name=name)
    for notice in estimate.notices:
        note(notice)
    note(f"{estimate.num_files} files, about {estimate.store_mib:.0f} MiB on disk")
    return kind, crop_policy


@datasets.command()
@click.argument("name", type=click.Choice(["synthetic-fundus"]))
@click.option(
    "--per-class", type=int, default=200, show_default=True, help="Images per grade, two a patient; at least 5."
)
@click.option("--size", "--side", "size_px", type=click.IntRange(64, 2048), default=512, show_default=True,
              help="Width of the photographs in px; stored at 384 px at most.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, other eyes.")
@click.option("--ungradable-share", type=click.FloatRange(0, 1), default=0.04, show_default=True,
              help="Share of images that cannot be graded.")  # fmt: skip
@click.option("--ungradable-kinds", help="What spoils them, separated by commas, equally often: "
              "blurred, underexposed, overexposed, covered by haze (default: all).")  # fmt: skip
@json_option
def make(name: str, ungradable_share: float, ungradable_kinds: str | None, as_json: bool, **options: Any) -> None:
    """Generate a data set: drawn retina photographs in five grades, with masks of their lesions."""
    from lib.data.fundus.generation import Spoiling
    from lib.data.fundus.photograph import UNGRADABLE_KINDS

    named = ungradable_kinds.split(",") if ungradable_kinds is not None else UNGRADABLE_KINDS
    spoiling = Spoiling(ungradable_share, tuple(kind.strip() for kind in named))
    with ProgressLine() as progress:
        dataset = make_synthetic_fundus(spoiling=spoiling, progress=progress, **options)
    _report(dataset, as_json=as_json)


@datasets.command()
@click.argument("name")
@click.option("--split-seed", type=int, default=0, show_default=True, help="Seed of the split that is counted.")
@json_option
def show(name: str, split_seed: int, as_json: bool) -> None:
    """Show a data set: classes, splits, and every file that was left out and why."""
    _report(open_dataset(name), split_seed=split_seed, as_json=as_json)


@datasets.command()
@click.argument("name")
def delete(name: str) -> None:
    """Move a data set to the trash."""
    key = delete_dataset(name)
    click.echo(f"Deleted {name}. Undo with: python -m lib datasets restore {key}")


@datasets.command()
@click.argument("key")
def restore(key: str) -> None:
    """Bring a deleted data set back."""
    restore_dataset(key)
    click.echo(f"Restored {key}.")


def _report(dataset: Any, *, as_json: bool, split_seed: int = 0, suggestions: dict[str, Any] | None = None) -> None:
    why_not = ""
    try:
        counts = class_counts(dataset, dataset.split(split_seed))
    except UserError as error:
        if not dataset.is_unlabelled:
            raise
        counts, why_not = class_counts(dataset, np.full(dataset.num_images, EXCLUDED)), str(error)
    left_out = dataset.left_out.to_dict("records")
    facts = {
        "name": dataset.name,
        "title": dataset.spec.title,
        "version": dataset.version,
        "folder": str(dataset.folder),
        "num_images": dataset.num_images,
        "num_classes": len(dataset.class_names),
        "store_side_px": dataset.spec.store_side_px,
        "crop_policy": dataset.spec.crop_policy,
        "deep_images": (dataset.spec.value_scale or BY_FILE).sentence,
        "num_left_out": len(left_out),
        **kind_facts(dataset),
        "num_excluded": int(dataset.has_exclusion.sum()),
        "num_unlabelled": int((dataset.table["target"] < 0).sum()),
        "num_edits": sum(one.is_in_effect for one in dataset.edits),
    }
    if dataset.spec.split_caveat:
        facts["split_caveat"] = dataset.spec.split_caveat
    if as_json:
        said = {} if suggestions is None else {"suggestions": suggestions}
        classes = {"class_names": list(dataset.class_names), "class_sources": list(dataset.class_sources)}
        print_json({
            **facts, **said, **classes, "counts": counts.to_dict("records"),
            "notices": [*dataset.notices, *filter(None, [why_not])],
            "left_out": left_out,
        })  # fmt: skip
        return
    print_facts({**facts, "earlier_versions": len(facts["earlier_versions"])})
    for notice in filter(None, (*dataset.notices, why_not)):
        click.echo(notice)
    click.echo()
    table = counts.pivot_table(index="class_name", columns="split", values="count", sort=False, aggfunc="sum")
    print_table([(name, *(int(value) for value in row)) for name, row in zip(table.index, table.values, strict=True)],
                ("class", *table.columns))  # fmt: skip
    if left_out:
        click.echo("\nLeft out:")
        for row in left_out[:_SHOWN_LEFT_OUT]:
            click.echo(f"  {row['path']}: {row['reason']}")
        if len(left_out) > _SHOWN_LEFT_OUT:
            click.echo(f"  and {len(left_out) - _SHOWN_LEFT_OUT} more (--json shows all)")


def asked_kind(options: dict[str, Any]) -> SchemaChange:
    """What the options say; they are taken out of `options`."""
    order, classes = options.pop("order"), options.pop("classes")
    return SchemaChange(
        is_ordinal=options.pop("is_ordinal"),
        is_medical=options.pop("is_medical"),
        order=parse_names(order) if order is not None else None,
        class_names=parse_class_names(classes) if classes is not None else None,
    )


def take_suggested(
    path: Path, asked: SchemaChange, *, crop_policy: str | None, reading: dict[str, Any]
) -> "tuple[SchemaChange, str | None]":
    """Kind and crop of an import that takes what is suggested; what is asked for by itself goes first."""
    suggestion = suggest_for_folder(path, **reading)
    for line in suggestion_lines(suggestion):
        note(line.replace("Suggested:", "Taken as suggested:"))
    return suggestion.taken(asked), crop_policy or suggestion.crop


def kind_facts(dataset: Dataset) -> dict[str, Any]:
    """What is said of a data set's classes, for its facts."""
    return {
        "is_ordinal": dataset.spec.is_ordinal,
        "is_medical": dataset.spec.is_medical,
        "earlier_versions": [entry["version"] for entry in dataset.description.get("history", ())],
    }


def note_suggestions(dataset: Dataset, suggestion: SchemaSuggestion) -> None:
    """Say what is suggested and not so, why, and how to take it."""
    for line in suggestion_lines(suggestion):
        note(line)
    if suggestion.reasons:
        note(f"Take it with: python -m lib datasets change {dataset.name} --suggested")


def suggestion_lines(suggestion: SchemaSuggestion) -> list[str]:
    """One line for each thing that is suggested, as an option with its reason."""
    options = {
        "is_ordinal": "--ordinal",
        "is_medical": "--medical",
        "crop_policy": f"--crop-policy {suggestion.crop}",
        "classes": f'--order "{",".join(suggestion.order)}" --classes "{",".join(suggestion.class_names)}"',
    }
    return [f"Suggested: {options[key]} ({reason})" for key, reason in suggestion.reasons.items()]


@datasets.command()
@click.argument("name")
@kind_options
@click.option("--crop-policy", type=click.Choice(POLICIES),
              help="Cut the images anew, from the originals.")  # fmt: skip
@click.option("--to-version", metavar="VERSION", help="Make an earlier version the present one again.")
@json_option
def change(
    name: str, takes_suggested: bool, crop_policy: str | None, to_version: str | None, as_json: bool, **kind: Any
) -> None:
    """Change names, order, kind or crop of a data set, as a new version; runs of earlier versions keep theirs.

    Names, order and kind change in a moment and touch no image. Another crop is made from the originals.
    """

    before, asked = open_dataset(name), asked_kind(kind)
    if to_version is not None:
        if not asked.is_empty or takes_suggested or crop_policy:
            raise UserError("--to-version brings back a whole version; give it alone.")
        after = restore_version(name, to_version)
    else:
        if takes_suggested:
            suggestion = suggest_for_dataset(before)
            asked, crop_policy = suggestion.taken(asked), crop_policy or suggestion.crop
        elif asked.is_empty and crop_policy is None:
            raise UserError(
                "Nothing to change: give --ordinal, --medical, --classes, --order, --crop-policy, --suggested or "
                "--to-version."
            )
        after = change_dataset(name, asked) if crop_policy is None else _rebuilt(before, asked, crop_policy)
    _tell(before, after, as_json=as_json)


def _rebuilt(dataset: Dataset, asked: SchemaChange, crop_policy: str) -> Dataset:
    if crop_policy != dataset.spec.crop_policy:
        jobs.require_unused(dataset.name)
    with ProgressLine() as progress:
        return rebuild_dataset(dataset.name, crop_policy, asked, progress=progress)


def _tell(before: Dataset, after: Dataset, *, as_json: bool) -> None:
    facts = {
        "name": after.name,
        "version": after.version,
        "was_version": before.version,
        "crop_policy": after.spec.crop_policy,
        **kind_facts(after),
    }
    if as_json:
        print_json({**facts, "class_names": list(after.class_names), "class_sources": list(after.class_sources)})
    else:
        shown = {"earlier_versions": len(facts["earlier_versions"]), "classes": ", ".join(after.class_names)}
        print_facts({**facts, **shown})
    if after.version == before.version:
        note("Nothing changed: the data set says so already.")
    else:
        note(f"Undo with: python -m lib datasets change {after.name} {_undo(before, after)}")


def _undo(before: Dataset, after: Dataset) -> str:
    back = f"--to-version {before.version}"
    if before.version in after.versions:
        return back
    crop = f"--crop-policy {before.spec.crop_policy}"
    says = [(one.spec.is_ordinal, one.spec.is_medical, one.class_names, one.class_sources) for one in (before, after)]
    return crop if says[0] == says[1] else f"{crop}, then {back}"
