"""A step that does not fit into memory, done in micro-batches whose gradients add up to those of the batch."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lib.errors import UserError
from lib.memory import MAX_HALVINGS, free_memory, is_out_of_memory
from lib.training.events import Listener, Noticed

if TYPE_CHECKING:
    from torch import nn

Answer = TypeVar("Answer")


class ShortOfMemory(UserError):
    """Memory ran out, however small the micro-batches."""

    ending = "out_of_memory"


def micro_batches(num_images: int, num_halvings: int) -> list[slice]:
    """Cut a batch into 2 ** num_halvings parts of nearly equal size (one image at least)."""
    num_parts = min(2**num_halvings, num_images)
    edges = np.linspace(0, num_images, num_parts + 1).round().astype(int)
    return [slice(int(start), int(end)) for start, end in itertools.pairwise(edges)]


def freeze_batchnorm_statistics(network: "nn.Module") -> None:
    """Let BatchNorm use and keep its statistics as they are, in the head too.

    Those of a micro-batch are worse than those of the batch, and with one image there are none.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def with_halvings(
    attempt: Callable[[int], Answer],
    before_retry: Callable[[], None],
    *,
    num_images: int,
    num_halvings: int,
    listener: Listener,
    is_alone: bool = True,
) -> tuple[Answer, int]:
    """Call `attempt(num_halvings)` until memory suffices; returns its answer and the number that did.

    Args:
        attempt: computes the gradients of a batch of `num_images` in 2 ** n micro-batches.
        before_retry: takes back what a failed attempt left behind.
        num_images: in this batch.
        num_halvings: to begin with: what an earlier step needed.
        listener: hears a notice for each halving.
        is_alone: whether no other process takes part in the step; one of several cannot repeat it.

    Raises:
        ShortOfMemory: four halvings were not enough, or a single image is too large.
    """
    while True:
        try:
            return attempt(num_halvings), num_halvings
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: the exception holds the frames, and with them the tensors, of what failed.
        before_retry()
        free_memory()
        if not is_alone:
            raise ShortOfMemory(
                f"Memory ran out with {num_images} images a step over all processes, which cannot repeat a step apart. "
                "Start a new run with a smaller batch (--set batch_size=...)."
            )
        size = _largest(num_images, num_halvings)
        if num_halvings == MAX_HALVINGS or size == 1:
            raise ShortOfMemory(
                f"Memory ran out even with {size} {'image' if size == 1 else 'images'} at a time. Start a new run with "
                "a smaller image size (--set input_size_px=...) or a smaller backbone."
            )
        num_halvings += 1
        listener(
            Noticed(
                f"Memory ran out: batches of {num_images} are computed {_largest(num_images, num_halvings)} images at "
                "a time from here on, with the statistics of BatchNorm frozen; the steps stay those of the batch."
            )
        )


def _largest(num_images: int, num_halvings: int) -> int:
    return max(part.stop - part.start for part in micro_batches(num_images, num_halvings))
