"""Files of public data sets: fetched once, held against their published sum, unpacked beside themselves.

What is there under its name is whole: downloads and unpacked folders get their names last. A file that a person has put
where the download would go is checked and used; an archive that was fetched is deleted once it is unpacked.
"""

import gzip
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lib.atomic import write_text
from lib.data.sources.unpacking import SUFFIXES, unpack
from lib.downloads import fetch_file, md5_of_file, require_room, why_not_fetched
from lib.errors import UserError, disk_fault
from lib.progress import InBytes, Progress

HOME_VARIABLE = "TRANSFERSCOPE_HOME"
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A published file of a data set.

    Attributes:
        url: where it is.
        md5: its published sum.
        num_bytes: about how large it is.
        into: the folder below the data set's in which it belongs.
        unpacks_to: what an archive gives there, a folder, or a file from one that ends with .gz; "" for a file that is
            read as it is.
        num_unpacked_bytes: about how large that is.
    """

    url: str
    md5: str
    num_bytes: int
    into: str = "."
    unpacks_to: str = ""
    num_unpacked_bytes: int = 0

    @property
    def name(self) -> str:
        """Its name, without what stands behind it in the address."""
        return PurePosixPath(urlsplit(self.url).path).name

    def path(self, root: Path) -> Path:
        """Where it is fetched to."""
        return root / self.into / self.name

    def result(self, root: Path) -> Path:
        """What is read of it."""
        return root / self.into / self.unpacks_to if self.unpacks_to else self.path(root)

    def is_ready(self, root: Path) -> bool:
        """Whether what is read of it is there, and whole."""
        result = self.result(root)
        return result.exists() if self.unpacks_to else result.is_file() and _seal(root, self) == _read_seal(result)


def bring_files(files: Sequence[RemoteFile], root: Path, *, title: str, progress: Progress) -> None:
    """Make sure that all files of a data set are below `root`, ready to be read.

    Raises UserError with one sentence where the disk is too small, a file cannot be fetched, or one that was put there
    by hand is another; Stopped where `progress` raises it. What has come by then is whole and is kept.
    """
    missing = [file for file in files if not file.is_ready(root)]
    if not missing:
        return
    root.mkdir(parents=True, exist_ok=True)
    to_fetch = sum(file.num_bytes for file in missing if not file.path(root).is_file())
    to_unpack = sum(file.num_unpacked_bytes for file in missing)
    require_room(root, to_fetch + to_unpack, what=title, otherwise=HOME_VARIABLE)
    for number, file in enumerate(missing):
        later = [other.url for other in missing[number + 1 :] if not other.path(root).is_file()]
        try:
            _bring(file, root, title, progress, later=later)
        except OSError as error:
            fault = disk_fault(error)
            raise fault or UserError(f"{title} could not be written to {root} ({error}).") from error


def _bring(file: RemoteFile, root: Path, title: str, progress: Progress, *, later: Sequence[str]) -> None:
    """Make one file ready; `later` are the addresses of those that a person would have to bring as well."""
    path = file.path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    is_by_hand = path.is_file()
    if is_by_hand:
        _check(file, path, progress)
    else:
        _remove_halves(path)
        try:
            fetch_file(file.url, path, md5=file.md5, num_bytes=file.num_bytes, progress=progress)
        except OSError as error:
            what = f"{title} ({file.name})"
            others = f" The same for: {', '.join(later)}." if later else ""
            why = why_not_fetched(what, file.url, path, error, otherwise=HOME_VARIABLE)
            raise UserError(f"{why}{others}") from error
    if not file.unpacks_to:
        write_text(_seal_path(path), _seal(root, file))
        return
    _unpack(file, path, root, progress)
    if not is_by_hand:
        path.unlink()


def _check(file: RemoteFile, path: Path, progress: Progress) -> None:
    found = md5_of_file(path, progress, InBytes(f"Checking {path.name}"))
    if found != file.md5:
        raise UserError(
            f"{path} is not the published file, or not all of it (its MD5 is {found}, not {file.md5}). Delete it, and "
            f"download {file.url} again."
        )


def _remove_halves(path: Path) -> None:
    """Remove what a killed download left beside `path`."""
    for half in (*path.parent.glob(f".{path.name}.unchecked*"), *path.parent.glob(f"{path.name}.*.partial")):
        half.unlink(missing_ok=True)


def _seal(root: Path, file: RemoteFile) -> str:
    facts = file.path(root).stat()
    return f"{file.md5} {facts.st_size} {facts.st_mtime_ns}\n"


def _seal_path(path: Path) -> Path:
    """The file that says of which content and time another one was found to be whole."""
    return path.with_name(f".{path.name}.checked")


def _read_seal(path: Path) -> str:
    sealed = _seal_path(path)
    return sealed.read_text() if sealed.is_file() else ""


def _unpack(file: RemoteFile, path: Path, root: Path, progress: Progress) -> None:
    half = path.with_name(f".{path.name}.half")
    if half.exists():
        shutil.rmtree(half)
    half.mkdir()
    try:
        if path.name.endswith(SUFFIXES):
            unpack(path, half, progress=progress)
        else:
            _unpack_gz(path, half / path.stem, progress)
        if not (half / file.unpacks_to).exists():
            raise UserError(f"{path} holds no {file.unpacks_to}, which it is known for; delete it and try again.")
        (half / file.unpacks_to).rename(file.result(root))
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _unpack_gz(path: Path, target: Path, progress: Progress) -> None:
    total = path.stat().st_size
    with path.open("rb") as packed, gzip.open(packed) as source, target.open("wb") as written:
        while piece := source.read(_CHUNK_BYTES):
            written.write(piece)
            progress(packed.tell(), total, InBytes(f"Unpacking {path.name}"))
