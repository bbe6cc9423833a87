"""The network as a training step runs it: as it is, compiled, or as DistributedDataParallel."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from lib.distributed import Ranks
from lib.training.config import TrainConfig
from lib.training.events import Listener, Noticed, ShouldStop, never_stop
from lib.training.inputs import CachedInputs, Inputs
from lib.training.micro_batches import freeze_batchnorm_statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    Network = Callable[[Tensor], Tensor]


class _Logits(nn.Module):
    """A classifier from where its inputs enter it, as one module with one forward: what wrappers ask for."""

    def __init__(self, classifier: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.classifier = classifier
        self._inputs = inputs

    def forward(self, batch: Tensor) -> Tensor:
        """Inputs (n, ...) to logits (n, K), without looking for a stop between stages."""
        if self._inputs.after is None:
            is_head = isinstance(self._inputs, CachedInputs)
            return self.classifier.head(batch) if is_head else self.classifier(batch)  # type: ignore[operator]
        return self.classifier.forward_after(batch, self._inputs.after)  # type: ignore[operator]


class StepNetwork:
    """Called with a batch of inputs, gives its logits; wraps the classifier anew whenever other parameters train.

    Alone and not compiled it runs stage by stage and hears a stop between two of them. Several ranks must leave a
    training at the same point, so they are asked between batches only (`ranks_stop`).
    """

    def __init__(
        self,
        classifier: Any,
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

    def _wrapped(self, batch: Tensor) -> "Network":
        network: nn.Module = _Logits(self._classifier, self._inputs)
        is_compiled = self._is_compiled and can_compile(network, batch, self._listener)
        if not self._ranks.is_alone:
            from torch.nn.parallel import DistributedDataParallel

            # Gives all ranks the weights and buffers of the first; gradients are means over ranks from here on.
            devices = [batch.device] if batch.is_cuda else None
            network = DistributedDataParallel(network, device_ids=devices)
        if not is_compiled:
            return network
        import torch

        faster: Network = torch.compile(network)
        return faster


def can_compile(network: nn.Module, batch: Tensor, listener: Listener) -> bool:
    """Whether torch.compile works here, tried on a batch that leaves no trace; if not, the listener hears why."""
    import torch

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


def stage_stop(should_stop: ShouldStop, ranks: Ranks) -> ShouldStop:
    """What may be asked within a batch: of a process on its own only."""
    return should_stop if ranks.is_alone else never_stop


def positions_of(ranks: Ranks, num_images: int) -> tuple[np.ndarray, float]:
    """Which images of a batch this rank computes, and whether they count (1) or stand in (0).

    A rank without images computes the first one at weight 0: all ranks take part in each step, and none counts twice.
    """
    positions = ranks.share(np.arange(num_images))
    return (positions, 1.0) if len(positions) else (np.arange(1), 0.0)


def spare_batchnorm(classifier: nn.Module, num_images: int) -> None:
    """Keep BatchNorm's statistics in a process's step on a single image, which has none of its own.

    On a map of 1 x 1 there is one value a channel, which torch refuses; on a larger one the places of one image are no
    sample of images.
    """
    if num_images < 2:
        freeze_batchnorm_statistics(classifier)


def warn_of_single_images(classifier: Any, sizes: Sequence[int], config: TrainConfig, listener: Listener) -> None:
    """Say before the first step that steps on a single image keep BatchNorm's statistics, where it has any to train.

    `sizes` are those of an epoch's batches: all 1 for batch_size=1, or the last one of an odd number in twos.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    from lib.models.freezing import train_mode

    num_single = sum(size < 2 for size in sizes)
    if not num_single:
        return
    was_training = classifier.training
    train_mode(classifier, batchnorm=config.batchnorm)
    has_trained = any(isinstance(module, _BatchNorm) and module.training for module in classifier.modules())
    classifier.train(was_training)
    if not has_trained:
        return
    which = "Each step is" if num_single == len(sizes) else f"{num_single} of {len(sizes)} steps an epoch are"
    what = f"{which} on a single image, which has no statistics for BatchNorm: the network keeps those that it has."
    if num_single == len(sizes):
        what += " With --set batch_size=2 or more they are trained as well"
        what += ", which a network that starts from random weights needs." if config.weights == "random" else "."
    listener(Noticed(what))


def share_buffers(classifier: nn.Module, ranks: Ranks) -> None:
    """Give every rank the buffers (BatchNorm statistics) of the first; a collective."""
    if ranks.is_alone:
        return
    import torch.distributed

    for buffer in classifier.buffers():
        torch.distributed.broadcast(buffer, src=0)
