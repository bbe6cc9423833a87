"""Gradual unfreezing: the head first, then one more stage at a time (Howard & Ruder 2018, arXiv 1801.06146)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class GradualUnfreezing:
    """Lets the stages of a network join the training, the last one first.

    Made while everything that shall ever be trained is trainable; then `apply` says what is trained in an epoch.
    The optimiser is made before the first `apply`, so that it knows all parameters; those without a gradient stay as
    they are. Checkpoints hold all of them, whatever epoch they are of (`tuned_names`).
    """

    def __init__(self, network: Any, every: int) -> None:
        if every < 1:
            raise ValueError(f"Stages need at least one epoch each, received {every}.")
        self.every = every
        by_stage = [[p for p in stage.parameters() if p.requires_grad] for stage in network.stages.values()]
        # From the last stage down; a stage without parameters, such as a pooling, does not count.
        self._stages: list[list[nn.Parameter]] = [parameters for parameters in reversed(by_stage) if parameters]
        network.tuned_names = frozenset(name for name, p in network.named_parameters() if p.requires_grad)

    def num_stages(self, epoch: int) -> int:
        """How many stages besides the head are trained in an epoch (from 1)."""
        return min((epoch - 1) // self.every, len(self._stages))

    def apply(self, epoch: int) -> None:
        """Freeze and unfreeze for an epoch (from 1)."""
        count = self.num_stages(epoch)
        for position, parameters in enumerate(self._stages):
            for parameter in parameters:
                parameter.requires_grad = position < count
