"""When memory runs out: recognise it, free what can be freed, do the same work in smaller parts."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

# A sixteenth of a batch: where that does not fit, the network or the images are too large, not the batch.
MAX_HALVINGS = 4

Answer = TypeVar("Answer")


class Rows(Protocol):
    """What has a length and can be cut: an array, a range."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, part: slice, /) -> Any:
        """Some of them."""
        ...


SomeRows = TypeVar("SomeRows", bound=Rows)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch or NumPy says that memory ran out, on a GPU or in the machine.

    CUDA raises torch.OutOfMemoryError, Apple's MPS and the CPU's allocator a RuntimeError that only its words tell from
    others, and NumPy a MemoryError.
    """
    if isinstance(error, MemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "out of memory" in words or "can't allocate memory" in words
    )


def free_memory() -> None:
    """Give cached blocks of GPUs back, so that smaller ones can be made of them."""
    import gc

    import torch

    gc.collect()  # cycles that hold tensors of the failed attempt
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def trim_memory() -> None:
    """Give freed memory of the process back to the system, after large objects have been let go."""
    import ctypes
    import gc

    gc.collect()
    # What was freed in small pieces (rows of decoded images, buffers of requests) stays with the allocator otherwise.
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def compute_in_parts(
    compute: Callable[[SomeRows], Answer], rows: SomeRows, *, halvings_left: int = MAX_HALVINGS
) -> list[Answer]:
    """Compute something of rows that does not depend on how they are cut; in halves where memory runs out.

    Raises:
        RuntimeError, MemoryError: memory ran out with one row, or with a sixteenth of them.
    """
    try:
        return [compute(rows)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or not halvings_left or len(rows) < 2:
            raise
    # Outside of the handler: an exception at work holds the frames, and with them the tensors, of what failed.
    free_memory()
    half = len(rows) // 2
    return [
        answer
        for part in (rows[:half], rows[half:])
        for answer in compute_in_parts(compute, part, halvings_left=halvings_left - 1)
    ]
