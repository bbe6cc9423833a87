"""How a training step is computed: compiled, cut over ranks, and in smaller parts where memory runs out."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.distributed import Ranks
from lib.errors import UserError
from lib.models.freezing import batchnorm_layers, train_mode
from lib.out_of_memory import MAX_HALVINGS, free_memory, is_out_of_memory
from lib.training.config import TrainConfig
from lib.training.events import Listener, Noticed, ShouldStop
from lib.training.inputs import CachedInputs, Inputs
from lib.training.protocols import Classifier

Network = Callable[[Tensor], Tensor]
Answer = TypeVar("Answer")


class ShortOfMemory(UserError):
    """Memory ran out, however small the micro-batches."""

    ending = "out_of_memory"


class _Logits(nn.Module):
    """A classifier from where its inputs enter it, as one module with one forward: what wrappers ask for."""

    def __init__(self, classifier: Any, inputs: Inputs) -> None:
        super().__init__()
        self.classifier, self._inputs = classifier, inputs

    def forward(self, batch: Tensor) -> Tensor:
        """Inputs (n, ...) to logits (n, K), without looking for a stop between stages."""
        if self._inputs.after is not None:
            return self.classifier.forward_after(batch, self._inputs.after)
        return self.classifier.head(batch) if isinstance(self._inputs, CachedInputs) else self.classifier(batch)


class StepNetwork:
    """Called with a batch of inputs, gives its logits; wraps the classifier anew whenever other parameters train.

    Alone and not compiled it runs stage by stage and hears a stop between two of them. Several ranks must leave a
    training at the same point, so they are asked between batches only.
    """

    def __init__(
        self,
        classifier: Classifier,
        inputs: Inputs,
        *,
        ranks: Ranks,
        is_compiled: bool,
        should_stop: ShouldStop,
        listener: Listener,
    ) -> None:
        self._classifier, self._inputs, self._ranks = classifier, inputs, ranks
        self._is_compiled, self._should_stop, self._listener = is_compiled, should_stop, listener
        self._trained: tuple[bool, ...] = ()
        self._network: Network | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        """Inputs (n, ...) to logits (n, K)."""
        if self._ranks.is_alone and not self._is_compiled:
            return self._inputs.logits(self._classifier, batch, self._should_stop)
        batch = self._inputs.entered(batch)
        trained = tuple(parameter.requires_grad for parameter in self._classifier.parameters())
        if self._network is None or trained != self._trained:
            self._network, self._trained = self._wrapped(batch), trained
        return self._network(batch)

    def _wrapped(self, batch: Tensor) -> Network:
        network: nn.Module = _Logits(self._classifier, self._inputs)
        is_compiled = self._is_compiled and can_compile(network, batch, self._listener)
        if not self._ranks.is_alone:
            # Gives all ranks the weights and buffers of the first; gradients are means over ranks from here on.
            network = DistributedDataParallel(network, device_ids=[batch.device] if batch.is_cuda else None)
        return torch.compile(network) if is_compiled else network


def can_compile(network: nn.Module, batch: Tensor, listener: Listener) -> bool:
    """Whether torch.compile works here, tried on a batch that leaves no trace; if not, the listener hears why."""
    buffers = [buffer.clone() for buffer in network.buffers()]
    try:
        with torch.random.fork_rng():
            torch.compile(network)(batch).sum().backward()
    except Exception as error:  # noqa: BLE001 (compilers fail in their own ways, and training works without)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        listener(Noticed(f"torch.compile does not work here ({reason}); training goes on without it."))
        return False
    finally:
        network.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, kept in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(kept)
    return True


def positions_of(ranks: Ranks, num_images: int) -> tuple[np.ndarray, float]:
    """Which images of a batch this rank computes, and whether they count (1) or stand in (0).

    A rank without images computes the first one at weight 0: all ranks take part in each step, and none counts twice.
    """
    positions = ranks.share(np.arange(num_images))
    return (positions, 1.0) if len(positions) else (np.arange(1), 0.0)


def warn_of_single_images(
    classifier: Classifier, sizes: Sequence[int], config: TrainConfig, listener: Listener
) -> None:
    """Say before the first step that steps on a single image keep BatchNorm's statistics, where it has any to train.

    `sizes` are those of an epoch's batches: all 1 for batch_size=1, or the last one of an odd number in twos.
    """
    num_single = sum(size < 2 for size in sizes)
    if not num_single:
        return
    was_training = classifier.training
    train_mode(classifier, batchnorm=config.batchnorm)  # type: ignore[arg-type]
    has_trained = any(norm.training for norm in batchnorm_layers(classifier))
    classifier.train(was_training)
    if not has_trained:
        return
    which = "Each step is" if num_single == len(sizes) else f"{num_single} of {len(sizes)} steps an epoch are"
    what = f"{which} on a single image, which has no statistics for BatchNorm: the network keeps those that it has."
    if num_single == len(sizes):
        what += " With --set batch_size=2 or more they are trained as well"
        what += ", which a network that starts from random weights needs." if config.weights == "random" else "."
    listener(Noticed(what))


def share_buffers(classifier: Classifier, ranks: Ranks) -> None:
    """Give every rank the buffers (BatchNorm statistics) of the first; a collective."""
    if ranks.is_alone:
        return
    for _, buffer in classifier.named_buffers():
        torch.distributed.broadcast(buffer, src=0)


def micro_batches(num_images: int, num_halvings: int) -> list[slice]:
    """Cut a batch into 2 ** num_halvings parts of nearly equal size (one image at least)."""
    num_parts = min(2**num_halvings, num_images)
    edges = np.linspace(0, num_images, num_parts + 1).round().astype(int)
    return [slice(int(start), int(end)) for start, end in itertools.pairwise(edges)]


def freeze_batchnorm_statistics(network: Classifier) -> None:
    """Let BatchNorm use and keep its statistics as they are, in the head too.

    Those of a micro-batch are worse than those of the batch. One image has none: on a map of 1 x 1 there is one value a
    channel, which torch refuses; on a larger one the places of one image are no sample of images.
    """
    for norm in batchnorm_layers(network):
        norm.eval()


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
