"""Which ending an exception is, and the one sentence for the person."""

from lib.errors import UserError, disk_fault, is_disk_full
from lib.out_of_memory import is_out_of_memory

_SHORT_OF_MEMORY = "Memory ran out. Choose a smaller batch size or image size, or a smaller backbone, then resume."
_DISK_FULL = "The disk is full. Free some space, then resume: it goes on from the last checkpoint."


def describe_failure(error: BaseException) -> tuple[str, str]:
    """The name of the ending (lib/tracking/endings.py) and a sentence that says what to do."""
    if is_disk_full(error):
        return "disk_full", _DISK_FULL
    if isinstance(error, UserError):
        return error.ending, str(error)
    if fault := disk_fault(error):
        return fault.ending, str(fault)
    if is_out_of_memory(error):
        return "out_of_memory", _SHORT_OF_MEMORY
    text = str(error).strip()
    first_line = text.splitlines()[0] if text else type(error).__name__
    sentence = f"The training broke off with an unexpected error ({type(error).__name__}: {first_line})"
    return "unexpected", f"{sentence}; its log has more."
