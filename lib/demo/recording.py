"""The recorded demo that ships with the program: what belongs to it, whether it is whole, and its runs as they ship.

Imports no torch.

`assets/demo/` holds `recording.json` (when, on what machine, which runs, the SHA-256 of every file), `dataset/`
(pictures, masks and the tables of their import), `runs/` (a folder each) and `race/` (its plan and state).
"""

import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import atomic_path, read_json, sha256_of_file, write_json
from lib.errors import UserError
from lib.settings import ASSETS_DIR
from lib.sweeps.strategies import CURVE_FILE
from lib.tracking import state as states
from lib.tracking.repair import TAGS_FILE

FORMAT_VERSION = 1
FOLDER = ASSETS_DIR / "demo"
RECORDING_FILE = "recording.json"
DATASET_FOLDER, RUNS_FOLDER, RACE_FOLDER, OPENING_FOLDER = "dataset", "runs", "race", "opening"
_TABLE_FILE = "README.md"  # about the recording, not of it
_AGAIN = "Get the program's files again (git checkout assets/demo), or record it anew (make demo)."
_FILES = (
    states.CONFIG_FILE, states.SUMMARY_FILE, states.STATE_FILE, states.LOG_FILE, states.PREDICTIONS_FILE,
    states.CONFUSION_FILE, states.TIMELINE_FILE, CURVE_FILE, TAGS_FILE,
)  # fmt: skip
_FOLDERS = (states.BUNDLE_FOLDER, "pinned")
# As lib/models/bundle_files.py names them, which imports torch.
MANIFEST_FILE, NETWORK_FILE = "manifest.json", "network.safetensors"
_LARGE = 4096  # values
_OF_A_PROCESS = ("pid", "pid_started_s", "host", "is_detached")


@dataclass(frozen=True)
class Recording:
    """What `recording.json` says; `runs` maps a strategy to its run, in the order of the ladder."""

    folder: Path
    recording_id: str
    created_s: float
    machine: str
    race_id: str
    runs: dict[str, str]
    files: dict[str, str]

    @property
    def words(self) -> str:
        """When and where it was made."""
        return f"recorded on {time.strftime('%-d %B %Y', time.gmtime(self.created_s))}, {self.machine}"

    def verify(self) -> None:
        """Compare every file with its checksum; raises UserError that names the first damaged one."""
        for name, expected in self.files.items():
            path = self.folder / name
            if not path.is_file() or sha256_of_file(path) != expected:
                found = "has changed" if path.is_file() else "is missing"
                raise UserError(f"The recorded demo is damaged: {path} {found}. {_AGAIN}")


def find_recording(folder: Path | None = None) -> Recording | None:
    """The recording that ships with this copy of the program, None if it has none; raises UserError if damaged."""
    path = (folder or FOLDER) / RECORDING_FILE
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None


@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int) -> Recording:
    try:
        content: dict[str, Any] = read_json(path)
        version = int(content["format_version"])
        kept = {name: content[name] for name in Recording.__dataclass_fields__ if name != "folder"}
        recording = Recording(path.parent, **kept)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The recorded demo is damaged: {path} cannot be read ({type(error).__name__}). {_AGAIN}"
        ) from None
    if version > FORMAT_VERSION:
        raise UserError(f"The recorded demo has format {version}, newer than {FORMAT_VERSION}; update the program.")
    return recording


def write_recording(folder: Path, *, created_s: float, machine: str, race_id: str, runs: dict[str, str]) -> Recording:
    """Close a recording whose files are in place: their checksums make it one."""
    files = {
        str(path.relative_to(folder)): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (RECORDING_FILE, _TABLE_FILE)
    }
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION, "recording_id": race_id, "created_s": created_s, "machine": machine,
        "race_id": race_id, "runs": runs, "files": files,
    }  # fmt: skip
    write_json(folder / RECORDING_FILE, content)
    return Recording(folder, **{key: value for key, value in content.items() if key != "format_version"})


def size_table(recording: Recording) -> str:
    """The files by part, as a table in Markdown; sizes in MB (10^6 bytes)."""
    order = list(recording.runs)
    parts: dict[str, list[int]] = {}
    for name in recording.files:
        parts.setdefault(_part(name, recording.runs), []).append((recording.folder / name).stat().st_size)

    def place(part: str) -> tuple[int, str]:
        strategy = part.partition(":")[0]
        return (order.index(strategy) if strategy in order else -1, part)

    rows = [f"| {part} | {len(parts[part])} | {sum(parts[part]) / 1e6:.2f} |" for part in sorted(parts, key=place)]
    total = [size for sizes in parts.values() for size in sizes]
    rows.append(f"| **all** | {len(total)} | **{sum(total) / 1e6:.2f}** |")
    return "\n".join(["| part | files | MB |", "|---|---:|---:|", *rows])


def _part(name: str, runs: dict[str, str]) -> str:
    pieces = name.split("/")
    if pieces[0] == DATASET_FOLDER:
        return f"data set: {'masks' if 'masks' in pieces else 'pictures' if 'pictures' in pieces else 'tables'}"
    if pieces[0] == OPENING_FOLDER:
        return "first picture"
    if pieces[0] != RUNS_FOLDER:
        return "race, seeds of the samples"
    strategy = next((key for key, run_id in runs.items() if run_id == pieces[1]), pieces[1])
    kinds = {NETWORK_FILE: "changed tensors", "reference.safetensors": "gate reference"}
    return f"{strategy}: {kinds.get(pieces[-1], 'events, predictions, pinned images')}"


def pack_run(run_id: str, target: Path, *, name: str, machine: str, tags: dict[str, str]) -> None:
    """Copy what belongs to a finished run from this home, under a name; its state says on what machine it was made."""
    source = states.run_folder(run_id)
    target.mkdir(parents=True)
    for file in _FILES:
        if (source / file).is_file():
            shutil.copyfile(source / file, target / file)
    for folder in _FOLDERS:
        if (source / folder).is_dir():
            shutil.copytree(source / folder, target / folder)
    state = read_json(source / states.STATE_FILE)
    state = {key: value for key, value in state.items() if key not in _OF_A_PROCESS}
    write_json(target / states.STATE_FILE, {**state, "name": name, "recorded_on": machine})
    write_json(target / TAGS_FILE, tags)


def unpack_run(source: Path, target: Path) -> None:
    """Put a shipped run's files where runs are kept; tensors in half precision become single precision again."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    bundle = target / states.BUNDLE_FOLDER
    if (bundle / NETWORK_FILE).is_file():
        stored = _tensors(bundle).items()
        _write_tensors(
            bundle, {name: one.astype(np.float32) if one.dtype == np.float16 else one for name, one in stored}
        )


def halve_tensors(folder: Path, *, seed: int = 0) -> None:
    """Keep a shipped run's large tensors in half precision, where their values are in its range.

    Others stay as they are: statistics of BatchNorm go beyond that range, filters of few weights average no error out,
    and all of them together are small. Seed 0
    rounds to the nearest value, others up or down by chance, the nearer the likelier: another rounding as good on
    average, for a network whose answer to some image is a tie that the nearest one decides otherwise.
    """
    bundle, random = folder / states.BUNDLE_FOLDER, np.random.default_rng(seed) if seed else None
    _write_tensors(bundle, {name: _narrowed(tensor, random) for name, tensor in _tensors(bundle).items()})


def _tensors(bundle: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(bundle / NETWORK_FILE))
    except (SafetensorError, OSError) as error:
        raise UserError(f"The recorded classifier {bundle} cannot be read ({error}).") from error


def _write_tensors(bundle: Path, tensors: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    with atomic_path(bundle / NETWORK_FILE) as temporary:
        save_file({name: np.array(tensor, order="C") for name, tensor in tensors.items()}, temporary)
    manifest: dict[str, Any] = read_json(bundle / MANIFEST_FILE)
    write_json(bundle / MANIFEST_FILE, {**manifest, "network_sha256": sha256_of_file(bundle / NETWORK_FILE)})


def _narrowed(tensor: np.ndarray, random: np.random.Generator | None) -> np.ndarray:
    if tensor.dtype != np.float32 or tensor.size < _LARGE or np.abs(tensor).max(initial=0.0) > np.finfo(np.float16).max:
        return tensor
    nearest = tensor.astype(np.float16)
    if random is None:
        return nearest
    rest = tensor - nearest
    other = np.nextafter(nearest, np.where(rest > 0, np.float16(np.inf), np.float16(-np.inf)))
    gap = np.abs(other.astype(np.float32) - nearest)
    is_other = random.random(tensor.shape, dtype=np.float32) * gap < np.abs(rest)
    return np.where(is_other & np.isfinite(other), other, nearest)
