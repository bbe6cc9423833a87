"""The recorded demo that ships with the program: what belongs to it, and whether it is whole. Imports no torch.

`assets/demo/` holds `recording.json` (when, on what machine, which runs, the SHA-256 of every file), `dataset/`
(pictures, masks and the tables of their import), `runs/` (a folder each) and `race/` (its plan and state).
"""

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.atomic import read_json, sha256_of_file, write_json
from lib.errors import UserError
from lib.settings import ASSETS_DIR

FORMAT_VERSION = 1
FOLDER = ASSETS_DIR / "demo"
RECORDING_FILE = "recording.json"
DATASET_FOLDER, RUNS_FOLDER, RACE_FOLDER, OPENING_FOLDER = "dataset", "runs", "race", "opening"
_TABLE_FILE = "README.md"  # about the recording, not of it


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
    def dataset_folder(self) -> Path:
        """Pictures, masks and tables."""
        return self.folder / DATASET_FOLDER

    @property
    def words(self) -> str:
        """When and where it was made."""
        return f"recorded on {time.strftime('%-d %B %Y', time.gmtime(self.created_s))}, {self.machine}"

    def run_folder(self, run_id: str) -> Path:
        """A recorded run's files."""
        return self.folder / RUNS_FOLDER / run_id

    def verify(self) -> None:
        """Compare every file with its checksum; raises UserError that names the first damaged one."""
        for name, expected in self.files.items():
            path = self.folder / name
            if not path.is_file() or sha256_of_file(path) != expected:
                found = "has changed" if path.is_file() else "is missing"
                raise UserError(f"The recorded demo is damaged: {path} {found}. {_AGAIN}")


_AGAIN = "Get the program's files again (git checkout assets/demo), or record it anew (make demo)."


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
        "format_version": FORMAT_VERSION,
        "recording_id": race_id,
        "created_s": created_s,
        "machine": machine,
        "race_id": race_id,
        "runs": runs,
        "files": files,
    }
    write_json(folder / RECORDING_FILE, content)
    return Recording(folder, **{key: value for key, value in content.items() if key != "format_version"})


def size_table(recording: Recording) -> str:
    """The files by part, as a table in Markdown; sizes in MB (10^6 bytes)."""
    parts: dict[str, list[int]] = {}
    for name in recording.files:
        parts.setdefault(_part(name, recording.runs), []).append((recording.folder / name).stat().st_size)
    order = list(recording.runs)
    parts = dict(sorted(parts.items(), key=lambda part: _place(part[0], order)))
    rows = [f"| {part} | {len(sizes)} | {sum(sizes) / 1e6:.2f} |" for part, sizes in parts.items()]
    total = [size for sizes in parts.values() for size in sizes]
    rows.append(f"| **all** | {len(total)} | **{sum(total) / 1e6:.2f}** |")
    return "\n".join(["| part | files | MB |", "|---|---:|---:|", *rows])


def _place(part: str, strategies: list[str]) -> tuple[int, str]:
    strategy = part.partition(":")[0]
    return (strategies.index(strategy) if strategy in strategies else -1, part)


def _part(name: str, runs: dict[str, str]) -> str:
    pieces = name.split("/")
    if pieces[0] == DATASET_FOLDER:
        return f"data set: {'masks' if 'masks' in pieces else 'pictures' if 'pictures' in pieces else 'tables'}"
    if pieces[0] == OPENING_FOLDER:
        return "first picture"
    if pieces[0] != RUNS_FOLDER:
        return "race, seeds of the samples"
    strategy = next((key for key, run_id in runs.items() if run_id == pieces[1]), pieces[1])
    kinds = {"network.safetensors": "changed tensors", "reference.safetensors": "gate reference"}
    return f"{strategy}: {kinds.get(pieces[-1], 'events, predictions, pinned images')}"


def dumped(content: Any) -> str:
    """JSON as it is kept in a recording."""
    return json.dumps(content, indent=1, ensure_ascii=False)
