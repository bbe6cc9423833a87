"""Grad-CAM: which places of a stage speak for a class (Selvaraju et al. 2017, arXiv:1610.02391).

The network is cut at the stage. The part before it runs without gradients, the part after it with; nothing is hooked
and no parameter is touched, so that several threads can explain one frozen network at the same time.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.errors import UserError
from lib.explain.activations import FloatArray, check_one_image, mean_magnitude
from lib.explain.network import NO_MAPS, as_map, check_map_stage, drawn_stages, evaluation_view
from lib.models.backbone_spec import StageSpec
from lib.models.heads import HEADS
from lib.models.stages import StagedNetwork

_NO_GRADIENT = (
    "This head passes no useful gradient to the image (nearest neighbours only looks up similar images), so there is "
    "no Grad-CAM for it. Look at the activation maps, or choose a run with a linear or MLP head."
)


class NoCam(UserError):
    """There is no Grad-CAM of this network; the message says why."""


class NoGradient(NoCam):
    """The network's head cannot say how its answer would change with the image."""

    def __init__(self) -> None:
        super().__init__(_NO_GRADIENT)


@dataclass(frozen=True)
class CamResult:
    """Grad-CAM maps of one stage for a batch of N images."""

    stage: str
    maps: FloatArray  # (N, h, w) in 0..1: ReLU, then each divided by its own largest value
    raw_max: FloatArray  # (N,) that largest value; 0 means that nothing at this stage speaks for the class
    targets: tuple[int, ...]  # the class explained, per image
    scores: FloatArray  # (N,) softmax probability of that class


def grad_cam(
    network: StagedNetwork, batch: Tensor, *, stage: str, target: int | Sequence[int] | None = None
) -> CamResult:
    """Explain a class at one map stage, for each image of a batch (N, 3, H, W).

    `target` is one class index for all images, one per image, or None for the predicted class.

    Raises:
        UserError: unknown stage, a stage without a map, a class out of range.
        NoGradient: a head that only looks up similar images.
    """
    return trace_cam(network, batch, stage=stage, target=target)[0]


def trace_cam(
    network: StagedNetwork, batch: Tensor, *, stage: str, target: int | Sequence[int] | None = None
) -> tuple[CamResult, Tensor]:
    """As `grad_cam`, with the logits (N, K) of the same forward pass."""
    check_map_stage(network, stage)
    _check_differentiable(network)
    with evaluation_view(network) as view:
        with torch.no_grad():
            h = view.forward_until(_normal_tensor(batch), stage)
        h = h.detach().requires_grad_()
        logits = view.forward_after(h, stage)
        targets = _resolve_targets(target, logits)
        gradients = _gradients(logits, targets, [h])
    return _to_result(stage, h, gradients[0], logits, targets), logits.detach().float()


def grad_cam_strip(network: StagedNetwork, batch: Tensor, *, target: int | None = None) -> dict[str, CamResult]:
    """Explain a class at every map stage of one image (1, 3, H, W): one forward and one backward pass in all."""
    _check_differentiable(network)
    return trace_image(network, batch).cams(target)


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
        """Stage -> (h, w) mean absolute activation, as `activation_strip`."""
        return {stage: mean_magnitude(as_map(output, self.specs[stage])) for stage, output in self.outputs.items()}

    def cams(self, target: int | None = None) -> dict[str, CamResult]:
        """Map stage -> Grad-CAM of a class, by one backward pass that frees the graph; so it can be asked once.

        Raises:
            NoCam: a head without gradients, or no stage with a map.
        """
        if not self.is_differentiable:
            raise NoGradient
        maps = {stage: output for stage, output in self.outputs.items() if self.specs[stage].output == "map"}
        if not maps:
            raise NoCam(NO_MAPS)
        targets = _resolve_targets(target, self.logits)
        with torch.inference_mode(mode=False), torch.enable_grad():
            gradients = _gradients(self.logits, targets, list(maps.values()))
        return {
            stage: _to_result(stage, output, gradient, self.logits, targets)
            for (stage, output), gradient in zip(maps.items(), gradients, strict=True)
        }


def trace_image(network: StagedNetwork, batch: Tensor) -> ImageTrace:
    """Run one image (1, 3, H, W) through all stages and keep what can be drawn; gradients start at the first of it."""
    check_one_image(batch)
    with evaluation_view(network) as view:
        specs = drawn_stages(view)
        stages = tuple(specs)
        with torch.no_grad():
            h = view.forward_until(_normal_tensor(batch), stages[0])
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


def _check_differentiable(network: StagedNetwork) -> None:
    if not is_differentiable(network):
        raise NoGradient


def _normal_tensor(batch: Tensor) -> Tensor:
    # A tensor made in inference mode can never take part in a graph; its clone can.
    return batch.clone() if batch.is_inference() else batch


def _resolve_targets(target: int | Sequence[int] | None, logits: Tensor) -> tuple[int, ...]:
    num_images, num_classes = logits.shape
    if target is None:
        return tuple(int(index) for index in logits.argmax(dim=1))
    targets = (target,) * num_images if isinstance(target, int) else tuple(int(index) for index in target)
    if len(targets) != num_images:
        raise ValueError(f"{num_images} images need {num_images} target classes, received {len(targets)}.")
    for index in targets:
        if not 0 <= index < num_classes:
            raise UserError(f"There is no class number {index}: this network has classes 0 to {num_classes - 1}.")
    return targets


def _gradients(logits: Tensor, targets: tuple[int, ...], outputs: list[Tensor]) -> tuple[Tensor, ...]:
    if not logits.requires_grad:
        raise NoGradient
    # Images do not mix in evaluation mode, so the sum's gradient is each image's own.
    score = logits[torch.arange(len(targets)), torch.tensor(targets, device=logits.device)].sum()
    # autograd.grad, not backward: it writes to no parameter's .grad, trainable or not.
    return torch.autograd.grad(score, outputs)


def _to_result(stage: str, h: Tensor, gradient: Tensor, logits: Tensor, targets: tuple[int, ...]) -> CamResult:
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    raw = (weights * h.detach().float()).sum(dim=1).relu()
    raw_max = raw.amax(dim=(1, 2))
    # Only a map of zeros is divided by one: a threshold would hide the maps of networks with tiny outputs.
    maps = raw / torch.where(raw_max > 0, raw_max, 1.0)[:, None, None]
    probabilities = logits.detach().float().softmax(dim=1).cpu().numpy()
    return CamResult(
        stage=stage,
        maps=maps.cpu().numpy(),
        raw_max=raw_max.cpu().numpy(),
        targets=targets,
        scores=probabilities[np.arange(len(targets)), list(targets)],
    )
