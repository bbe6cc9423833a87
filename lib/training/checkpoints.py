"""Checkpoints of an unfinished training: whole or absent, checksummed, the last two kept.

`CheckpointStore` keeps files, whatever is in them; `Checkpoints` hangs on a trainer and says what is in them.
"""

import dataclasses
import errno
import hashlib
import json
import math
import random
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lib.atomic import atomic_path, read_json, sha256_of_file, write_json
from lib.errors import UserError
from lib.settings import checkpoint_interval_s
from lib.training.config import TrainConfig
from lib.training.events import (
    EpochEnded,
    Event,
    FitState,
    Noticed,
    StepEnded,
    TrainingDiverged,
    are_finite,
    put_back,
    tuned_tensors,
)

if TYPE_CHECKING:
    from lib.training.trainer import Trainer

FORMAT_VERSION = 2
NUM_KEPT = 2
# A job that was asked to stop is killed after some seconds, so a save that takes longer must not be begun then.
MAX_SAVE_ON_STOP_S = 2.0
# Saving may take at most this share of the time (10 minutes of VGG16 moments on a slow disk help nobody).
MAX_SAVING_SHARE = 0.01
# What may differ between the two parts of one training: the machine it runs on, and the format of the config itself.
_NOT_COMPARED = ("device", "format_version")


class Checkpoints:
    """Hangs on a trainer: saves it after steps and epochs when that is due, and takes it back to where it stood.

    `store` is None where nothing is kept, as on all ranks but the first.
    """

    def __init__(self, trainer: "Trainer", store: "CheckpointStore | None") -> None:
        self._trainer, self._store = trainer, store

    def __call__(self, event: Event) -> None:
        """Save if it is time."""
        if self._store and isinstance(event, StepEnded | EpochEnded) and self._store.is_due():
            self.save()

    def save(self) -> None:
        """Write a checkpoint; raises TrainingDiverged, and keeps the last good one, if a weight is not a number."""
        if self._store is None:
            return
        if not are_finite(tuned_tensors(self._trainer.classifier)):
            raise self._trainer.diverged("weights", math.nan)
        self._store.save(_content(self._trainer))

    def save_on_stop(self) -> None:
        """Write a last checkpoint if the one before was quick (else the process is ended meanwhile)."""
        if self._store is None or not self._store.is_quick():
            return
        try:
            self.save()
        except (OSError, TrainingDiverged) as error:
            reason = error.strerror if isinstance(error, OSError) else "a weight is no longer a number"
            notice = f"No checkpoint could be written on the stop ({reason}); the one before counts."
            self._trainer.listener(Noticed(notice))

    def resume(self) -> bool:
        """Put network, optimiser, state and random generators where the newest checkpoint stands, on all ranks.

        Returns:
            Whether there is one.

        Raises:
            UserError: it belongs to another config; its folder is named.
        """
        trainer, store = self._trainer, self._store
        content = trainer.ranks.from_first(store.load() if store else None)
        if store and store.notice:
            trainer.listener(Noticed(store.notice))
        if content is None:
            return False
        check_config(content, trainer.config, store.folder if store else Path())
        put_back(trainer.classifier, content["tuned"])
        trainer.optimizer.load_state_dict(content["optimizer"])
        if "random" in content:  # checkpoints of format 1 have none
            restore_random_states(content["random"])
        trainer.state, trainer.best = FitState.from_dict(content["state"]), dict(content["best"])
        return True


def _content(trainer: "Trainer") -> dict[str, Any]:
    """Everything that the rest of the training depends on, as tensors and plain values."""
    state, config = trainer.state, trainer.config
    return {
        "format_version": FORMAT_VERSION,
        "tuned": tuned_tensors(trainer.classifier),
        "best": dict(trainer.best),
        "optimizer": trainer.optimizer.state_dict(),
        # The rate is a function of position and history, so this is for whoever reads the file.
        "schedule": {
            "name": config.schedule,
            "step": state.step,
            "num_steps": trainer.num_steps,
            "learning_rate": trainer.learning_rate(state.step),
        },
        # float32 and bfloat16 have the same range of exponents and need no scaling of gradients; float16 would.
        "scaler": None,
        "random": random_states(),
        "state": {**dataclasses.asdict(state), "seconds": trainer.seconds},
        "config": _described(config),
        "config_hash": config_hash(config),
    }


def config_hash(config: TrainConfig) -> str:
    """SHA-256 over all settings that the result depends on."""
    return hashlib.sha256(json.dumps(_described(config), sort_keys=True).encode()).hexdigest()


def check_config(content: Mapping[str, Any], config: TrainConfig, folder: Path) -> None:
    """Raise UserError, with the first setting that differs, if a checkpoint was made with another config."""
    if content.get("config_hash") in (None, config_hash(config)):
        return
    # Settings that came or got another default with an update are absent on one side: their former behaviour is kept.
    stored, asked = dict(content.get("config") or {}), _described(config)
    for key in sorted(set(stored) & set(asked)):
        if stored[key] != asked[key]:
            raise UserError(
                f"The checkpoint in {folder} belongs to another training: its {key} is {stored[key]}, here it is "
                f"{asked[key]}. Start a new run with the new settings, or resume with the old ones."
            )
    if gone := sorted(set(stored) - set(asked)):
        raise UserError(
            f"The checkpoint in {folder} was made with the setting {gone[0]}, which this version of the program does "
            "not know. Start a new run."
        )


def random_states() -> dict[str, Any]:
    """The states of all random generators: Python, NumPy, torch on the CPU and on every GPU in use."""
    import torch

    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "name": str(name),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put all random generators where `random_states` found them; those of devices that are not here are left out."""
    import torch

    python, numpy = states["python"], states["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state((numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    if states["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def _described(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key not in _NOT_COMPARED}


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
