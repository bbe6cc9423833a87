"""A zip or tar on this machine, or what a browser uploaded: unpacked into the data set, then read as a folder."""

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from lib.data.sources.files import LeftOut, is_hidden, shown, split_of
from lib.data.sources.folder import scan_folder
from lib.data.sources.reading import READING_OPTIONS, called, reading_of
from lib.data.sources.table import SOURCES, FoundImages, SourceOption, SourceRequest, SourceSpec
from lib.data.sources.unpacking import SUFFIXES, archive_stem, is_archive_path, unpack, unpack_names
from lib.errors import UserError
from lib.settings import cache_dir

_KEEP_PREVIEWS_S = 24 * 3600.0


def read(request: SourceRequest) -> FoundImages:
    """The images of the archive, unpacked into the data set's own folder."""
    path = request.values["path"]
    left_out: list[LeftOut] = []

    def fill(folder: Path) -> None:
        left_out.extend(unpack(path, folder, progress=request.progress))

    root = inner_folder(request.filled_folder(fill))
    with called(root, path):
        options = reading_of(request.values, root, beside=path.parent)
        scan = scan_folder(root, options, min_classes=request.min_classes)
    scan = dataclasses.replace(scan, left_out=[*scan.left_out, *left_out])
    return FoundImages(scan=scan, name=archive_stem(path))


def inner_folder(folder: Path) -> Path:
    """The folder itself, or the single one at its top that the folders lie in: an archive of a folder has one."""
    while True:
        inside = [path for path in folder.iterdir() if not is_hidden(path.name)]
        if len(inside) != 1 or not inside[0].is_dir() or split_of(inside[0].name):
            return folder
        if not any(path.is_dir() and not is_hidden(path.name) for path in inside[0].iterdir()):
            return folder
        folder = inside[0]


def look(request: SourceRequest) -> Path:
    """A folder with the names of the archive's files and the content of its tables, kept for a day."""
    path = request.values["path"]
    if not path.is_file():
        raise UserError(f"There is no file {shown(path)}; check the path.")
    folder = cache_dir() / "archives"
    for old in folder.glob("*") if folder.is_dir() else ():
        if time.time() - old.stat().st_mtime > _KEEP_PREVIEWS_S:
            shutil.rmtree(old, ignore_errors=True)
    name = hashlib.sha256(f"{path} {state(request.values)}".encode(errors="surrogateescape")).hexdigest()[:16]
    half = folder / f"{name}.{uuid4().hex[:8]}"
    if not (folder / name).is_dir():
        half.mkdir(parents=True)
        try:
            unpack_names(path, half, progress=request.progress)
            half.rename(folder / name)
        except OSError:  # another tab was quicker
            if not (folder / name).is_dir():
                raise
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return inner_folder(folder / name)


def state(values: Mapping[str, Any]) -> str:
    """Size and time of the archive."""
    try:
        facts = values["path"].stat()
    except OSError:
        raise UserError(f"There is no file {shown(values['path'])}; check the path.") from None
    return f"{facts.st_size} bytes, {facts.st_mtime_ns}"


SOURCES.add(
    SourceSpec(
        name="archive",
        title="Zip or tar",
        summary="A zip, tar or tar.gz with anything inside that a folder may hold, its label file too. It is unpacked "
        "into the data set and not needed afterwards.",
        read=read,
        options=(
            SourceOption(
                name="path", title="Archive", kind=Path, is_required=True, uploads=SUFFIXES,
                help=f"{', '.join(SUFFIXES)}; unpacked beside the stored images, where it takes its size once more.",
            ),
            *READING_OPTIONS,
        ),
        takes=is_archive_path,
        state=state,
        look=look,
    )
)  # fmt: skip
