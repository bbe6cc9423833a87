"""What the stages of a network answer to an image, and which places speak for a class.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) cuts the network at the stage: the part before it runs without
gradients, the part after it with. Nothing is hooked and no parameter is touched, so that several threads can explain
one frozen network at the same time; captum's, which hooks its network and explains one stage a pass, gives the same.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.explain.network import (
    NO_MAPS,
    as_map,
    check_drawn_stage,
    check_map_stage,
    drawn_stages,
    evaluation_view,
    normal_tensor,
)
from lib.explain.targets import Target, TargetLike, closed_targets, target_scores
from lib.models.backbone_spec import StageSpec
from lib.models.heads import HEADS
from lib.models.stages import StagedNetwork

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


class NoCam(UserError):
    """There is no Grad-CAM of this network; the message says why."""


class NoGradient(NoCam):
    """The network's head cannot say how its answer would change with the image."""

    def __init__(self) -> None:
        super().__init__(
            "This head passes no useful gradient to the image (nearest neighbours only looks up similar images), so "
            "there is no Grad-CAM for it. Look at the activation maps, or choose a run with a linear or MLP head."
        )


@dataclass(frozen=True)
class CamResult:
    """Grad-CAM maps of one stage for a batch of N images."""

    maps: FloatArray  # (N, h, w) in 0..1: ReLU, then each divided by its own largest value
    raw_max: FloatArray  # (N,) that largest value; 0 means that nothing at this stage speaks for the class
    targets: tuple[int, ...]  # the class explained, per image; for a difference or a grade its first class
    probabilities: FloatArray  # (N, K) softmax
    questions: tuple[Target, ...] = ()  # what was explained, per image
    scores: tuple[float, ...] = ()  # the number that the maps are of, per image


def grad_cam(
    network: StagedNetwork, batch: Tensor, *, stage: str, target: TargetLike | Sequence[Any] = None
) -> CamResult:
    """Explain a class, or whatever else `Target` knows, at one map stage, for each image of a batch (N, 3, H, W).

    `target` is one for all images, one per image, or None for the predicted class; a class is given by its number.

    Raises:
        UserError: unknown stage, a stage without a map, a class out of range.
        NoGradient: a head that only looks up similar images.
    """
    check_map_stage(network, stage)
    if not is_differentiable(network):
        raise NoGradient
    with evaluation_view(network) as view:
        with torch.no_grad():
            h = view.forward_until(normal_tensor(batch), stage)
        h = h.detach().requires_grad_()
        logits = view.forward_after(h, stage)
        return _class_maps({stage: h}, logits, target)[stage]


@dataclass(frozen=True, eq=False)
class ImageTrace:
    """One image's way through a network: everything that is shown of it comes from a single forward pass."""

    outputs: dict[str, Tensor]  # stage that can be drawn -> (1, C, h, w) or (1, L, C), part of one graph
    specs: dict[str, StageSpec]
    logits: Tensor  # (1, K)
    is_differentiable: bool

    @property
    def probabilities(self) -> FloatArray:
        """Softmax probabilities (K,)."""
        return self.logits.detach().float().softmax(dim=1)[0].cpu().numpy()

    def activations(self) -> dict[str, FloatArray]:
        """Stage -> (h, w) mean absolute activation over its channels.

        Absolute because linear bottlenecks (MobileNet) have no ReLU: a plain mean would cancel out.
        """
        maps = {stage: as_map(output.detach(), self.specs[stage]) for stage, output in self.outputs.items()}
        return {stage: output[0].float().abs().mean(dim=0).cpu().numpy() for stage, output in maps.items()}

    def cams(self, target: TargetLike = None) -> dict[str, CamResult]:
        """Map stage -> Grad-CAM of a target, by one backward pass that frees the graph; so it can be asked once.

        Raises:
            NoCam: a head without gradients, or no stage with a map.
        """
        if not self.is_differentiable:
            raise NoGradient
        maps = {stage: output for stage, output in self.outputs.items() if self.specs[stage].output == "map"}
        if not maps:
            raise NoCam(NO_MAPS)
        with torch.inference_mode(mode=False), torch.enable_grad():
            return _class_maps(maps, self.logits, target)


def trace_image(network: StagedNetwork, batch: Tensor) -> ImageTrace:
    """Run one image (1, 3, H, W) through all stages and keep what can be drawn; gradients start at the first of it."""
    _check_one_image(batch)
    with evaluation_view(network) as view:
        specs = drawn_stages(view)
        stages = tuple(specs)
        with torch.no_grad():
            h = view.forward_until(normal_tensor(batch), stages[0])
        outputs = {stages[0]: h.detach().requires_grad_()}
        for previous, stage in itertools.pairwise(stages):
            outputs[stage] = view.forward_between(outputs[previous], previous, stage)
        logits = view.forward_after(outputs[stages[-1]], stages[-1])
    return ImageTrace(outputs, specs, logits, is_differentiable(network))


def is_differentiable(network: StagedNetwork) -> bool:
    """Whether the network's head is one whose gradient means something."""
    # Neighbours that all agree vote for their class whatever the image's exact features: a zero gradient, no evidence.
    head = getattr(network, "head_options", {}).get("name", "")
    return head not in HEADS or HEADS.get(head).is_differentiable


def _class_maps(outputs: dict[str, Tensor], logits: Tensor, target: TargetLike | Sequence[Any]) -> dict[str, CamResult]:
    """Grad-CAM of each stage's output (N, C, h, w), by one backward pass for all."""
    questions = closed_targets(target, logits)
    scores, gradients = score_gradients(questions, logits, list(outputs.values()))
    probabilities = logits.detach().float().softmax(dim=1).cpu().numpy()
    found = {}
    for (stage, output), gradient in zip(outputs.items(), gradients, strict=True):
        raw = weighted_by_mean_gradient(output.detach(), gradient)
        raw_max = raw.amax(dim=(1, 2))
        # Only a map of zeros is divided by one: a threshold would hide the maps of networks with tiny outputs.
        maps = raw / torch.where(raw_max > 0, raw_max, 1.0)[:, None, None]
        found[stage] = CamResult(
            maps.cpu().numpy(), raw_max.cpu().numpy(), tuple(one.index for one in questions), probabilities, questions,
            tuple(scores.tolist()),
        )  # fmt: skip
    return found


def score_gradients(
    targets: Sequence[Target], logits: Tensor, inputs: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The explained numbers (N,), and their gradients at tensors of the logits' graph, each (N, ...).

    Raises:
        NoGradient: the logits do not depend on these tensors in a way that torch knows.
    """
    if not logits.requires_grad:
        raise NoGradient
    # Images do not mix in evaluation mode, so the sum's gradient is each image's own. autograd.grad, not backward: it
    # writes to no parameter's .grad, trainable or not.
    scores = target_scores(targets, logits)
    return scores.detach(), torch.autograd.grad(scores.sum(), list(inputs))


def weighted_by_mean_gradient(output: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM's own formula: channels (N, C, h, w) weighted by their mean gradient, summed, negative parts cut off."""
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    return (weights * output.float()).sum(dim=1).relu()


def first_layer_filters(network: StagedNetwork) -> FloatArray:
    """The weights of the first convolution that reads colours, as small colour pictures.

    Returns:
        (K, k, k, 3) in 0..1: each filter is divided by twice its own largest absolute weight and centred, so that mid
        grey means a weight of zero.

    Raises:
        UserError: the network has no convolution with three input channels.
    """
    for module in cast(nn.Module, network).modules():
        # A folded `transform_input` can be a convolution of 3 to 3 channels; it is no feature.
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.out_channels > 3:
            weights = module.weight.detach().float().permute(0, 2, 3, 1).cpu()
            largest = weights.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
            return (0.5 + 0.5 * weights / largest).numpy()
    raise UserError("This network has no convolution that reads the three colours, so it has no filters to show.")


def stage_activations(network: StagedNetwork, batch: Tensor, stage: str) -> FloatArray:
    """All channels (C, h, w) of one stage that can be drawn for one image, batch (1, 3, H, W)."""
    spec = check_drawn_stage(network, stage)
    _check_one_image(batch)
    with evaluation_view(network) as view, torch.no_grad():
        return as_map(view.forward_until(batch, stage), spec)[0].float().cpu().numpy()


def top_channels(activations: FloatArray, n: int) -> np.ndarray:
    """The indices of the `n` channels of (C, h, w) with the largest mean absolute activation, strongest first."""
    strength = np.abs(activations).mean(axis=(1, 2))
    # Stable: equal channels keep their order, so that the same image always shows the same picture.
    return np.argsort(-strength, kind="stable")[:n]


def _check_one_image(batch: Tensor) -> None:
    """Raises ValueError unless the batch is (1, 3, H, W)."""
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise ValueError(f"One image is explained at a time: a batch (1, 3, H, W) is needed, not {tuple(batch.shape)}.")
