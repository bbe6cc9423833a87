"""Networks as an explanation needs them: which stages can be drawn, and a view in evaluation mode that harms nobody."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.models.backbone_spec import StageSpec
from lib.models.folding import share_module_tree
from lib.models.stages import StagedNetwork

NO_MAPS = (
    "This network works on tokens: each of them mixes all places of the image, and there is no map of channels for "
    "Grad-CAM. Mean activation shows how strongly each token responds."
)


def map_stage_names(network: StagedNetwork) -> tuple[str, ...]:
    """The stages whose output has a height and a width, in order: where maps exist."""
    return tuple(spec.name for spec in network.stage_specs if spec.output == "map")


def drawn_stages(network: StagedNetwork) -> dict[str, StageSpec]:
    """The stages that can be drawn over the image, in order: maps, and tokens on a grid.

    Raises:
        UserError: there are none.
    """
    drawn = {spec.name: spec for spec in network.stage_specs if spec.has_places}
    if not drawn and any(spec.output == "tokens" for spec in network.stage_specs):
        raise UserError(
            "The tokens of this network lie on no grid over the image, so there is nothing to draw of them."
        )
    if not drawn:
        raise UserError("This classifier has no network to look into: its features are made by hand-made filters.")
    return drawn


def as_map(output: Tensor, spec: StageSpec) -> Tensor:
    """The output of a stage that can be drawn as (N, C, h, w): tokens (N, L, C) in their places."""
    if spec.output == "map":
        return output
    places = output[:, spec.num_prefix_tokens :]
    side = math.isqrt(places.shape[1])
    return places.transpose(1, 2).reshape(len(output), -1, side, side)


def check_drawn_stage(network: StagedNetwork, stage: str) -> StageSpec:
    """The specification of `stage`; raises UserError if it is unknown or cannot be drawn."""
    drawn = drawn_stages(network)
    check_map_stage(network, stage, names=tuple(drawn))
    return drawn[stage]


def check_map_stage(network: StagedNetwork, stage: str, *, names: tuple[str, ...] | None = None) -> None:
    """Raises UserError if `stage` is none of the names, by default those of stages with a map."""
    names = map_stage_names(network) if names is None else names
    outputs = {spec.name: spec.output for spec in network.stage_specs}
    if stage in names:
        return
    if not names and "tokens" in outputs.values():
        raise UserError(NO_MAPS)
    if not names:
        raise UserError("This classifier has no network, so there are no maps to show; choose a run with a network.")
    kind = "tokens" if outputs.get(stage) == "tokens" else "a vector"
    problem = f"has no map (its output is {kind})" if stage in outputs else "is not a stage of this network"
    raise UserError(f"The stage {stage!r} {problem}. Choose one of: {', '.join(names)}.")


def default_map_stage(network: StagedNetwork) -> str:
    """The stage where maps are taken unless told otherwise: the table's, else the last with a map.

    Raises:
        UserError: there is none.
    """
    names, spec = map_stage_names(network), getattr(network, "spec", None)
    if not names:
        check_map_stage(network, "")
    return spec.cam_stage if spec is not None and spec.cam_stage in names else names[-1]


def normal_tensor(batch: Tensor) -> Tensor:
    """The batch itself, or its clone: a tensor made in inference mode can never take part in a graph."""
    return batch.clone() if batch.is_inference() else batch


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


def make_batch(pixels: np.ndarray[Any, np.dtype[np.uint8]], network: StagedNetwork, preprocessing: Any) -> Tensor:
    """One picture (S, S, 3) as a batch (1, 3, size, size) on the network's device, in its dtype.

    `preprocessing` is whatever `InputTransform.of` reads.
    """
    parameter = next(cast(nn.Module, network).parameters(), torch.empty(0))
    wanted = InputTransform.of(preprocessing)
    return wanted.batch(pixels[None], device=parameter.device, dtype=parameter.dtype)
