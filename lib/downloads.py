"""Fetches a published file by torch.hub, listening to its progress, and says in a sentence why one could not be had.

A download is one request to the address of the file; the file is whole and checked, or it is not there.
"""

import errno
import hashlib
import http.client
import shutil
import socket
import threading
import urllib.error
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.atomic import sync_file
from lib.errors import UserError
from lib.progress import InBytes, Progress, ignore_progress, size_words

TIMEOUT_S = 30.0  # without a byte
_NO_ROOM = {errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EPERM, errno.EDQUOT}
_SPARE_BYTES = 200 * 2**20
_CHUNK_BYTES = 2**22
# The progress bar of torch.hub and the default timeout belong to the whole process: one download at a time.
_DOWNLOADING = threading.Lock()


class DamagedDownload(UserError):
    """What arrived is not the published file; nothing of it was kept."""


def fetch_file(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    md5: str = "",
    num_bytes: int = 0,
    progress: Progress = ignore_progress,
) -> None:
    """Fetch `url` to `target`, whose folder is there.

    `sha256` (or its beginning) and `md5` are the published sums, "" for none; `num_bytes` is about its size, in case
    that the server does not say. `progress` is called with bytes.

    Raises:
        OSError: the server cannot be reached, or the folder not be written; see `why_not_fetched`.
        DamagedDownload: the sums are others.
        Stopped: `progress` raised it; nothing is left behind.
    """
    from torch import hub

    what = InBytes(f"Downloading {target.name}")

    class Listening(hub.tqdm):  # type: ignore[misc, name-defined]
        """torch.hub's own progress bar, silent, that tells `progress`."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "disable": True})
            self.done, self.expected = 0, int(options.get("total") or num_bytes)

        def update(self, num_read: float | None = 1) -> None:
            self.done += int(num_read or 0)
            progress(self.done, max(self.expected, self.done), what)

    # torch.hub knows SHA-256 alone: what has another sum waits for it under another name.
    arrived = target.with_name(f".{target.name}.unchecked") if md5 else target
    try:
        with _listened_to(hub, Listening):
            try:
                hub.download_url_to_file(url, str(arrived), sha256 or None)
            except RuntimeError as error:
                if "invalid hash" not in str(error):
                    raise
                raise _damaged(target, str(error)) from error
            except http.client.HTTPException as error:  # an answer that is none, such as that of another service
                raise ConnectionError(f"it answered {error!r}") from error
        if md5:
            found = md5_of_file(arrived, progress, InBytes(f"Checking {target.name}"))
            if found != md5:
                raise _damaged(target, f'invalid MD5 (expected "{md5}", got "{found}")')
            sync_file(arrived)
            arrived.replace(target)
    finally:
        if arrived != target:
            arrived.unlink(missing_ok=True)


def md5_of_file(path: Path, progress: Progress = ignore_progress, what: str = "checking") -> str:
    """Hexadecimal MD5 of a file's bytes: the sum by which data sets are published."""
    digest, total, done = hashlib.md5(usedforsecurity=False), path.stat().st_size, 0
    with path.open("rb") as opened:
        while piece := opened.read(_CHUNK_BYTES):
            digest.update(piece)
            done += len(piece)
            progress(done, max(total, done), what)
    return digest.hexdigest()


def why_not_fetched(what: str, url: str, target: Path, error: OSError, *, otherwise: str) -> str:
    """Why a file could not be had and what to do, in words; `otherwise` is what helps where its folder is the reason.

    `what` is how a person calls the file, such as "The weights file vgg16.pth".
    """
    parts = urllib.parse.urlsplit(url)
    if isinstance(error, (urllib.error.URLError, TimeoutError)) or error.errno not in _NO_ROOM:
        name = "" if parts.path.endswith(target.name) else f" as {target.name}"
        return (
            f"{what} could not be fetched from {parts.netloc} ({getattr(error, 'reason', error)}). On a machine with a "
            f"network, download {url} and copy the file to {target.parent}{name}."
        )
    return (
        f"{what} could not be written to {target.parent} ({error.strerror}). Make room there or set {otherwise} to a "
        "folder that can be written."
    )


def require_room(folder: Path, num_bytes: int, *, what: str, otherwise: str) -> None:
    """Raise UserError where a folder's disk has less than that left, and some for everything else."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes + _SPARE_BYTES:
        raise UserError(
            f"{what} needs {size_words(num_bytes)} in {folder}, and {size_words(free)} are left there; free some space "
            f"or set {otherwise} to a folder on a larger disk."
        )


def _damaged(target: Path, why: str) -> DamagedDownload:
    return DamagedDownload(f"The download of {target.name} arrived damaged ({why}) and was thrown away. Try again.")


@contextmanager
def _listened_to(hub: Any, progress_bar: type) -> Iterator[None]:
    """torch.hub with that progress bar; it waits for a silent server for ever unless the default says otherwise."""
    with _DOWNLOADING:
        bar, timeout = hub.tqdm, socket.getdefaulttimeout()
        hub.tqdm = progress_bar
        socket.setdefaulttimeout(TIMEOUT_S)
        try:
            yield
        finally:
            hub.tqdm = bar
            socket.setdefaulttimeout(timeout)
