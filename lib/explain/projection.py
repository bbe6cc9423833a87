"""What in one image a channel answered to, passed back from its largest place to the pixels.

Deconvolution (Zeiler and Fergus 2014, arXiv:1311.2901) and guided back-propagation (Springenberg et al. 2015,
arXiv:1412.6806), both captum's. Both fail sanity checks (Adebayo et al. 2018, arXiv:1810.03292; Nie et al. 2018, arXiv:
1805.07039): they partly recover the image, whatever the weights are, so that a picture of edges proves nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.explain.network import as_map, check_drawn_stage, evaluation_view, make_batch
from lib.explain.pictures import PixelArray
from lib.explain.rectifiers import modified_gradient, why_no_guided_rule
from lib.explain.units import check_channel, draw_edge
from lib.models.receptive_field import receptive_field
from lib.models.stages import StagedNetwork

PROJECTIONS = {"deconvolution": "Deconvolution", "guided": "Guided back-propagation"}
WARNING = "A visualisation that fails sanity checks: it shows edges of the image whatever the weights."
_BRIGHT = 99.8  # percentile of the magnitudes that becomes full colour: few pixels alone would leave the rest grey


@dataclass(frozen=True, eq=False)
class Projection:
    """One channel's largest place passed back to the pixels.

    `gradient` is (3, S, S), signed; `seen` what the place sees of the input: top, left, bottom, right in pixels.
    """

    kind: str
    gradient: np.ndarray
    place: tuple[int, int]
    activation: float
    seen: tuple[int, int, int, int]

    @property
    def picture(self) -> PixelArray:
        """The whole input (S, S, 3); mid grey is 0."""
        magnitude = np.abs(self.gradient)
        top = float(np.percentile(magnitude[magnitude > 0], _BRIGHT)) if (magnitude > 0).any() else 1.0
        values = np.clip(0.5 + 0.5 * self.gradient.transpose(1, 2, 0) / top, 0, 1)
        return np.rint(255 * values).astype(np.uint8)

    @property
    def crop(self) -> PixelArray:
        """The part that the place sees; beyond it there is nothing."""
        top, left, bottom, right = self.seen
        return self.picture[top:bottom, left:right]


def why_no_projection(network: StagedNetwork) -> str:
    """Why the pictures are not offered for a network, as a sentence; "" where they are."""
    return why_no_guided_rule(network)


def seen_in(framed: PixelArray, projection: Projection) -> PixelArray:
    """The square (S, S, 3) that the network sees, with a white edge around what the place sees of it."""
    scale = len(framed) / projection.gradient.shape[1]
    canvas = framed.copy()
    width = max(1, len(framed) // 128)
    top, left, bottom, right = (round(edge * scale) for edge in projection.seen)
    limit = len(framed) - 2 * width  # so that the edge stays inside
    inner = (max(top, 2 * width), max(left, 2 * width), min(bottom, limit), min(right, limit))
    draw_edge(canvas, inner, width)
    return canvas


def seen_of(framed: PixelArray, projection: Projection) -> PixelArray:
    """The part of the square (S, S, 3) that the place sees."""
    scale = len(framed) / projection.gradient.shape[1]
    top, left, bottom, right = (round(edge * scale) for edge in projection.seen)
    return framed[top : max(bottom, top + 1), left : max(right, left + 1)]


def project_back(
    network: StagedNetwork, pixels: PixelArray, inputs: Any, *, stage: str, channel: int, kind: str = "deconvolution"
) -> Projection:
    """Pass the largest place of a channel back to the pixels of one square (S, S, 3).

    Args:
        network: which stays as it is: captum's hooks sit on a copy that shares its parameters.
        pixels: uint8, as decoded or stored.
        inputs: whatever `InputTransform.of` reads.
        stage: one that can be drawn.
        channel: of that stage.
        kind: one of PROJECTIONS.

    Raises:
        UserError: unknown stage, channel or kind, a network without ReLU, a channel that is silent in this image.
    """
    spec = check_drawn_stage(network, stage)
    if kind not in PROJECTIONS:
        raise UserError(f"Unknown projection {kind!r}. Choose one of: {', '.join(PROJECTIONS)}.")
    if reason := why_no_projection(network):
        raise UserError(f"{PROJECTIONS[kind]} does not fit: {reason}")
    transform = InputTransform.of(inputs)
    batch = make_batch(pixels, network, transform)
    with evaluation_view(network) as view, torch.no_grad():
        maps = as_map(view.forward_until(batch, stage), spec)[0].float()
    values = maps[check_channel(channel, len(maps), stage)]
    activation = float(values.max())
    if activation == 0:
        raise UserError(f"Channel {channel} of {stage!r} is silent in this image: there is nothing to pass back.")
    row, column = divmod(int(values.argmax()), values.shape[1])

    def largest_place(private: Any, images: Tensor) -> Tensor:
        return as_map(private.forward_until(images, stage), spec)[:, int(channel), row, column]

    with torch.inference_mode(mode=False), torch.enable_grad():
        gradient = modified_gradient(network, kind, batch, largest_place)[0]
    seen = receptive_field(network, stage, transform.size_px).box(row, column)
    return Projection(kind, gradient.float().cpu().numpy(), (row, column), activation, seen)
