"""Checkpoints of an unfinished training: whole or absent, checksummed, the last two kept."""

import errno
import hashlib
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lib.atomic import atomic_path, read_json, sha256_of_file, write_json
from lib.settings import checkpoint_interval_s

NUM_KEPT = 2
# A job that was asked to stop is killed after some seconds, so a save that takes longer must not be begun then.
MAX_SAVE_ON_STOP_S = 2.0
# Saving may take at most this share of the time (10 minutes of VGG16 moments on a slow disk help nobody).
MAX_SAVING_SHARE = 0.01


class CheckpointStore:
    """A folder of numbered checkpoints and the index that says which of them are whole.

    A checkpoint is written under a temporary name, forced to disk, renamed and its folder forced to disk; then the
    index with its checksum in the same way; then those before the last two go. A kill between any two of these steps
    leaves an index whose files are all there. `notice` is a sentence for the person where `load` had to make do.
    """

    def __init__(
        self, folder: Path, *, interval_s: float | None = None, max_saving_share: float = MAX_SAVING_SHARE
    ) -> None:
        self.folder = folder
        self.notice = ""
        asked_s, is_asked = checkpoint_interval_s()
        self._interval_s = asked_s if interval_s is None else interval_s
        self._max_share = 1.0 if interval_s is None and is_asked else max_saving_share
        self._last_saved = time.monotonic()
        self._last_duration_s = 0.0

    def is_due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        return time.monotonic() - self._last_saved >= max(self._interval_s, self._last_duration_s / self._max_share)

    def is_quick(self) -> bool:
        """Whether the last save was quick enough to begin another one while somebody waits for the end."""
        return self._last_duration_s <= MAX_SAVE_ON_STOP_S

    def save(self, content: Mapping[str, Any]) -> Path:
        """Write a checkpoint of tensors and plain values, then forget all but the last two.

        Raises:
            OSError: it could not be written (a full disk); those before it are untouched.
        """
        import torch

        started = time.monotonic()
        entries = self._entries()
        number = max((int(entry["number"]) for entry in entries), default=0) + 1
        path = self.folder / f"checkpoint-{number:06d}.pt"
        with atomic_path(path) as temporary, temporary.open("wb") as opened:
            hashed = _HashedFile(opened)
            try:
                torch.save(dict(content), hashed)  # type: ignore[arg-type]  # it calls write and flush only
            except RuntimeError:
                # The archive's own complaint about a position hides what the disk said.
                raise hashed.error or OSError(errno.EIO, "The checkpoint could not be written") from None
        entries = [*entries, {"number": number, "file": path.name, "sha256": hashed.hexdigest()}][-NUM_KEPT:]
        write_json(self._index, entries)
        self._remove_all_but({str(entry["file"]) for entry in entries})
        self._last_saved = time.monotonic()
        self._last_duration_s = self._last_saved - started
        return path

    def load(self) -> dict[str, Any] | None:
        """Read the newest checkpoint that is whole; None if there is none. Runs no code from the file."""
        import torch

        candidates = [(self.folder / str(entry["file"]), str(entry["sha256"])) for entry in self._entries()]
        if not candidates:  # a damaged index; an archive of torch also has checksums of its own
            candidates = [(path, "") for path in sorted(self.folder.glob("checkpoint-*.pt"))]
        num_damaged = 0
        for path, checksum in reversed(candidates):
            if _is_whole(path, checksum):
                if num_damaged:
                    self.notice = "The newest checkpoint is damaged; the training goes on from the one before it."
                content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return content
            num_damaged += 1
        if num_damaged:
            self.notice = "No checkpoint of this training is whole any more; it starts again from its beginning."
        return None

    def clear(self) -> None:
        """Remove all checkpoints: the training is complete, its result is kept elsewhere."""
        self._index.unlink(missing_ok=True)
        self._remove_all_but(set())

    @property
    def _index(self) -> Path:
        return self.folder / "index.json"

    def _entries(self) -> list[dict[str, Any]]:
        try:
            return [dict(entry) for entry in read_json(self._index)]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def _remove_all_but(self, kept: set[str]) -> None:
        """Remove older checkpoints, and what a killed process had half written (one process writes at a time)."""
        for pattern in ("checkpoint-*.pt", ".checkpoint-*.part", f".{self._index.name}.*.part"):
            for path in self.folder.glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)


class _HashedFile:
    """Writes through to a file and keeps the checksum of what should stand there, whatever the disk makes of it."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened, self._digest = opened, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        try:
            return self._opened.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._opened.flush()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _is_whole(path: Path, checksum: str) -> bool:
    try:
        if checksum:
            return sha256_of_file(path) == checksum
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
