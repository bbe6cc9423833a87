"""From uploads or paths to single files: archives are opened in memory with limits, nothing is unpacked to disk."""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lib.data.sources.folder_walk import EMPTY_FOLDER, FolderWalk
from lib.data.sources.layout import shown, storable
from lib.errors import UserError
from lib.settings import MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO, MAX_FILE_BYTES, MAX_UPLOAD_FILES

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_ENTRY_MARK = b"PK\x01\x02"  # begins each entry of a zip's table of contents
# zipfile builds an object an entry before anything can be counted: 50 MiB of entries would be over a million.
_MAX_ENTRIES = 20_000
# A blank bitmap honestly shrinks a thousandfold; below this size that does no harm.
_RATIO_FREE_BYTES = 2**20
_SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Skipped:
    """A file that is not graded, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Expansion:
    """Single files to grade, as (name, bytes or path), and what was left out."""

    items: list[tuple[str, bytes | Path]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    max_items: int | None = None

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


def expand_uploads(files: Iterable[tuple[str, bytes]]) -> Expansion:
    """Open the archives among uploaded files; order is kept, a member's name is "archive.zip/folder/image.jpg".

    Nothing is trusted: paths that leave the archive, links, encrypted or nested archives and members beyond the limits
    of lib.settings (files, bytes in all, bytes a file, compression ratio) are left out with the reason.
    """
    expansion = Expansion(max_items=MAX_UPLOAD_FILES)
    budget = _Budget(MAX_ARCHIVE_BYTES)
    for name, data in files:
        if data.startswith(_ZIP_STARTS):
            _expand_archive(name, io.BytesIO(data), expansion, budget)
        else:
            expansion.take(name, data)
    return expansion


def expand_paths(paths: Iterable[str | Path]) -> Expansion:
    """The files of folders (recursively, in the order of their names) and zip archives, and single files.

    Raises:
        UserError: a path that does not exist.
    """
    expansion = Expansion()
    budget = _Budget(MAX_ARCHIVE_BYTES)
    for path in map(Path, paths):
        if path.is_dir():
            _expand_folder(path, expansion)
        elif not path.exists():
            raise UserError(
                f"There is no file or folder {shown(path)}. Give images, folders of images or zip archives."
            )
        elif _is_archive(path):
            with path.open("rb") as opened:
                _expand_archive(storable(path.name), opened, expansion, budget)
        else:
            expansion.take(storable(str(path)), path)
    return expansion


@dataclass
class _Budget:
    """How many unpacked bytes are still allowed, over all archives of one call."""

    bytes_left: int


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
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(4) in _ZIP_STARTS


def _expand_archive(name: str, opened: io.BufferedIOBase, expansion: Expansion, budget: _Budget) -> None:
    try:
        if _count_entries(opened) > _MAX_ENTRIES:
            expansion.skip(name, f"The archive lists more than {_MAX_ENTRIES:,} entries.")
            return
        with zipfile.ZipFile(opened) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if not members:
                expansion.skip(name, "The archive is empty.")
            for member in members:
                _take_member(archive, member, f"{name}/{member.filename}", expansion, budget)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        expansion.skip(name, "The archive is damaged or of a kind that cannot be opened; make a plain zip of it.")


def _take_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, shown: str, expansion: Expansion, budget: _Budget
) -> None:
    reason = _why_not(member, budget)
    if reason:
        expansion.skip(shown, reason)
        return
    if expansion.is_full:
        expansion.take(shown, b"")  # says that there are too many, without unpacking
        return
    budget.bytes_left -= member.file_size
    try:
        # zipfile reads no more than the stated size, so the checks on that size hold.
        data = archive.read(member)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
        expansion.skip(shown, f"The archive is damaged here ({type(error).__name__}).")
        return
    if data.startswith(_ZIP_STARTS):
        expansion.skip(shown, "An archive inside an archive; unpack it and upload its images.")
    else:
        expansion.take(shown, data)


def _why_not(member: zipfile.ZipInfo, budget: _Budget) -> str:
    """The reason why a member must not be read; empty if it may."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    leads_out = path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1])
    is_special = stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG)
    most_bytes = max(_RATIO_FREE_BYTES, MAX_ARCHIVE_RATIO * member.compress_size)
    reasons = (
        (leads_out, "Its path leads out of the archive."),
        (_is_hidden(path), "Hidden file."),
        (is_special, "A link or special file, not an image."),
        (member.flag_bits & 0x1, "Encrypted; unpack it and upload its images."),
        (member.file_size > MAX_FILE_BYTES, f"Unpacks to more than {MAX_FILE_BYTES // 2**20} MiB."),
        (member.file_size > most_bytes, f"Unpacks to more than {MAX_ARCHIVE_RATIO} times its size: a zip bomb."),
        (member.file_size > budget.bytes_left, f"The archives unpack to more than {MAX_ARCHIVE_BYTES // 2**20} MiB."),
    )
    return next((reason for holds, reason in reasons if holds), "")


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part.lower() in _SYSTEM_NAMES for part in path.parts)


def _count_entries(opened: io.BufferedIOBase) -> int:
    """How often the mark of an entry occurs; a little more than there are entries is possible, less is not."""
    count, tail = 0, b""
    while chunk := opened.read(2**20):
        count += (tail + chunk).count(_ENTRY_MARK)
        tail = chunk[-len(_ENTRY_MARK) + 1 :]
    opened.seek(0)
    return count
