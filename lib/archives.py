"""Zip archives of unknown origin: nothing is believed that they say of themselves, and memory stays within limits.

Members are stored or deflated, as every program writes them. bzip2 and LZMA are refused: a member of 900 bytes can hold
a gigabyte, and Python unpacks what one piece of them holds at once, whatever size the member states. Deflated members
are unpacked piece by piece and no further than their stated size, which the caller has checked.
"""

import itertools
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from lib.errors import UserError
from lib.settings import MAX_ARCHIVE_RATIO

_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_ENTRY_MARK = b"PK\x01\x02"  # begins each entry of a zip's table of contents
_PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER_BYTES = 30
_PIECE_BYTES = 2**18
# A blank bitmap honestly shrinks a thousandfold; below this size that does no harm.
_RATIO_FREE_BYTES = 2**20
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flag bits of a member
_UNICODE_PATH = 0x7075
# What names without the flag are written in, the usual first: PCs in the West, Windows tools, Windows in Japan.
_CODE_PAGES = ("cp437", "cp1252", "cp850", "cp932")

# What reading a damaged archive raises.
DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError, EOFError)


def is_archive(start: bytes) -> bool:
    """Whether a file that begins so is a zip."""
    return start.startswith(_STARTS)


class ArchiveRefused(UserError):
    """An archive of which nothing is read."""


@contextmanager
def open_archive(opened: IO[bytes], *, max_entries: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose table of contents is not too long and whose members do not overlap.

    Raises ArchiveRefused with a sentence where it is not so, and one of `DAMAGE` where it is damaged.
    """
    # zipfile builds an object an entry before anything can be counted: 50 MiB of entries would be over a million.
    if _count_entries(opened) > max_entries:
        raise ArchiveRefused(f"The archive lists more than {max_entries:,} entries.")
    with zipfile.ZipFile(opened) as archive:
        # Members that share bytes let a small archive unpack to any size (Fifield 2019).
        ordered = sorted(archive.infolist(), key=lambda member: member.header_offset)
        for member, following in itertools.pairwise(ordered):
            if member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size > following.header_offset:
                raise ArchiveRefused("Members of the archive overlap: a zip bomb.")
        yield archive


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The content of a member that `why_unreadable` lets pass; raises one of `DAMAGE`."""
    return b"".join(member_pieces(archive, member))


def member_pieces(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """As `read_member`, piece by piece; never more than the stated size."""
    # Asked for everything at once, zipfile unpacks all that a piece of input holds before it cuts to the stated size.
    with archive.open(member) as source:
        while piece := source.read(_PIECE_BYTES):
            yield piece


def why_unreadable(member: zipfile.ZipInfo, *, ratio_free_bytes: int = _RATIO_FREE_BYTES) -> str:
    """The reason for which a member must not be read, whatever it is for; empty if it may be."""
    path = PurePosixPath(member_name(member))
    leads_out = path.is_absolute() or ".." in path.parts or "".join(path.parts[:1])[1:2] == ":"  # a drive
    is_special = stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG)
    most_bytes = max(ratio_free_bytes, MAX_ARCHIVE_RATIO * member.compress_size)
    reasons = (
        (leads_out, "Its path leads out of the archive."),
        (is_special, "A link or special file, not an image."),
        (member.flag_bits & _ENCRYPTED, "Encrypted; unpack it and upload its images."),
        (member.compress_type not in _PLAIN_METHODS, "Packed in an unusual way; make a plain zip (deflate) of it."),
        (member.file_size > most_bytes, f"Unpacks to more than {MAX_ARCHIVE_RATIO} times its size: a zip bomb."),
    )
    return next((reason for holds, reason in reasons if holds), "")


def member_name(member: zipfile.ZipInfo) -> str:
    """The name of a member as its maker saw it, with "/" between folders.

    Without the mark of UTF-8, names are in the code page of their maker's machine, and zipfile reads them as cp437.
    """
    name = member.orig_filename
    if not member.flag_bits & _UTF8 and not name.isascii():
        raw = name.encode("cp437", errors="replace")
        name = _unicode_path(member.extra, raw) or _decoded(raw)
    # Behind a zero, zipfile reads no further; a backslash separates folders in zips of old Windows programs.
    return name.split("\0")[0].replace("\\", "/")


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """The name in the extra field "Unicode Path" (Info-ZIP), if it belongs to this name; else empty."""
    while len(extra) >= 4:
        kind, size = (int.from_bytes(extra[at : at + 2], "little") for at in (0, 2))
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        belongs = content[:1] == b"\1" and int.from_bytes(content[1:5], "little") == zlib.crc32(raw)
        if kind == _UNICODE_PATH and len(content) > 5 and belongs:
            return content[5:].decode("utf-8", errors="replace")
    return ""


def _decoded(raw: bytes) -> str:
    """A name from bytes of an unknown code page: UTF-8 if it is that, else the page in which it reads best."""
    readings = []
    for encoding in ("utf-8", *_CODE_PAGES):
        try:
            reading = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8":
            return reading
        readings.append(reading)
    return min(readings, key=_strangeness)  # cp437 reads everything


def _strangeness(text: str) -> int:
    """How little a text looks like a name: odd signs, scripts that change within a word, accents in a row."""
    kinds = [_letter_kind(letter) for letter in text]
    signs = 3 * kinds.count("sign") + 2 * kinds.count("half-width")
    letters = {"latin", "accented", "greek", "eastern"}
    pairs = [{*pair} for pair in itertools.pairwise(kinds) if {*pair} <= letters]
    return signs + sum(pair == {"accented"} or (len(pair) == 2 and pair != {"latin", "accented"}) for pair in pairs)


def _letter_kind(letter: str) -> str:
    if letter.isascii():
        return "latin" if letter.isalpha() else "other"
    if unicodedata.category(letter) not in ("Lu", "Ll", "Lo"):
        return "eastern" if letter in "\u30fc\u3005" else "sign"  # the Japanese signs of a long and a repeated sound
    name = unicodedata.name(letter, "")
    if name.startswith("LATIN"):
        return "accented"
    return "half-width" if name.startswith("HALFWIDTH") else "greek" if name.startswith("GREEK") else "eastern"


def _count_entries(opened: IO[bytes]) -> int:
    """How often the mark of an entry occurs; a little more than there are entries is possible, less is not."""
    count, tail = 0, b""
    while chunk := opened.read(2**20):
        count += (tail + chunk).count(_ENTRY_MARK)
        tail = chunk[-len(_ENTRY_MARK) + 1 :]
    opened.seek(0)
    return count
