"""All channels of one stage for one image: how strongly and in how many places each answers, and its picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lib.data.input_transform import InputTransform
from lib.explain.attribution import stage_activations, top_channels
from lib.explain.network import make_batch
from lib.explain.pictures import (
    FloatArray,
    PixelArray,
    colorize,
    luma,
    magnitude_picture,
    overlay,
    resample,
    signed_picture,
)
from lib.explain.units import check_channel
from lib.models.stages import StagedNetwork

NEAR_ZERO = 0.01  # of the largest magnitude of the stage: what an eye would not see beside it
_SIGNED_FROM = 0.1  # the same for negative values: SiLU and its kin dip a little below zero


@dataclass(frozen=True)
class ChannelFacts:
    """What one channel does in one image.

    `strength` is the mean magnitude, `rank` its place by strength (1 is the strongest), `sparsity` the share of places
    that are zero or nearly so: below 1 % of the stage's largest magnitude in this image.
    """

    channel: int
    rank: int
    num_channels: int
    strength: float
    sparsity: float
    low: float
    high: float
    is_silent: bool

    def describe(self) -> str:
        """The facts as a sentence."""
        if self.is_silent:
            return f"Channel {self.channel} is silent in this image: no place reaches 1% of the stage's largest."
        return (
            f"Rank {self.rank:,} of {self.num_channels:,} by strength (mean magnitude {self.strength:.2g}); "
            f"{self.sparsity:.0%} of its places are zero or nearly so; values from {self.low:.2g} to {self.high:.2g}."
        )


@dataclass(frozen=True, eq=False)
class ChannelMaps:
    """The maps (C, h, w) of one stage, and the square (S, S, 3) of the image that they lie on."""

    maps: FloatArray
    framed: PixelArray
    stage: str

    @cached_property
    def order(self) -> np.ndarray:
        """The channels, strongest first."""
        return top_channels(self.maps, len(self.maps))

    @cached_property
    def largest(self) -> float:
        """The largest magnitude of the stage."""
        return float(np.abs(self.maps).max())

    @cached_property
    def is_signed(self) -> bool:
        """Whether negative values say something: linear outputs, tokens."""
        return bool(self.maps.min() < -_SIGNED_FROM * self.largest)

    @cached_property
    def num_silent(self) -> int:
        """How many channels no place of the image wakes."""
        return int((np.abs(self.maps).max(axis=(1, 2)) <= NEAR_ZERO * self.largest).sum())

    def facts(self, channel: int) -> ChannelFacts:
        """What a channel does; raises UserError if there is none of that number."""
        values = self.maps[check_channel(channel, len(self.maps), self.stage)]
        magnitude = np.abs(values)
        return ChannelFacts(
            int(channel),
            int(np.flatnonzero(self.order == channel)[0]) + 1,
            len(self.maps),
            float(magnitude.mean()),
            float((magnitude <= NEAR_ZERO * self.largest).mean()),
            float(values.min()),
            float(values.max()),
            bool(magnitude.max() <= NEAR_ZERO * self.largest),
        )

    def over_image(self, channel: int, side_px: int) -> PixelArray:
        """A channel over the grey image (side_px, side_px, 3), scaled to its own largest magnitude.

        Without negative values as a heat map is; else red for positive, blue for negative, the image's grey for zero. A
        silent channel has no colour.
        """
        from PIL import Image

        values = self.maps[check_channel(channel, len(self.maps), self.stage)]
        pixels = np.asarray(Image.fromarray(self.framed).resize((side_px, side_px), Image.Resampling.BICUBIC))
        top = float(np.abs(values).max())
        if top <= NEAR_ZERO * self.largest:
            return _signed_overlay(pixels, np.zeros_like(values))
        return _signed_overlay(pixels, values / top) if self.is_signed else overlay(pixels, np.clip(values / top, 0, 1))

    def cells(self, channel: int, side_px: int) -> PixelArray:
        """The bare map of a channel as cells, all channels on one scale."""
        values = self.maps[check_channel(channel, len(self.maps), self.stage)]
        if self.is_signed:
            return signed_picture(values, side_px, largest=self.largest)
        return magnitude_picture(values, side_px, high=self.largest)

    def page(self, number: int, size: int) -> Sequence[int]:
        """The channels of page `number` (from 1) in order of strength."""
        return [int(channel) for channel in self.order[(number - 1) * size : number * size]]


def channel_maps(network: StagedNetwork, pixels: PixelArray, inputs: Any, stage: str) -> ChannelMaps:
    """All channels of a stage for one square (S, S, 3); `inputs` is whatever `InputTransform.of` reads.

    Raises:
        UserError: unknown stage, one that cannot be drawn, or a network of hand-made filters.
    """
    transform = InputTransform.of(inputs)
    maps = stage_activations(network, make_batch(pixels, network, transform), stage)
    return ChannelMaps(maps, transform.framed(pixels), stage)


def _signed_overlay(pixels: PixelArray, values: FloatArray) -> PixelArray:
    enlarged = resample(values, pixels.shape[:2])
    share = np.clip(np.abs(enlarged), 0, 0.85)[..., None]
    return np.rint(
        (1 - share) * luma(pixels)[..., None] + share * colorize(0.5 + 0.5 * enlarged, palette="RdBu")
    ).astype(np.uint8)
