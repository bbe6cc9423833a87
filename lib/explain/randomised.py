"""Twins of a network whose weights are drawn anew: what a map must not survive (Adebayo et al. 2018, arXiv:1810.03292).

A twin shares what is not drawn anew with the network and touches nothing of it.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lib.explain.network import evaluation_view
from lib.features.frozen_stages import smooth_pictures
from lib.models.classifier import HEAD_STAGE, Classifier
from lib.models.folding import share_module_tree
from lib.models.networks import seeded_initialization
from lib.models.stages import Backbone, StagedNetwork, build_backbone, set_batchnorm_statistics

_NUM_PICTURES = 2  # from which the new BatchNorm layers take their statistics


def randomised_twin(network: StagedNetwork, *, input_size_px: int, seed: int = 0) -> Any:
    """A copy in evaluation mode in which every stage, the head included, has weights drawn from the seed."""
    return _twin(network, stages_with_weights(network), _fresh_stages(network, seed), input_size_px, seed)


def cascade(network: StagedNetwork, *, input_size_px: int, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """Twins with one stage more drawn anew each, from the last one down; each with the name of the earliest of them.

    Stages without parameters are passed over, since drawing them anew changes nothing.
    """
    names, fresh = stages_with_weights(network), _fresh_stages(network, seed)
    for index in range(len(names) - 1, -1, -1):
        yield names[index], _twin(network, names[index:], fresh, input_size_px, seed)


def stages_with_weights(network: StagedNetwork) -> list[str]:
    """The stages that have parameters, in order."""
    return [
        spec.name for spec in network.stage_specs if any(True for _ in _module(network, spec.name).parameters())
    ]  # fmt: skip


def _fresh_stages(network: StagedNetwork, seed: int) -> nn.ModuleDict:
    found = cast(Backbone | Classifier, network)
    # Another seed than the network's own: a random network's twin is another random network.
    return build_backbone(found.spec.name, weights="random", seed=found.seed + seed + 1).stages


def _twin(network: StagedNetwork, stages: Sequence[str], fresh: nn.ModuleDict, input_size_px: int, seed: int) -> Any:
    """A copy with the named stages drawn anew.

    New BatchNorm layers get the statistics of smooth random pictures behind the stages before them: with those of the
    initialisation a random network would answer nearly nothing.
    """
    with evaluation_view(network) as view:
        twin: Any = share_module_tree(cast(nn.Module, view))
    parameter = next(twin.parameters(), torch.empty(0))
    for name in stages:
        if name == HEAD_STAGE.name and isinstance(network, Classifier):
            twin.head = _drawn_anew(network.head, seed)
        else:
            # A copy of its own: each twin of a cascade has other statistics in the same layer.
            twin.stages[name] = copy.deepcopy(fresh[name]).requires_grad_(requires_grad=False)
        _module(twin, name).to(device=parameter.device, dtype=parameter.dtype)
    twin.eval()
    pictures = smooth_pictures(_NUM_PICTURES, input_size_px, seed=seed).to(parameter)
    with torch.no_grad():
        _set_statistics(twin, set(stages), pictures)
    return twin


def _module(network: Any, stage: str) -> nn.Module:
    module: nn.Module = network.head if stage == HEAD_STAGE.name else network.stages[stage]
    return module


def _drawn_anew(head: nn.Module, seed: int) -> nn.Module:
    drawn_head = share_module_tree(head)
    with seeded_initialization(seed + 1):
        for module in drawn_head.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                for name, parameter in list(module.named_parameters(recurse=False)):
                    setattr(module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
                reset()
                continue
            for name, parameter in list(module.named_parameters(recurse=False)):
                drawn = torch.randn(parameter.shape) / max(1, parameter[0].numel() if parameter.ndim else 1) ** 0.5
                setattr(module, name, nn.Parameter(drawn.to(parameter), requires_grad=False))
    return drawn_head


def _set_statistics(twin: Any, stages: set[str], h: Tensor) -> None:
    """Give the BatchNorm layers of the fresh stages the statistics of what comes in, stage after stage."""
    for spec in twin.stage_specs:
        step = twin.steps[spec.name]
        if spec.name in stages and isinstance(step, nn.Module):
            set_batchnorm_statistics(step, h)
        h = step(h)


def is_untrained(network: StagedNetwork) -> bool:
    """Whether all stages still have the weights of their seeded initialisation: nothing was learned or borrowed."""
    found = cast(Backbone | Classifier, network)
    if found.weights != "random" or not len(found.stages):
        return False
    start = build_backbone(found.spec.name, weights="random", seed=found.seed)
    own = dict(found.stages.named_parameters())
    return all(torch.equal(own[name].cpu(), value) for name, value in start.stages.named_parameters() if name in own)
