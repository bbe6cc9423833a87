"""`export`, `bundles import | list | rename | delete | restore` and `registry register | alias | rollback | list`."""

from pathlib import Path

import click

from lib.cli.output import ProgressLine, answer, check_folder, describe_time, json_option, note, print_json, print_table
from lib.errors import UserError
from lib.grading import imported
from lib.tracking import model_registry
from lib.tracking.model_registry import CHAMPION, MODELS_SCHEME

_GRADE = "Grade with: python -m lib grade PATH --run"


@click.command()
@click.option("--run", "run_id", required=True, metavar="ID", help="The finished run, or a bundle.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .zip or .onnx file to write.")
@click.option("--onnx", "with_onnx", is_flag=True, help="Put the network into the zip as an ONNX file too.")
@json_option
def export(run_id: str, out: Path, with_onnx: bool, as_json: bool) -> None:
    """Write a run's classifier as one zip, enough to grade on another machine, or its network as one ONNX file.

    The zip holds all weights, classes, preprocessing, limits, the domain gate, figures, versions, licences, the SHA-256
    of every file and a README. An ONNX file goes from the normalised input to probabilities, and is compared with torch
    before it is kept.
    """
    if out.suffix.lower() not in (".zip", ".onnx"):
        raise UserError(
            "A bundle is a zip file, a network alone an ONNX file: --out must end in .zip or .onnx, "
            f"received {str(out)!r}."
        )
    check_folder(out)
    from lib.grading.grader import Grader
    from lib.grading.onnx_export import write_onnx
    from lib.grading.taking_away import export_run

    difference = None
    with ProgressLine() as progress:
        if out.suffix.lower() == ".zip":
            export_run(run_id, out, with_onnx=with_onnx, progress=progress)
        else:
            difference = write_onnx(Grader.open(run_id, device="cpu"), out, progress=progress)
    size = f"{out} ({out.stat().st_size / 2**20:.1f} MiB)."
    content = {"file": str(out), "bytes": out.stat().st_size, "largest_difference": difference}
    after = (
        f"{_GRADE} {out}"
        if difference is None
        else f"Its probabilities differ from torch's by {difference:.1e} at most."
    )
    answer(content, f"{size} {after}", as_json=as_json)


@click.group()
def bundles() -> None:
    """Keep classifiers that were exported elsewhere. ID is an id such as bundle-0123456789ab, or its beginning."""


@bundles.command("import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.zip")
@click.option("--name", default="", help="What to call it; by default its data set and file.")
@json_option
def import_one(file: Path, name: str, as_json: bool) -> None:
    """Check a bundle in every way and keep it, so that pages and commands can grade with it."""
    kept = imported.import_bundle(file, name=name)
    sentence = f"Imported as {kept.bundle_id} ({kept.name}). {_GRADE} {kept.bundle_id}"
    answer(_facts(kept), sentence, as_json=as_json)


@bundles.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List what was imported, the newest first."""
    found = imported.list_bundles()
    if as_json:
        print_json({"bundles": [_facts(one) for one in found]})
        return
    rows = [(one.bundle_id, one.name, describe_time(one.imported_s)) for one in found]
    print_table(rows, ("id", "name", "imported"))
    if not found:
        note("No bundle was imported yet: python -m lib bundles import FILE.zip")


@bundles.command()
@click.argument("bundle_id", metavar="ID")
@click.argument("name")
def rename(bundle_id: str, name: str) -> None:
    """Give an imported bundle another name."""
    kept = imported.rename_bundle(bundle_id, name)
    click.echo(f"{kept.bundle_id} is now called {kept.name}.")


@bundles.command()
@click.argument("bundle_id", metavar="ID")
def delete(bundle_id: str) -> None:
    """Move an imported bundle to the trash."""
    gone = imported.delete_bundle(bundle_id)
    click.echo(f"Deleted {gone.bundle_id} ({gone.name}). Undo with: python -m lib bundles restore {gone.bundle_id}")


@bundles.command()
@click.argument("bundle_id", metavar="ID")
def restore(bundle_id: str) -> None:
    """Bring a deleted bundle back."""
    back = imported.restore_bundle(bundle_id)
    click.echo(f"Restored {back.bundle_id} ({back.name}).")


@click.group()
def registry() -> None:
    """Register runs under a name in MLflow's registry, and say by an alias which version counts."""


@registry.command()
@click.option("--run", "run_id", required=True, metavar="ID", help="The finished run.")
@click.option("--name", required=True, help="The name, which may be new.")
@json_option
def register(run_id: str, name: str, as_json: bool) -> None:
    """Enter a run as the next version of a name."""
    made = model_registry.register_run(run_id, name)
    after = f"Let it count with: python -m lib registry alias '{name}' {CHAMPION} {made.version}"
    sentence = f"The run {made.run_id[:8]} is version {made.version} of {name}. {after}"
    answer(_version_facts(made), sentence, as_json=as_json)


@registry.command()
@click.argument("name")
@click.argument("alias_name", metavar="ALIAS")
@click.argument("version", type=click.IntRange(min=1))
@json_option
def alias(name: str, alias_name: str, version: int, as_json: bool) -> None:
    """Let an alias, such as champion, point to a version."""
    former = model_registry.set_alias(name, alias_name, version)
    content = {"name": name, "alias": alias_name, "version": version, "former_version": former}
    moved = former is not None and former != version
    undo = f"; it was {former}. Go back with: python -m lib registry rollback '{name}' {alias_name}" if moved else ""
    sentence = f"{name}@{alias_name} is version {version}{undo}\n{_GRADE} '{MODELS_SCHEME}{name}@{alias_name}'"
    answer(content, sentence, as_json=as_json)


@registry.command()
@click.argument("name")
@click.argument("alias_name", metavar="[ALIAS]", required=False, default=CHAMPION)
@json_option
def rollback(name: str, alias_name: str, as_json: bool) -> None:
    """Let an alias point again to the version that it had before."""
    former, version = model_registry.roll_back(name, alias_name)
    content = {"name": name, "alias": alias_name, "version": version, "former_version": former}
    undo = f"python -m lib registry alias '{name}' {alias_name} {former}"
    answer(content, f"{name}@{alias_name} is version {version} again. Undo with: {undo}", as_json=as_json)


@registry.command("list")
@click.argument("name", required=False)
@json_option
def list_versions(name: str | None, as_json: bool) -> None:
    """List registered versions, the newest of each name first."""
    found = model_registry.registered_versions(name)
    if as_json:
        print_json({"versions": [_version_facts(one) for one in found]})
        return
    rows = [
        (one.name, one.version, ", ".join(one.aliases), one.run_id[:8], describe_time(one.created_s)) for one in found
    ]
    print_table(rows, ("name", "version", "aliases", "run", "registered"))
    if not found:
        note("Nothing is registered yet: python -m lib registry register --run ID --name NAME")


def _facts(kept: imported.ImportedBundle) -> dict[str, object]:
    return {"bundle_id": kept.bundle_id, "name": kept.name, "imported_s": kept.imported_s, "folder": str(kept.folder)}


def _version_facts(one: model_registry.ModelVersion) -> dict[str, object]:
    return {
        "name": one.name, "version": one.version, "run_id": one.run_id, "aliases": list(one.aliases),
        "address": one.address, "created_s": one.created_s,
    }  # fmt: skip
