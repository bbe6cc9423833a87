"""Checkpoints of an unfinished training: whole or absent, checksummed, the last two kept."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.atomic import atomic_path, read_json, sha256_of_file, write_json
from lib.settings import CHECKPOINT_INTERVAL_S

NUM_KEPT = 2
# A job that was asked to stop is killed after some seconds, so a save that takes longer must not be begun then.
MAX_SAVE_ON_STOP_S = 2.0
# Saving may take at most this share of the time (10 minutes of VGG16 moments on a slow disk help nobody).
MAX_SAVING_SHARE = 0.1


class CheckpointStore:
    """A folder of numbered checkpoints and the index that says which of them are whole."""

    def __init__(self, folder: Path, *, interval_s: float = CHECKPOINT_INTERVAL_S) -> None:
        self.folder = folder
        self._interval_s = interval_s
        self._last_saved = time.monotonic()
        self._last_duration_s = 0.0

    def is_due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        return time.monotonic() - self._last_saved >= max(self._interval_s, self._last_duration_s / MAX_SAVING_SHARE)

    def is_quick(self) -> bool:
        """Whether the last save was quick enough to begin another one while somebody waits for the end."""
        return self._last_duration_s <= MAX_SAVE_ON_STOP_S

    def save(self, content: Mapping[str, Any]) -> Path:
        """Write a checkpoint of tensors and plain values, then forget all but the last two."""
        import torch

        started = time.monotonic()
        entries = self._entries()
        number = max((int(entry["number"]) for entry in entries), default=0) + 1
        path = self.folder / f"checkpoint-{number:06d}.pt"
        with atomic_path(path) as temporary:
            torch.save(dict(content), temporary)
        entries.append({"number": number, "file": path.name, "sha256": sha256_of_file(path)})
        write_json(self._index, entries[-NUM_KEPT:])
        for forgotten in entries[:-NUM_KEPT]:
            (self.folder / str(forgotten["file"])).unlink(missing_ok=True)
        self._last_saved = time.monotonic()
        self._last_duration_s = self._last_saved - started
        return path

    def load(self) -> dict[str, Any] | None:
        """Read the newest checkpoint that is whole; None if there is none. Runs no code from the file."""
        import torch

        for entry in reversed(self._entries()):
            path = self.folder / str(entry["file"])
            if path.is_file() and sha256_of_file(path) == entry["sha256"]:
                content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return content
        return None

    def clear(self) -> None:
        """Remove all checkpoints: the training is complete, its result is kept elsewhere."""
        for entry in self._entries():
            (self.folder / str(entry["file"])).unlink(missing_ok=True)
        self._index.unlink(missing_ok=True)

    @property
    def _index(self) -> Path:
        return self.folder / "index.json"

    def _entries(self) -> list[dict[str, Any]]:
        try:
            return list(read_json(self._index))
        except (FileNotFoundError, ValueError):
            return []
