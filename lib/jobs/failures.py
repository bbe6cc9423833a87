"""Which ending an exception is, and the one sentence for the person."""

import errno
from collections.abc import Iterator

from lib.errors import UserError
from lib.memory import is_out_of_memory

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("no space left on device", "disk is full", "disk quota exceeded")
_SHORT_OF_MEMORY = "Memory ran out. Choose a smaller batch size or image size, or a smaller backbone, then resume."
_DISK_FULL = "The disk is full. Free some space, then resume: it goes on from the last checkpoint."


def describe_failure(error: BaseException) -> tuple[str, str]:
    """The name of the ending (lib/tracking/endings.py) and a sentence that says what to do."""
    if is_disk_full(error):
        return "disk_full", _DISK_FULL
    if isinstance(error, UserError):
        return error.ending, str(error)
    if is_out_of_memory(error):
        return "out_of_memory", _SHORT_OF_MEMORY
    text = str(error).strip()
    first_line = text.splitlines()[0] if text else type(error).__name__
    sentence = f"The training broke off with an unexpected error ({type(error).__name__}: {first_line})"
    return "unexpected", f"{sentence}; its log has more."


def is_disk_full(error: BaseException) -> bool:
    """Whether a full disk or quota is behind an exception, however many libraries have wrapped it."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        # SQLite and MLflow say it in words.
        if not isinstance(cause, UserError) and any(words in str(cause).lower() for words in _FULL_WORDS):
            return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
