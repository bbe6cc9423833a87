"""`datasets change`, and what `datasets import` shares with it: options that say what the classes are, suggestions."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.data.label_schema import SchemaChange
    from lib.data.schema_suggestion import SchemaSuggestion

Function = TypeVar("Function", bound=Callable[..., Any])
POLICIES = ("center_square", "retina_box")


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


def asked_kind(options: dict[str, Any]) -> "SchemaChange":
    """What the options say; they are taken out of `options`."""
    from lib.data.label_schema import SchemaChange, parse_class_names, parse_names

    order, classes = options.pop("order"), options.pop("classes")
    return SchemaChange(
        is_ordinal=options.pop("is_ordinal"),
        is_medical=options.pop("is_medical"),
        order=parse_names(order) if order is not None else None,
        class_names=parse_class_names(classes) if classes is not None else None,
    )


def take_suggested(
    path: Path, asked: "SchemaChange", *, crop_policy: str | None, reading: dict[str, Any]
) -> "tuple[SchemaChange, str | None]":
    """Kind and crop of an import that takes what is suggested; what is asked for by itself goes first."""
    from lib.data.import_options import suggest_for_folder

    suggestion = suggest_for_folder(path, **reading)
    for line in suggestion_lines(suggestion):
        note(line.replace("Suggested:", "Taken as suggested:"))
    return suggestion.taken(asked), crop_policy or suggestion.crop


def kind_facts(dataset: "Dataset") -> dict[str, Any]:
    """What is said of a data set's classes, for its facts."""
    return {
        "is_ordinal": dataset.spec.is_ordinal,
        "is_medical": dataset.spec.is_medical,
        "earlier_versions": [entry["version"] for entry in dataset.description.get("history", ())],
    }


def note_suggestions(dataset: "Dataset", suggestion: "SchemaSuggestion") -> None:
    """Say what is suggested and not so, why, and how to take it."""
    for line in suggestion_lines(suggestion):
        note(line)
    if suggestion.reasons:
        note(f"Take it with: python -m lib datasets change {dataset.name} --suggested")


def suggestion_lines(suggestion: "SchemaSuggestion") -> list[str]:
    """One line for each thing that is suggested, as an option with its reason."""
    options = {
        "is_ordinal": "--ordinal",
        "is_medical": "--medical",
        "crop_policy": f"--crop-policy {suggestion.crop}",
        "classes": f'--order "{",".join(suggestion.order)}" --classes "{",".join(suggestion.class_names)}"',
    }
    return [f"Suggested: {options[key]} ({reason})" for key, reason in suggestion.reasons.items()]


@click.command()
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
    from lib.data.importing import change_dataset, restore_version
    from lib.data.library import open_dataset
    from lib.data.schema_suggestion import suggest_for_dataset

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


def _rebuilt(dataset: "Dataset", asked: "SchemaChange", crop_policy: str) -> "Dataset":
    from lib import jobs
    from lib.data.importing import rebuild_dataset

    if crop_policy != dataset.spec.crop_policy:
        jobs.require_unused(dataset.name)
    with ProgressLine() as progress:
        return rebuild_dataset(dataset.name, crop_policy, asked, progress=progress)


def _tell(before: "Dataset", after: "Dataset", *, as_json: bool) -> None:
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


def _undo(before: "Dataset", after: "Dataset") -> str:
    back = f"--to-version {before.version}"
    if before.version in after.versions:
        return back
    crop = f"--crop-policy {before.spec.crop_policy}"
    says = [(one.spec.is_ordinal, one.spec.is_medical, one.class_names, one.class_sources) for one in (before, after)]
    return crop if says[0] == says[1] else f"{crop}, then {back}"
