"""A person's corrections of grades: a log that only grows, and its way back into a data set.

Nothing is written unless a person corrects a grade, and who did it is not kept. An undone correction stays in the log
with the entry that undoes it. A picture is known by the hash of its content; no picture is kept here.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.csv_text import csv_of_rows
from lib.errors import UserError
from lib.settings import MAX_FILE_BYTES, datasets_dir, home

FILE = "corrections.jsonl"
FORMAT_VERSION = 1
LABELS_FILE = "labels.csv"
MAX_NOTE_LETTERS = 2_000
_CORRECTION, _UNDO = "correction", "undo"


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person said of one image.

    Attributes:
        correction_id: 12 letters, by which it is undone.
        sha256: of the file's content, 64 hexadecimal letters.
        file: the file's name.
        run: the run or bundle that had graded it.
        given: the class that it gave, "" where it gave none.
        corrected: the class that the person says it is.
        time: when, in UTC, ISO 8601.
    """

    correction_id: str
    sha256: str
    file: str
    run: str
    given: str
    corrected: str
    note: str = ""
    time: str = ""


def log_path() -> Path:
    """Where the log lies, whether or not there is one yet."""
    return home() / FILE


def correct(
    sha256: str,
    corrected: str,
    *,
    file: str,
    run: str,
    given: str | None = None,
    note: str = "",
    class_names: Sequence[str] = (),
) -> Correction:
    """Append a person's correction; it takes the place of an earlier one of the same image and run.

    Raises:
        UserError: no content hash, an empty class or one that is none of `class_names`, or a very long note.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UserError("A correction belongs to a file's content; this grade has none, so grade the file again.")
    if not corrected.strip() or (class_names and corrected not in class_names):
        known = f" Choose one of {', '.join(class_names)}." if class_names else ""
        raise UserError(f"{corrected!r} is no class of this classifier.{known}")
    if len(note) > MAX_NOTE_LETTERS:
        raise UserError(f"A note has at most {MAX_NOTE_LETTERS:,} letters, this one {len(note):,}.")
    made = Correction(
        correction_id=uuid.uuid4().hex[:12], sha256=sha256, file=file, run=run, given=given or "", corrected=corrected,
        note=note.strip(), time=_now(),
    )  # fmt: skip
    _append({"entry": _CORRECTION, **dataclasses.asdict(made)})
    return made


def undo(correction_id: str) -> Correction:
    """Append that a correction no longer holds; an earlier one of the same image and run does not come back.

    Raises:
        UserError: no such correction that holds, or several that begin so.
    """
    found = [one for one in present() if correction_id and one.correction_id.startswith(correction_id)]
    if len(found) != 1:
        what = "several corrections that begin" if found else "no correction that holds"
        raise UserError(f"There is {what} with {correction_id!r}; see: python -m lib corrections list")
    _append({"entry": _UNDO, "correction_id": found[0].correction_id, "time": _now()})
    return found[0]


def present() -> list[Correction]:
    """The corrections that hold, oldest first: the last one of each image and run, where it was not undone.

    Raises:
        UserError: the log was written by a newer program.
    """
    last: dict[tuple[str, str], Correction | None] = {}
    names = {field.name for field in dataclasses.fields(Correction)}
    for entry in _entries():
        if entry.get("entry") == _CORRECTION:
            made = Correction(**{name: str(entry.get(name, "")) for name in names})
            last.pop((made.sha256, made.run), None)  # the last one stands last
            last[made.sha256, made.run] = made
        elif entry.get("entry") == _UNDO:
            undone = [
                key for key, one in last.items() if one is not None and one.correction_id == entry.get("correction_id")
            ]
            last |= dict.fromkeys(undone)
    return [one for one in last.values() if one is not None]


def present_of(sha256: str, run: str) -> Correction | None:
    """The correction of one image and run that holds; None without one."""
    return next((one for one in present() if (one.sha256, one.run) == (sha256, run)), None)


@dataclass(frozen=True)
class Exported:
    """What was written: the label file, how many images it names, how many pictures were copied and which were not."""

    labels: Path
    num_images: int
    num_copied: int
    missing: tuple[str, ...] = ()


def export_corrections(
    corrections: Iterable[Correction],
    out: Path,
    *,
    pictures: Mapping[str, bytes | Path] | None = None,
) -> Exported:
    """Write corrected classes as a label file, with the pictures in a folder a class where they are given.

    Of an image that was corrected for several runs the last correction counts. With pictures the folder is a data set
    that can be imported; it names those images only whose picture is there.

    Args:
        corrections: as `present` gives them.
        out: a new or empty folder, outside the program's data sets.
        pictures: SHA-256 to content or file (`pictures_below`); None writes the label file alone.

    Raises:
        UserError: nothing to export, a folder that holds something, or one among the data sets.
    """
    chosen = {one.sha256: one for one in corrections}
    if not chosen:
        raise UserError("There are no corrections to export.")
    _check_out(out, pictures or {})
    rows, missing = [], []
    for one in chosen.values():
        name = Path(one.file.replace("\\", "/")).name or one.sha256[:16]
        source = None if pictures is None else pictures.get(one.sha256)
        if pictures is not None and source is None:
            missing.append(one.file)
            continue
        if source is not None:
            ending = Path(name).suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", Path(name).suffix) else ""
            name = f"{_folder_name(one.corrected)}/{one.sha256[:16]}{ending}"
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                (out / name).write_bytes(source)
            else:
                shutil.copyfile(source, out / name)
        rows.append((name, one.corrected))
    if not rows:
        raise UserError("None of the corrected pictures was found; they are known by their content, so name the folder "
                        "that holds the same files.")  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    labels = out / LABELS_FILE
    labels.write_text(csv_of_rows(("image", "class"), rows), encoding="utf-8", errors="backslashreplace", newline="")
    return Exported(labels, len(rows), len(rows) if pictures is not None else 0, tuple(missing))


def pictures_below(folders: Iterable[Path], wanted: Iterable[str]) -> dict[str, Path]:
    """The files below some folders whose content has one of these hashes; none of them is changed."""
    found: dict[str, Path] = {}
    left = set(wanted)
    for folder in folders:
        if not folder.exists():
            raise UserError(f"There is no folder {str(folder)!r} with pictures.")
        files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            if not left:
                return found
            if path.stat().st_size > MAX_FILE_BYTES:
                continue
            with path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            if digest in left:
                found[digest] = path
                left.remove(digest)
    return found


def _check_out(out: Path, pictures: Mapping[str, bytes | Path]) -> None:
    resolved = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{str(out)!r} holds something already; give a new or empty folder.")
    if resolved.is_relative_to(datasets_dir().resolve()):
        raise UserError("Corrections are exported outside the program's data sets; give another folder.")
    if any(isinstance(one, Path) and resolved == one.resolve().parent for one in pictures.values()):
        raise UserError("Corrections are not written among the original pictures; give another folder.")


def _folder_name(class_name: str) -> str:
    """A name that is safe as a folder; the label file holds the class as it is."""
    plain = re.sub(r"[^\w .()+-]", "_", class_name).strip(" .")[:80] or "class"
    if plain == class_name:
        return plain
    return f"{plain}-{hashlib.sha256(class_name.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _entries() -> list[dict[str, Any]]:
    """All entries; a line that a power failure cut off is passed over."""
    try:
        lines = log_path().read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict):
            continue
        version = entry.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise UserError(f"{log_path()} was written by a newer version of this program; update it to read it.")
        entries.append(entry)
    return entries


def _append(entry: dict[str, Any]) -> None:
    path = log_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"format_version": FORMAT_VERSION, **entry}, ensure_ascii=True).encode() + b"\n"
    with FileLock(f"{path}.lock"):
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(handle).st_size
            # Behind a line that was cut off a new one begins, so that only the cut one is lost.
            if size and os.pread(handle, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
