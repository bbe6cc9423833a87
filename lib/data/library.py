"""What lies in the library: list, open, delete, restore. A data set is a folder below `datasets_dir()`."""

import difflib
import hashlib
import logging
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
from filelock import FileLock, Timeout

from lib.data.dataset import DESCRIPTION_FILE, Dataset, read_description
from lib.data.edit_log import present_version, read_log, versions_ever
from lib.data.sources.files import shown
from lib.errors import UserError
from lib.settings import datasets_dir, trash_dir

_MAX_NAME_LENGTH = 48  # four bytes a letter and a key for the trash still fit into a file name of 255 bytes
STAGING_PREFIX = ".staging-"
_LOCK_S = 5.0  # another change takes milliseconds; an import or a rebuild takes longer than anybody waits
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetSummary:
    """One line of the library; `num_images` are those that take part."""

    name: str
    title: str
    num_images: int
    num_classes: int
    version: str
    num_left_out: int
    size_mib: float
    is_medical: bool
    domain: str
    split_caveat: str = ""


def list_datasets() -> list[DatasetSummary]:
    """All readable data sets by name; one whose description is broken is logged and left out."""
    return [_summary(description) for description in descriptions()]


def open_dataset(name: str, *, version: str | None = None) -> Dataset:
    """Open a data set by its name, as it is or was at a version; raises UserError if there is none or it is damaged."""
    return Dataset(dataset_folder(name), version)


def dataset_folder(name: str) -> Path:
    """The folder of a data set, damaged or not; raises UserError with the nearest and all names if there is none."""
    known = [folder.name for folder in _folders()]
    if name in known:
        return datasets_dir() / name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    at_hand = f"At hand: {', '.join(known)}." if known else "Import one: python -m lib datasets import FOLDER."
    raise UserError(f"There is no data set (and no folder) {shown(name)!r}.{hint} {at_hand}")


def image_groups(name: str, image_ids: Sequence[str]) -> np.ndarray | None:
    """Names (N,) of the groups of images, such as patients, "" for an image by itself.

    None if the data set is gone or says nothing of groups.
    """
    try:
        table = open_dataset(name).table.drop_duplicates("image_id").set_index("image_id")
    except UserError:
        return None
    groups = table["group_id"].reindex(list(image_ids)).fillna("").to_numpy()
    return groups if any(groups) else None


def version_now(name: str) -> str | None:
    """The present version of a data set; None if it is not in the library."""
    try:
        folder = dataset_folder(name)
        return present_version(folder, read_description(folder))
    except UserError:
        return None


def version_words(name: str, version: str) -> str:
    """A version that a run read, and what became of it, such as "1f2e..., now 9c8d..."; empty for no version."""
    now = version_now(name) if version else ""
    if now is None:
        return f"{version}; the data set is not in the library any more"
    return version if now == version else f"{version}, now {now}"


def is_medical_now(name: str, version: str) -> bool:
    """Whether the data set that a classifier was trained on, at that version, is said to be medical by now."""
    with suppress(UserError):
        folder = dataset_folder(name)
        description = read_description(folder)
        return version in versions_ever(folder, description) and bool(description["spec"].get("is_medical"))
    return False


def delete_dataset(name: str) -> str:
    """Move a data set to the trash; returns the key for `restore_dataset`."""
    folder = dataset_folder(name)
    key = f"dataset-{name}-{time.time_ns():x}"
    shutil.move(folder, trash_dir() / key)
    return key


def restore_dataset(key: str) -> Dataset:
    """Bring a deleted data set back; raises UserError if the key is unknown or its name is taken again."""
    folder = trash_dir() / key
    if key != Path(key).name or not key.startswith("dataset-") or not folder.is_dir():
        raise UserError(f"There is no deleted data set {shown(key)!r}; the key is what the deletion printed.")
    name = key.removeprefix("dataset-").rpartition("-")[0]
    target = datasets_dir() / name
    if target.exists():
        raise UserError(f"The name {name!r} is taken by another data set now; delete that one first.")
    shutil.move(folder, target)
    return Dataset(target)


def descriptions() -> Iterator[dict[str, Any]]:
    """The readable descriptions by name."""
    for folder in _folders():
        try:
            description = read_description(folder)
            _summary(description)
        except (UserError, KeyError, TypeError) as error:
            _log.warning("Data set %s is passed over: %s", folder.name, error)
            continue
        yield description


def is_taken(name: str) -> bool:
    """Whether anything in the library has that name."""
    return name == as_name(name) and (datasets_dir() / name).exists()


def as_name(text: str) -> str:
    """Turn a folder's name into a name for the library: letters, digits, "-", "_" and "."; never empty."""
    normal = unicodedata.normalize("NFC", shown(text))
    return re.sub(r"[^\w.-]+", "-", normal).strip("-.")[:_MAX_NAME_LENGTH] or "dataset"


def library_lock(key: str) -> FileLock:
    """A lock between processes for work on one source or name."""
    folder = datasets_dir() / ".locks"
    folder.mkdir(exist_ok=True)
    return FileLock(folder / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}.lock")


@contextmanager
def locked_dataset(
    name: str, expected: str | None = None, *, timeout_s: float | None = None
) -> Iterator[dict[str, Any]]:
    """The present description of a data set, while nobody else changes, imports or rebuilds it; -1 waits for ever.

    Raises UserError where the set is busy, or no longer at the version that is `expected`.
    """
    source = str(read_description(dataset_folder(name)).get("source") or name)
    try:
        with library_lock(source).acquire(timeout=_LOCK_S if timeout_s is None else timeout_s):
            folder = dataset_folder(name)
            description = read_description(folder)
            if expected not in (None, now := present_version(folder, description)):
                raise UserError(
                    f"The data set {name!r} was changed meanwhile (version {expected} was shown, now it is {now}); "
                    "look at it again, then change it."
                )
            yield description
    except Timeout:
        raise UserError(f"The data set {name!r} is being imported or rebuilt; change it when that is over.") from None


def _folders() -> list[Path]:
    folders = (path for path in datasets_dir().iterdir() if not path.name.startswith("."))
    return sorted(path for path in folders if (path / DESCRIPTION_FILE).is_file())


def _summary(description: dict[str, Any]) -> DatasetSummary:
    spec = description["spec"]
    folder = datasets_dir() / spec["name"]
    return DatasetSummary(
        **{key: spec[key] for key in ("name", "title", "is_medical", "domain")},
        num_left_out=description["num_left_out"],
        num_images=_num_taking_part(folder, description),
        version=present_version(folder, description),
        num_classes=len(spec["class_names"]),
        size_mib=sum(description["num_bytes"].values()) / 2**20,
        split_caveat=spec.get("split_caveat", ""),
    )


def _num_taking_part(folder: Path, description: dict[str, Any]) -> int:
    states = read_log(folder).states.values()
    if description.get("is_unlabelled"):
        return sum(state.label is not None and not state.is_excluded for state in states)
    return int(description["num_images"]) - sum(state.is_excluded for state in states)


@contextmanager
def staging_folder() -> Iterator[Path]:
    """A temporary folder beside the data sets; removes those of processes that died."""
    remove_dead_stagings()
    folder = datasets_dir() / f"{STAGING_PREFIX}{os.getpid()}-{uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_dead_stagings() -> None:
    """Remove the temporary folders of processes that are gone."""
    for old in datasets_dir().glob(f"{STAGING_PREFIX}*"):
        if not psutil.pid_exists(int(old.name.removeprefix(STAGING_PREFIX).split("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
