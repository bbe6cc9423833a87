"""Changes a data set after its import: its classes, back to an earlier version, or another crop of its images."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.atomic import write_json
from lib.data.dataset import DESCRIPTION_FILE, Dataset
from lib.data.edit_log import open_states
from lib.data.import_options import ImportOptions
from lib.data.importing import import_locked, listing_of
from lib.data.interrupted import WRITTEN, workplace
from lib.data.label_schema import LabelSchema, SchemaChange, as_of, changed_description, schema_of, stored_sources
from lib.data.library import dataset_folder, locked_dataset, open_dataset
from lib.data.originals import ORIGINALS, carry_originals, originals_folder, values_of
from lib.data.sources.catalogue import SOURCES
from lib.data.sources.files import shown
from lib.data.sources.table import FoundImages, SourceRequest
from lib.data.specs import DatasetSpec, check_crop_policy
from lib.errors import UserError
from lib.progress import Progress, ignore_progress


def change_dataset(name: str, change: SchemaChange, *, expected_version: str | None = None) -> Dataset:
    """Give classes other names, another order or another kind, as a new version over the same table and pixels.

    Runs of earlier versions keep theirs (`Dataset.at_version`); the version of a schema that was there before is that
    of then. Raises UserError where there is no such data set, the change does not fit its classes, an import of it is
    at work, or it is no longer at `expected_version`, since somebody else changed it meanwhile.
    """
    with locked_dataset(name, expected_version) as description:
        return _write(description, schema_of(description).changed(change), change)


def restore_version(name: str, version: str) -> Dataset:
    """Give the classes the names, order and kind of an earlier version again; raises UserError where it is not kept.

    Edits of single images stay as they are: each is undone by itself (lib/data/edits.py). Raises UserError also where
    the version differs from the present one by edits alone.
    """
    with locked_dataset(name) as description:
        states = open_states(dataset_folder(name), description)
        of_classes, _ = states.get(version, (version, 0))
        if of_classes == description["version"] and version != next(iter(states)):
            raise UserError(
                f"The classes of {name!r} are as in version {version}, which differs by edits of single images: undo "
                f"those that you do not want (python -m lib datasets edits {name})."
            )
        then = as_of(description, of_classes)
        flags = {flag: then["spec"].get(flag, False) for flag in ("is_ordinal", "is_medical")}
        return _write(description, schema_of(then), SchemaChange(**flags))


def rebuild_dataset(
    name: str,
    crop_policy: str,
    change: SchemaChange | None = None,
    *,
    expected_version: str | None = None,
    is_allowed: Callable[[Path], bool] | None = None,
    progress: Progress = ignore_progress,
) -> Dataset:
    """Cut the images anew by another crop policy, from the originals; the old store stays until the new one is whole.

    A `change` of the classes is made with it, as one new version. `is_allowed` limits where links may lead, as at the
    import. Raises UserError also where the originals are gone or no longer those of the import.
    """
    check_crop_policy(crop_policy)
    change = change or SchemaChange()
    with locked_dataset(name, expected_version, timeout_s=-1) as description:
        options = ImportOptions.of(description)
        if options.crop_policy == crop_policy:
            return _write(description, schema_of(description).changed(change), change)
        with workplace(str(description["source"])) as place:
            carry_originals(dataset_folder(name), place / WRITTEN)
            found = _find_originals(description, options, is_allowed, place / WRITTEN)
            options = options.with_schema(schema_of(description).changed(change), found.scan.class_names, change)
            return import_locked(
                found, name=name, options=dataclasses.replace(options, crop_policy=crop_policy),
                source=str(description["source"]), check_splits=bool(description["has_checked_splits"]),
                progress=progress, place=place, state=str(description.get("source_state", "")),
            )  # fmt: skip


def require_originals(dataset: Dataset, is_allowed: Callable[[Path], bool] | None = None) -> None:
    """Raise UserError with the reason if the images cannot be read again from where they came."""
    _find_originals(dataset.description, ImportOptions.of(dataset.description), is_allowed, dataset.folder)


def _find_originals(
    description: dict[str, Any], options: ImportOptions, is_allowed: Callable[[Path], bool] | None, dataset: Path
) -> FoundImages:
    """Read the source again; what it unpacked once lies in the folder `dataset`."""
    name, source = description["spec"]["name"], str(description.get("source") or "")
    folder = originals_folder(dataset_folder(name), description)
    if not folder.is_absolute() or not folder.is_dir():
        raise UserError(
            f"The originals of {name!r} are gone ({shown(source)}), so its images cannot be cut anew; names, order and "
            "kind of its classes can be changed."
        )
    request = SourceRequest(
        values=values_of(description), folder=dataset / ORIGINALS, is_allowed=is_allowed,
        min_classes=2 if description["has_checked_splits"] else 1,
    )  # fmt: skip
    found = SOURCES.get(options.source_name).read(request)
    if listing_of(found.scan) != description["listing"]:
        raise UserError(
            f"The originals of {name!r} in {shown(source)} are not those of the import any more (files came, went or "
            f'changed); import the folder again instead: python -m lib datasets import "{shown(source)}" --name {name}'
        )
    return found


def _write(description: dict[str, Any], schema: LabelSchema, change: SchemaChange) -> Dataset:
    options = ImportOptions.of(description).with_schema(schema, stored_sources(description), change)
    spec = DatasetSpec.from_dict({**description["spec"], **change.flags, "class_names": schema.names})
    changed = changed_description({**description, "options": options.to_dict()}, schema, spec)
    folder = dataset_folder(spec.name)  # raises if it was deleted meanwhile
    try:
        if changed["version"] != description["version"]:
            write_json(folder / DESCRIPTION_FILE, changed)
    except OSError as error:
        free = shutil.disk_usage(folder).free / 2**20
        raise UserError(
            f"{folder / DESCRIPTION_FILE} cannot be written ({error.strerror}; {free:,.0f} MiB free); the data set "
            "stays as it is."
        ) from None
    return open_dataset(spec.name)
