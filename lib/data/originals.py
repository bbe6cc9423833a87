"""Where the originals of a data set are: in the folder they came from, or in one that goes with the data set."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.atomic import read_json, write_json
from lib.settings import datasets_dir, downloads_dir

if TYPE_CHECKING:
    from lib.data.sources.table import SourceSpec

NAMES_FILE = "names.json"  # in the folder of a data set with pseudonyms: image_id -> true paths of image and mask
ORIGINALS = "originals"  # in the folder of a data set: what its source unpacked or downloaded


def originals_folder(dataset_folder: Path, description: Mapping[str, Any]) -> Path:
    """The folder that the paths of a data set are relative to; no absolute path for a generated set."""
    place = description.get("originals")
    if place:
        return Path(os.path.normpath(dataset_folder / place))
    return Path(str(description.get("source") or ""))


def origin(images: Path, dataset_folder: Path) -> dict[str, str]:
    """What a description keeps of the folder that was read; nothing where the source's own name says it."""
    if images.is_relative_to(dataset_folder):
        return {"originals": images.relative_to(dataset_folder).as_posix()}
    # Public sets are kept once for all imports of them; from the folder of a data set, so that the home may move.
    is_public = images.is_relative_to(downloads_dir())
    return {"originals": os.path.relpath(images, datasets_dir() / "name")} if is_public else {}


def carry_originals(old: Path, new: Path) -> None:
    """Give the files of a data set's own originals to another folder, too; by links where the disk has them."""
    if (old / ORIGINALS).is_dir():
        shutil.copytree(old / ORIGINALS, new / ORIGINALS, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def save_names(folder: Path, names: Mapping[str, tuple[str, str]]) -> None:
    """Keep the true paths, of image and mask ("" for none) by image_id, where only the owner reads them."""
    write_json(folder / NAMES_FILE, {image_id: list(paths) for image_id, paths in names.items()})
    (folder / NAMES_FILE).chmod(0o600)


def read_names(folder: Path) -> dict[str, tuple[str, str]]:
    """What `save_names` kept; empty where there is nothing."""
    try:
        return {image_id: (paths[0], paths[1]) for image_id, paths in read_json(folder / NAMES_FILE).items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}


def stored_values(spec: "SourceSpec", values: Mapping[str, Any]) -> dict[str, Any]:
    """Checked values of a source as fields of `ImportOptions`: those that it has, the rest by name."""
    from lib.data.sources.files import existing_folder
    from lib.data.sources.reading import is_reading
    from lib.data.sources.tables import label_paths

    reading = {name: value for name, value in values.items() if is_reading(name)}
    rest = {name: value for name, value in values.items() if not is_reading(name)}
    if spec.name == "folder":
        folder = existing_folder(rest.pop("path"))  # which is the data set's source
        reading["labels"] = label_paths(folder, reading["labels"])
    elif "labels" in reading:  # in what is unpacked as they are given; from here by their whole path
        reading["labels"] = tuple(
            str(Path(one).absolute()) if Path(one).is_file() else one for one in reading["labels"]
        )
    written = {name: str(value) if isinstance(value, Path) else value for name, value in rest.items()}
    return {**reading, "source_name": spec.name, "source_values": written}


def values_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """The checked values of the source that a data set was imported with."""
    from lib.data.import_options import ImportOptions
    from lib.data.sources.catalogue import SOURCES
    from lib.data.sources.reading import is_reading

    options = ImportOptions.of(dict(description))
    spec = SOURCES.get(options.source_name)
    reading = {one.name: getattr(options, one.name) for one in fields(options) if is_reading(one.name)}
    known = {one.name for one in spec.options}
    values = {"path": description["source"], **reading, **options.source_values}
    return spec.complete({name: value for name, value in values.items() if name in known})
