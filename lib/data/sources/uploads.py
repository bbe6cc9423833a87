"""What a browser uploads, on its way into a data set: kept for a day as files, named by their content."""

import hashlib
import io
import os
import shutil
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lib.data.sources.files import shown
from lib.errors import UserError
from lib.settings import cache_dir

_KEEP_S = 24 * 3600.0


def keep_upload(name: str, content: bytes | memoryview) -> Path:
    """Write an uploaded file; the same content again is the same file, with the same time."""
    folder = _folder(hashlib.sha256(content).hexdigest()[:16])
    path = folder / (_file_name(PurePosixPath(name.replace("\\", "/")).name) or "upload")
    if not path.exists():
        half = path.with_name(f".{path.name[-100:]}.half")
        half.write_bytes(content)
        _publish(half, path)
    return path


def keep_uploaded_folder(files: Sequence[tuple[str, bytes | memoryview]]) -> Path:
    """Pack the files of an uploaded folder, by their paths in it, as a tar; the same files again are the same tar.

    Raises UserError where there are none.
    """
    if not files:
        raise UserError("The folder that was uploaded has no files.")
    ordered = sorted(files, key=lambda file: file[0])
    digest = hashlib.sha256()
    for name, content in ordered:
        digest.update(f"{len(name)} {name} {len(content)} ".encode(errors="surrogateescape"))
        digest.update(content)
    tops = {PurePosixPath(name).parts[0] for name, _ in ordered if len(PurePosixPath(name).parts) > 1}
    path = _folder(digest.hexdigest()[:16]) / f"{_file_name(tops.pop()) if len(tops) == 1 else 'upload'}.tar"
    if not path.exists():
        half = path.with_name(".upload.half")
        with tarfile.open(half, "w") as archive:
            for name, content in ordered:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        _publish(half, path)
    return path


def is_upload(path: Path) -> bool:
    """Whether a path is that of something uploaded."""
    return path.is_relative_to(uploads_folder())


def drop_upload(path: Path) -> None:
    """Remove an upload that a data set has taken over; any other path stays as it is."""
    if is_upload(path):
        shutil.rmtree(path.parent, ignore_errors=True)


def uploads_folder() -> Path:
    """Where uploads lie until a data set has taken them over."""
    return cache_dir() / "uploads"


def _folder(key: str) -> Path:
    for old in uploads_folder().glob("*"):
        if time.time() - old.stat().st_mtime > _KEEP_S:
            shutil.rmtree(old, ignore_errors=True)
    folder = uploads_folder() / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file_name(name: str) -> str:
    """A name that is a file's and nothing else, short enough for every disk."""
    kept = shown(name).replace("/", "_").strip(". ")
    stem, dot, suffix = kept.partition(".")
    return f"{stem[:60]}{dot}{suffix[-30:]}"


def _publish(half: Path, path: Path) -> None:
    os.utime(half, (0, 0))
    half.rename(path)
