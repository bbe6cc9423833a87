"""Networks as an explanation needs them: which stages have maps, and a view in evaluation mode that harms nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from lib.errors import UserError
from lib.models.folding import share_module_tree
from lib.models.stages import StagedNetwork


def map_stage_names(network: StagedNetwork) -> tuple[str, ...]:
    """The stages whose output has a height and a width, in order: where maps exist."""
    return tuple(spec.name for spec in network.stage_specs if spec.output == "map")


def check_map_stage(network: StagedNetwork, stage: str) -> str:
    """Return `stage`; raises UserError if it is unknown or has no map."""
    names = map_stage_names(network)
    if stage in names:
        return stage
    if not names:
        raise UserError("This classifier has no network, so there are no maps to show; choose a run with a network.")
    known = {spec.name for spec in network.stage_specs}
    problem = "has no map (its output is a vector)" if stage in known else "is not a stage of this network"
    raise UserError(f"The stage {stage!r} {problem}. Choose one of: {', '.join(names)}.")


@contextmanager
def evaluation_view(network: StagedNetwork) -> Iterator[StagedNetwork]:
    """The network in evaluation mode for the time of a block, whatever mode it is in, and without touching it.

    A network with a part in training mode is not switched, since other threads may be using it: a copy of its module
    tree that shares all tensors is used instead. Gradients can be taken inside, also if the caller switched them off.
    """
    modules = cast(nn.Module, network).modules()
    view: Any = network
    if any(module.training for module in modules):
        view = share_module_tree(cast(nn.Module, network)).eval()
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield view
