"""The errors a person may see: one sentence that says what is wrong, what was received and what to do."""

import errno
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("no space left on device", "disk is full", "disk quota exceeded")
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_CLOSED_WORDS = ("readonly database", "unable to open database file", "read-only file system")
_DAMAGED_WORDS = ("is malformed", "not a database", "malformed database schema", "no such table", "no such column")
REPAIR_HINT = "Move it aside and enter the runs anew from their folders with: python -m lib runs repair"


class UserError(ValueError):
    """Bad input or a missing prerequisite; the message is shown to the person as it is.

    `ending` is how a run ends that meets it (EXIT_REASONS in lib/tracking/state.py).
    """

    ending = "refused"


class BadImage(UserError):
    """A file that cannot be used as an image; the message is the reason."""


class WeightsUnavailable(UserError):
    """Pretrained weights that are not at hand; the message names file, folder and the command that fetches them."""


class DiskFull(UserError):
    """What is to be written does not fit on the disk; the message says how much is missing."""

    ending = "disk_full"


class Stopped(RuntimeError):
    """Raised inside long work after somebody asked it to stop; not an error for the person."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from, however many libraries have wrapped it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def is_disk_full(error: BaseException) -> bool:
    """Whether a full disk or quota is behind an exception."""
    return any(
        (isinstance(cause, OSError) and cause.errno in _FULL)
        # SQLite and MLflow say it in words.
        or (not isinstance(cause, UserError) and any(words in str(cause).lower() for words in _FULL_WORDS))
        for cause in causes(error)
    )


def disk_fault(error: BaseException, path: Path | None = None) -> UserError | None:
    """What a person should read where the disk is behind an exception; None where it is not.

    Args:
        error: an exception of any library.
        path: the file that was worked on; by default the one that the exception names.
    """
    named = next((str(cause.filename) for cause in causes(error) if isinstance(cause, OSError) and cause.filename), "")
    where = str(path or named or "a file")
    if is_disk_full(error):
        return DiskFull(f"The disk is full: {where} could not be written. Free some space and try again.")
    for cause in causes(error):
        if (isinstance(cause, OSError) and cause.errno in _CLOSED) or _says(cause, _CLOSED_WORDS):
            return UserError(
                f"{where} cannot be written or opened: its disk or folder is read-only for this user. Make it writable "
                "or choose another place (TRANSFERSCOPE_HOME for the program's own data)."
            )
        if path is not None and _says(cause, _DAMAGED_WORDS):
            return UserError(f"The database {where} is damaged; nothing was changed in it. {REPAIR_HINT}")
    return None


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return not isinstance(error, UserError) and any(word in str(error).lower() for word in words)
