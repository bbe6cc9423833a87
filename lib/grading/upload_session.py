"""From an upload to its row: files, archives and folders are opened with limits, and graded once a content and run.

In memory only: nothing is written or unpacked to the disk.
"""

import hashlib
import io
import math
import threading
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from PIL import Image

from lib import archives
from lib.data.sources.files import EMPTY_FOLDER, FolderWalk, is_hidden, shown, storable
from lib.errors import UserError
from lib.evaluation.verdict import REFUSED
from lib.grading.grades import Grade
from lib.settings import MAX_ARCHIVE_BYTES, MAX_FILE_BYTES, MAX_UPLOAD_FILES

MAX_KEPT_BYTES = 200 * 2**20
MAX_KEPT_RUNS = 8  # ways of grading whose grades are kept, so that runs and options can be compared on the same files
MAX_SKIPPED = 2000
_MAX_ENTRIES = 20_000


@dataclass(frozen=True)
class Skipped:
    """A file that is not graded, and why."""

    name: str
    reason: str


@dataclass
class Expansion:
    """Single files to grade, as (name, bytes or path), what was left out, and how much more archives may unpack to."""

    max_items: int | None = None
    max_bytes: int = MAX_ARCHIVE_BYTES
    items: list[tuple[str, bytes | Path]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bytes_left = self.max_bytes

    @property
    def is_full(self) -> bool:
        """Whether no further file is taken."""
        return self.max_items is not None and len(self.items) >= self.max_items

    def take(self, name: str, source: bytes | Path) -> None:
        """Add a file, unless there are as many as one grading takes."""
        if self.is_full:
            self.skip(name, f"Only the first {self.max_items} files are graded at a time.")
        else:
            self.items.append((name, source))

    def skip(self, name: str, reason: str) -> None:
        """Leave a file out."""
        self.skipped.append(Skipped(name, reason))


def expand_uploads(files: Iterable[tuple[str, bytes]], *, max_bytes: int | None = None) -> Expansion:
    """Open the archives among uploaded files; order is kept, a member's name is "archive.zip/folder/image.jpg".

    Nothing is trusted: paths that leave the archive, links, encrypted or nested archives, unusual methods of packing
    and members beyond the limits of lib.settings (files, bytes a file, compression ratio, bytes in all, or
    `max_bytes` where given) are left out with the reason.
    """
    expansion = Expansion(MAX_UPLOAD_FILES, MAX_ARCHIVE_BYTES if max_bytes is None else max_bytes)
    for name, data in files:
        if archives.is_archive(data):
            _expand_archive(name, io.BytesIO(data), expansion)
        else:
            expansion.take(name, data)
    return expansion


def expand_paths(paths: Iterable[str | Path]) -> Expansion:
    """The files of folders (recursively, in the order of their names) and zip archives, and single files.

    Raises:
        UserError: a path that does not exist.
    """
    expansion = Expansion()
    for path in map(Path, paths):
        if path.is_dir():
            _expand_folder(path, expansion)
        elif not path.exists():
            raise UserError(
                f"There is no file or folder {shown(path)}. Give images, folders of images or zip archives."
            )
        elif _is_archive(path):
            with path.open("rb") as opened:
                _expand_archive(storable(path.name), opened, expansion)
        else:
            expansion.take(storable(str(path)), path)
    return expansion


def _expand_folder(folder: Path, expansion: Expansion) -> None:
    """Every file below a folder; links are followed, and what cannot be graded is left out with the reason."""
    walk = FolderWalk(folder).run()
    files = [*walk.images, *(file for file, _ in walk.others)]
    for file in sorted(files, key=lambda file: (file.parts[:-1], file.parts[-1])):
        expansion.take(storable(str(file.path)), file.path)
    for left_out in walk.left_out:
        if left_out.reason != EMPTY_FOLDER:
            expansion.skip(f"{shown(folder)}/{left_out.path}", f"{left_out.reason.capitalize()}.")


def _is_archive(path: Path) -> bool:
    # A pipe or device would block, or never end.
    try:
        if not path.is_file():
            return False
        with path.open("rb") as opened:
            return archives.is_archive(opened.read(4))
    except OSError:  # no permission, or gone meanwhile: its row says so, and the others go on
        return False


def _expand_archive(name: str, opened: IO[bytes], expansion: Expansion) -> None:
    try:
        with archives.open_archive(opened, max_entries=_MAX_ENTRIES) as archive:
            members = [member for member in archive.infolist() if not archives.member_name(member).endswith("/")]
            if not members:
                expansion.skip(name, "The archive is empty.")
            seen: set[str] = set()
            for member in members:
                shown = f"{name}/{archives.member_name(member)}"
                if shown in seen:
                    expansion.skip(shown, "The archive holds this name more than once; the first one is used.")
                    continue
                seen.add(shown)
                _take_member(archive, member, shown, expansion)
    except UserError as error:
        expansion.skip(name, str(error))
    except archives.DAMAGE:
        expansion.skip(name, "The archive is damaged or of a kind that cannot be opened; make a plain zip of it.")


def _take_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, shown: str, expansion: Expansion) -> None:
    reason = _why_not(member, expansion)
    if reason:
        expansion.skip(shown, reason)
        return
    if expansion.is_full:
        expansion.take(shown, b"")  # says that there are too many, without unpacking
        return
    expansion.bytes_left -= member.file_size
    try:
        data = archives.read_member(archive, member)
    except archives.DAMAGE as error:
        expansion.skip(shown, f"The archive is damaged here ({type(error).__name__}).")
        return
    if archives.is_archive(data):
        expansion.skip(shown, "An archive inside an archive; unpack it and upload its images.")
    else:
        expansion.take(shown, data)


def _why_not(member: zipfile.ZipInfo, expansion: Expansion) -> str:
    """The reason why a member must not be read; empty if it may."""
    if reason := archives.why_unreadable(member):
        return reason
    if any(map(is_hidden, PurePosixPath(archives.member_name(member)).parts)):
        return "Hidden file."
    if member.file_size > MAX_FILE_BYTES:
        return f"Unpacks to more than {MAX_FILE_BYTES // 2**20} MiB."
    is_too_much = member.file_size > expansion.bytes_left
    return f"The archives unpack to more than {expansion.max_bytes // 2**20} MiB." if is_too_much else ""


@dataclass(frozen=True)
class UploadedFile:
    """One row: a name, and the SHA-256 of its content by which its grade is found."""

    name: str
    sha256: str


class UploadSession:
    """Files in the order in which they came, graded once for each content and way of grading.

    Pages read it while a thread grades, so every change is made under one lock.

    Args:
        room: how many bytes more it may hold, beside its own limit: what all sessions together have left.

    Attributes:
        num_bytes: what it holds: the files, and pictures, maps and cases of their grades. Read without the lock, so
            that sessions which ask for each other's never wait in a circle.
    """

    def __init__(self, room: Callable[[], float] = lambda: math.inf) -> None:
        self.files: list[UploadedFile] = []
        self.skipped: list[Skipped] = []
        self._contents: dict[str, bytes] = {}
        self._grades: dict[str, dict[str, tuple[Grade, bytes | None]]] = {}
        self.num_bytes = 0
        self._room = room
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Forget everything, in place: whoever still holds the session holds no image any more."""
        with self._lock:
            for kept in (self.files, self.skipped, self._contents, self._grades):
                kept.clear()
            self._count()

    def __len__(self) -> int:
        return len(self.files) + len(self.skipped)

    def add(self, uploads: Iterable[tuple[str, bytes | Path]]) -> int:
        """Take uploaded files and the files of uploaded archives; returns how many are new.

        A file that is there already, by name and content, is not taken twice.
        """
        with self._lock:
            return self._add(uploads)

    def _add(self, uploads: Iterable[tuple[str, bytes | Path]]) -> int:
        known, skipped, num_before = set(self.files), [], len(self.files)
        # One after the other: a folder of thousands of photographs must not stand in memory before it is refused.
        for uploaded in uploads:
            name, source = uploaded
            content = source if isinstance(source, bytes) else _content_of(source)
            if content is None:
                skipped.append(Skipped(name, "This file cannot be read, or is larger than one image may be."))
                continue
            expansion = expand_uploads([(name, content)], max_bytes=max(0, int(self._bytes_left())))
            skipped += expansion.skipped
            for member, data in expansion.items:
                if not isinstance(data, bytes):  # pragma: no cover  (what was uploaded is bytes)
                    continue
                file = UploadedFile(member, hashlib.sha256(data).hexdigest())
                if file in known:
                    continue
                if reason := self._why_full(file, len(data)):
                    skipped.append(Skipped(member, reason))
                    continue
                known.add(file)
                self.files.append(file)
                self.num_bytes += 0 if file.sha256 in self._contents else len(data)
                self._contents[file.sha256] = data
        for entry in skipped:
            if entry not in self.skipped and len(self.skipped) < MAX_SKIPPED:
                self.skipped.append(entry)
        return len(self.files) - num_before

    def _why_full(self, file: UploadedFile, size: int) -> str:
        if len(self.files) >= MAX_UPLOAD_FILES:
            return f"Only {MAX_UPLOAD_FILES} files are graded in one sitting; clear it first."
        if file.sha256 in self._contents:
            return ""
        if self.num_bytes + size > MAX_KEPT_BYTES:
            return f"More than {MAX_KEPT_BYTES // 2**20} MiB in one sitting; clear it first."
        if size > self._room():
            return "This server holds as many images of all its visitors as it may; try again later."
        return ""

    def content(self, sha256: str) -> bytes | None:
        """A file as it came; None after it was cleared."""
        return self._contents.get(sha256)

    def waiting(self, run_id: str) -> list[tuple[str, bytes]]:
        """What this run has not graded yet: (SHA-256, content), each content once."""
        with self._lock:
            done = self._grades.get(run_id, {})
            waiting = dict.fromkeys(file.sha256 for file in self.files if file.sha256 not in done)
            return [(sha256, self._contents[sha256]) for sha256 in waiting]

    def keep(self, run_id: str, sha256: str, grade: Grade) -> None:
        """Keep a grade; its pixels are kept as JPEG, a tenth of the memory.

        What was cleared meanwhile is not kept again. Where the session is full, grades of other runs go first, then
        the picture.
        """
        from lib.explain.pictures import to_jpeg

        jpeg = None if grade.pixels is None else to_jpeg(grade.pixels)
        with self._lock:
            if sha256 not in self._contents:
                return
            done = self._grades.pop(run_id, {})
            self._grades[run_id] = done  # the last one used stands last
            while len(self._grades) > MAX_KEPT_RUNS:
                self._grades.pop(next(iter(self._grades)))
            done[sha256] = (replace(grade, pixels=None, sha256=sha256), jpeg)
            self._count()
            while self.num_bytes > MAX_KEPT_BYTES and len(self._grades) > 1:
                self._grades.pop(next(iter(self._grades)))
                self._count()
            if self.num_bytes > MAX_KEPT_BYTES:
                done[sha256] = (replace(done[sha256][0], cam=None, cases=()), None)
                self._count()

    def keep_map_verdict(self, run_id: str, sha256: str, words: str) -> None:
        """Keep with a grade what the checks of its map came to."""
        with self._lock:
            kept = self._grades.get(run_id, {}).get(sha256)
            if kept is not None:
                self._grades[run_id][sha256] = (replace(kept[0], map_verdict=words), kept[1])

    def rows(self, run_id: str) -> list[tuple[Grade, bytes | None]]:
        """(grade without pixels, JPEG) of each file that this run has graded, then of the files that were left out."""
        with self._lock:
            done = self._grades.get(run_id, {})
            graded = [(file.name, *done[file.sha256]) for file in self.files if file.sha256 in done]
            left_out: list[tuple[Grade, bytes | None]] = [(grade, None) for grade in skipped_grades(self.skipped)]
        return [(replace(grade, name=name), jpeg) for name, grade, jpeg in graded] + left_out

    def grades(self, run_id: str) -> list[Grade]:
        """The same with pixels, as a report with pictures needs them."""
        return [replace(grade, pixels=jpeg_pixels(jpeg)) for grade, jpeg in self.rows(run_id)]

    def _count(self) -> None:
        grades = [kept for done in self._grades.values() for kept in done.values()]
        contents = sum(map(len, self._contents.values()))
        self.num_bytes = contents + sum(_picture_bytes(grade, jpeg) for grade, jpeg in grades)

    def _bytes_left(self) -> float:
        return min(MAX_KEPT_BYTES - self.num_bytes, self._room())


def _picture_bytes(grade: Grade, jpeg: bytes | None) -> int:
    cases = sum(len(case.jpeg or b"") for case in grade.cases)
    return cases + len(jpeg or b"") + (0 if grade.cam is None else grade.cam.nbytes)


def _content_of(path: Path) -> bytes | None:
    """The bytes of a file of this machine; None where it is no plain file, too large, or cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > max(MAX_FILE_BYTES, MAX_KEPT_BYTES):
            return None
        return path.read_bytes()
    except OSError:
        return None


def jpeg_pixels(jpeg: bytes | None) -> np.ndarray | None:
    """Pixels (h, w, 3) of a JPEG that `UploadSession.keep` made itself: no untrusted bytes."""
    return None if jpeg is None else np.asarray(Image.open(io.BytesIO(jpeg)))


def skipped_grades(skipped: Iterable[Skipped]) -> list[Grade]:
    """Rows for what was left out before grading, so that a report has one for each file."""
    return [Grade(entry.name, status=REFUSED, reason=entry.reason, is_left_out=True) for entry in skipped]
