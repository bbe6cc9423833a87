"""Changes of a data set after its import: what is said of its classes, and the crop of its images."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from lib.atomic import write_json
from lib.data.catalog import dataset_folder, library_lock, open_dataset
from lib.data.dataset import DESCRIPTION_FILE, Dataset, read_description
from lib.data.import_options import ImportOptions
from lib.data.importing import import_locked, listing_of
from lib.data.kind import KindChange, NamedClasses
from lib.data.sources.folder import FolderScan, scan_folder
from lib.data.sources.layout import shown
from lib.data.specs import DatasetSpec, check_crop_policy
from lib.data.versions import as_of, changed_description, named_classes, stored_names
from lib.errors import UserError
from lib.progress import Progress, ignore_progress

_NO_LIMIT_S = -1.0
_LOCK_S = 5.0  # another change takes milliseconds; an import or a rebuild takes longer than anybody waits


def change_dataset(name: str, change: KindChange, *, expected_version: str | None = None) -> Dataset:
    """Give classes other names, another order or another kind, as a new version over the same table and pixels.

    Runs of earlier versions keep theirs (`Dataset.at_version`); the version of a kind that was there before is that of
    then. With `expected_version` the change is refused where somebody else changed the set meanwhile.

    Raises:
        UserError: no such data set, a change that does not fit its classes, or an import of it is at work.
    """
    with _locked(name) as description:
        _refuse_other_version(description, expected_version)
        _write(description, named_classes(description).changed(change), change)
    return open_dataset(name)


def restore_version(name: str, version: str) -> Dataset:
    """Make an earlier version the present one again; raises UserError where it is not kept."""
    with _locked(name) as description:
        then = as_of(description, version)
        spec = DatasetSpec.from_dict(then["spec"])
        _write(description, named_classes(then), KindChange(is_ordinal=spec.is_ordinal, is_medical=spec.is_medical))
    return open_dataset(name)


def rebuild_dataset(
    name: str,
    crop_policy: str,
    change: KindChange | None = None,
    *,
    expected_version: str | None = None,
    is_allowed: Callable[[Path], bool] | None = None,
    progress: Progress = ignore_progress,
) -> Dataset:
    """Cut the images anew by another crop policy, from the originals; the old store stays until the new one is whole.

    A `change` of the classes is made with it, as one new version. `is_allowed` limits where links may lead, as at the
    import.

    Raises:
        UserError: no such data set or policy, or the originals are gone or no longer those of the import.
    """
    check_crop_policy(crop_policy)
    change = change or KindChange()
    with _locked(name, timeout_s=_NO_LIMIT_S) as description:
        _refuse_other_version(description, expected_version)
        options = ImportOptions.of(description)
        if options.crop_policy == crop_policy:
            _write(description, named_classes(description).changed(change), change)
            return open_dataset(name)
        scan = _scan_originals(description, options, is_allowed)
        classes = named_classes(description).changed(change)
        options = options.saying(classes, scan.class_names, change)
        return import_locked(
            scan,
            name=name,
            options=dataclasses.replace(options, crop_policy=crop_policy),
            source=str(description["source"]),
            check_splits=bool(description["has_checked_splits"]),
            progress=progress,
        )


def require_originals(dataset: Dataset, is_allowed: Callable[[Path], bool] | None = None) -> None:
    """Raise UserError with the reason if the images cannot be read again from where they came."""
    _scan_originals(dataset.description, ImportOptions.of(dataset.description), is_allowed)


def _scan_originals(
    description: dict[str, Any], options: ImportOptions, is_allowed: Callable[[Path], bool] | None
) -> FolderScan:
    name, source = description["spec"]["name"], str(description.get("source") or "")
    folder = Path(source)
    if not folder.is_absolute() or not folder.is_dir():
        raise UserError(
            f"The originals of {name!r} are gone ({shown(source)}), so its images cannot be cut anew; names, order and "
            "kind of its classes can be changed."
        )
    scan = scan_folder(
        folder, options.source, is_allowed=is_allowed, min_classes=2 if description["has_checked_splits"] else 1
    )
    if listing_of(scan) != description["listing"]:
        raise UserError(
            f"The originals of {name!r} in {shown(source)} are not those of the import any more (files came, went or "
            f'changed); import the folder again instead: python -m lib datasets import "{shown(source)}" --name {name}'
        )
    return scan


@contextmanager
def _locked(name: str, *, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
    """The present description of a data set, while nobody else changes, imports or rebuilds it."""
    source = str(read_description(dataset_folder(name)).get("source") or name)
    try:
        with library_lock(source).acquire(timeout=_LOCK_S if timeout_s is None else timeout_s):
            yield read_description(dataset_folder(name))
    except Timeout:
        raise UserError(f"The data set {name!r} is being imported or rebuilt; change it when that is over.") from None


def _refuse_other_version(description: dict[str, Any], expected: str | None) -> None:
    if expected is not None and description["version"] != expected:
        raise UserError(
            f"The data set {description['spec']['name']!r} was changed meanwhile (version {expected} was shown, now "
            f"it is {description['version']}); look at it again, then change it."
        )


def _write(description: dict[str, Any], classes: NamedClasses, flags: KindChange) -> None:
    options = ImportOptions.of(description).saying(classes, stored_names(description), flags)
    said = {flag: value for flag in ("is_ordinal", "is_medical") if (value := getattr(flags, flag)) is not None}
    spec = dataclasses.replace(DatasetSpec.from_dict(description["spec"]), class_names=classes.names, **said)
    changed = changed_description({**description, "options": options.to_dict()}, classes, spec)
    if changed["version"] == description["version"]:
        return
    folder = dataset_folder(spec.name)  # raises if it was deleted meanwhile
    try:
        write_json(folder / DESCRIPTION_FILE, changed)
    except OSError as error:
        free = shutil.disk_usage(folder).free / 2**20
        raise UserError(
            f"{folder / DESCRIPTION_FILE} cannot be written ({error.strerror}; {free:,.0f} MiB free); the data set "
            "stays as it is."
        ) from None
