"""Unpacks archives of unknown origin, zip, tar or tar.gz, file by file: whole or not at all.

Nothing is believed that an archive says of itself: what leads out refuses the whole of it, sizes are counted as they
come, devices and links are left out, and files are written anew with a mode of ours.
"""

import calendar
import gzip
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from lib.archives import DAMAGE, ArchiveRefused, is_archive, member_name, member_pieces, open_archive, why_unreadable
from lib.data.sources.files import LeftOut, has_image_suffix, is_hidden, shown
from lib.errors import Stopped, UserError
from lib.progress import InBytes, Progress, ignore_progress
from lib.settings import MAX_ARCHIVE_RATIO

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_MAX_ENTRIES = 2_000_000
_PIECE_BYTES = 2**20
_MAX_HEADER_BYTES = 2**20  # a name and its extras; an honest header has some hundred bytes
_RATIO_FREE_BYTES = 2**26
_SPARE_DISK_BYTES = 200 * 2**20
_OTHERS = {b"BZh": "bzip2", b"\xfd7zX": "xz", b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstd"}
_LINK = "a link in the archive, not followed"
_SPECIAL = "a device or another special file in the archive"
_NUM_SAMPLES = 24  # images whose content a preview keeps


def is_archive_path(path: Path) -> bool:
    """Whether a path is a file with a name that archives have."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def archive_stem(path: Path) -> str:
    """The name of an archive without its suffixes."""
    suffix = max((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)] or path.name


@dataclass
class _Unpacking:
    """One archive on its way into an empty folder; a preview takes the names of images without their content."""

    path: Path
    into: Path
    progress: Progress
    is_preview: bool
    left_out: list[LeftOut] = field(default_factory=list)
    num_bytes: int = 0
    num_images: int = 0

    @property
    def what(self) -> str:
        return InBytes(f"Unpacking {shown(self.path.name)}")

    @property
    def most_bytes(self) -> int:
        return max(_RATIO_FREE_BYTES, MAX_ARCHIVE_RATIO * self.path.stat().st_size)

    def run(self) -> list[LeftOut]:
        try:
            with self.path.open("rb") as opened:
                start = opened.read(4)
                opened.seek(0)
                if is_archive(start):
                    self._zip(opened)
                elif kind := next((kind for mark, kind in _OTHERS.items() if start.startswith(mark)), ""):
                    raise ArchiveRefused(f"it is packed as {kind}; pack it as zip, tar or tar.gz.")
                elif start[:2] == b"\x1f\x8b":
                    with gzip.GzipFile(fileobj=opened) as unpacked:
                        self._tar(unpacked, opened)
                else:
                    self._tar(opened, opened)
        except Stopped:  # which is a RuntimeError, as some damage is
            raise
        except ArchiveRefused as error:
            raise UserError(f"{shown(self.path)} is not unpacked: {error}") from None
        except FileNotFoundError:
            raise UserError(f"There is no file {shown(self.path)}; check the path.") from None
        except (*DAMAGE, tarfile.TarError) as error:
            of_system = getattr(error, "strerror", None)
            reason = shown(str(of_system or error or type(error).__name__))
            advice = "" if of_system else "; it is damaged or cut off: fetch or pack it again"
            raise UserError(f"{shown(self.path)} cannot be unpacked ({reason}){advice}.") from None
        return self.left_out

    def _zip(self, opened: IO[bytes]) -> None:
        with open_archive(opened, max_entries=_MAX_ENTRIES) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            self._require_disk(total)
            for member in members:
                name = member_name(member)
                parts = self._parts(name)
                if member.is_dir() or name.endswith("/"):
                    self._folder(parts)
                    continue
                if reason := why_unreadable(member, ratio_free_bytes=_RATIO_FREE_BYTES):
                    if not reason.startswith("A link"):
                        raise ArchiveRefused(f"{shown(name)}: {reason}")
                    self.left_out.append(LeftOut(shown(name), _LINK))
                    continue
                self._write(parts, member.file_size, member_pieces(archive, member), _moment(member))
                self.progress(self.num_bytes, total, self.what)

    def _tar(self, content: Any, packed: IO[bytes]) -> None:
        total = self.path.stat().st_size
        with tarfile.open(fileobj=_InPieces(content), mode="r:") as archive:  # type: ignore[call-overload]
            num_entries = 0
            while (member := archive.next()) is not None:
                archive.members.clear()  # which would be a gigabyte for a million entries
                num_entries += 1
                if num_entries > _MAX_ENTRIES:
                    raise ArchiveRefused(f"The archive lists more than {_MAX_ENTRIES:,} entries.")
                self._tar_member(archive, member)
                self.progress(packed.tell(), total, self.what)
            # tarfile takes a damaged header for the end, which is a block of zeros or nothing at all.
            content.seek(archive.offset)
            if any(content.read(512)):
                raise ArchiveRefused(f"It is damaged after entry {num_entries:,}.")

    def _tar_member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._parts(member.name)
        try:
            tarfile.data_filter(member, str(self.into))
        except tarfile.SpecialFileError:
            self.left_out.append(LeftOut(shown(member.name), _SPECIAL))
            return
        except tarfile.FilterError as error:
            raise ArchiveRefused(f"Its entry {shown(member.name)} leads out ({type(error).__name__}).") from None
        if member.isdir():
            self._folder(parts)
        elif member.islnk():  # tar writes a file once and further names of it so
            self._again(parts, self._parts(member.linkname))
        elif member.issym():
            self.left_out.append(LeftOut(shown(member.name), _LINK))
        elif member.isreg():
            opened: Any = archive.extractfile(member)
            self._write(parts, member.size, iter(lambda: opened.read(_PIECE_BYTES), b""), member.mtime)

    def _again(self, parts: tuple[str, ...], of: tuple[str, ...]) -> None:
        first = self.into.joinpath(*of)
        if not first.is_file():
            raise ArchiveRefused(f"{shown('/'.join(parts))} is another name of a file that is not there.")
        self._write(parts, first.stat().st_size, iter([first.read_bytes()]), first.stat().st_mtime)

    def _parts(self, name: str) -> tuple[str, ...]:
        """The folders and the file of an entry; refuses the archive where they lead out of it."""
        path = PurePosixPath(name)
        parts = tuple(part for part in path.parts if part != ".")
        if path.is_absolute() or ".." in parts or "".join(parts[:1])[1:2] == ":" or "\0" in name:
            raise ArchiveRefused(f"Its entry {shown(name)} leads out of the archive.")
        return parts

    def _folder(self, parts: tuple[str, ...]) -> None:
        self.into.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def _write(self, parts: tuple[str, ...], size: int, pieces: Iterator[bytes], moment: float) -> None:
        if not parts:
            return
        target = self.into.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        is_image = has_image_suffix(parts[-1])
        self.num_images += is_image
        target.unlink(missing_ok=True)  # an entry that comes twice: the later one holds
        with target.open("xb") as written:
            if self.is_preview and is_image and self.num_images > _NUM_SAMPLES:
                written.truncate(min(size, self.most_bytes))  # a hole of that size, which takes no space
            else:
                self._copy(pieces, written)
        moment = max(0.0, min(float(moment), 2.0**32))
        os.utime(target, (moment, moment))

    def _copy(self, pieces: Iterator[bytes], written: IO[bytes]) -> None:
        for piece in pieces:
            before = self.num_bytes // _RATIO_FREE_BYTES
            self.num_bytes += len(piece)
            if self.num_bytes > self.most_bytes:
                raise ArchiveRefused(f"It unpacks to more than {MAX_ARCHIVE_RATIO} times its size: an archive bomb.")
            if self.num_bytes // _RATIO_FREE_BYTES > before:
                self._require_disk(0)
            written.write(piece)

    def _require_disk(self, num_bytes: int) -> None:
        free = shutil.disk_usage(self.into).free
        if not self.is_preview and num_bytes + _SPARE_DISK_BYTES > free:
            needed = f"needs {num_bytes / 2**30:.1f} GiB unpacked, and " if num_bytes else "does not fit: "
            raise ArchiveRefused(f"it {needed}{free / 2**30:.1f} GiB are free.")


class _InPieces:
    """A file of which nobody reads much at once: tarfile takes a header as long as the archive says it is."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self.seek, self.tell = opened.seek, opened.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(_MAX_HEADER_BYTES, _PIECE_BYTES):
            raise ArchiveRefused("One of its headers is too long.")
        piece: bytes = self._opened.read(size)
        return piece


def _moment(member: zipfile.ZipInfo) -> float:
    """When a file was changed, by the clock of whoever packed it: the same on every machine that unpacks it."""
    try:
        return calendar.timegm((*member.date_time, 0, 0, 0))
    except ValueError:
        return 0.0


def _unpack_inner(of: Path, into: Path, *, is_preview: bool, progress: Progress) -> list[LeftOut]:
    """Unpack the archives that came out of one, each into a folder of its name, as Kaggle packs train.zip; no more."""
    left_out: list[LeftOut] = []
    for path in sorted(path for path in into.rglob("*") if is_archive_path(path) and not is_hidden(path.name)):
        folder = path.with_name(archive_stem(path))
        folder.mkdir(exist_ok=True)
        try:
            inside = _Unpacking(path, folder, progress, is_preview=is_preview).run()
        except UserError as error:
            raise UserError(str(error).replace(shown(into), shown(of))) from None
        left_out += [LeftOut(shown(folder.relative_to(into) / one.path), one.reason) for one in inside]
        path.unlink()
    return left_out


def unpack(path: Path, into: Path, *, progress: Progress = ignore_progress) -> list[LeftOut]:
    """Unpack an archive, and those inside it, into an empty folder; returns what is left out: links, special files.

    Raises UserError with one sentence where it is no archive, damaged, an entry leads out of it, or it is larger than
    it should be; what is in the folder then is for the caller to remove.
    """
    left_out = _Unpacking(path, into, progress, is_preview=False).run()
    return [*left_out, *_unpack_inner(path, into, is_preview=False, progress=progress)]


def unpack_names(path: Path, into: Path, *, progress: Progress = ignore_progress) -> None:
    """Write an archive's files without the content of its images, but for the first few; tables are whole.

    Raises UserError as `unpack`.
    """
    _Unpacking(path, into, progress, is_preview=True).run()
    _unpack_inner(path, into, is_preview=True, progress=progress)
