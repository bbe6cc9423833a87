"""The backbone whose frozen stages make features: pretrained, or random with sensible BatchNorm statistics."""

from typing import TYPE_CHECKING

import numpy as np

from lib.models.backbones import BACKBONES, BackboneSpec

if TYPE_CHECKING:
    import torch

    from lib.models.stages import Backbone

_NUM_CALIBRATION_IMAGES = 32


def frozen_backbone(name: str, *, weights: str, seed: int) -> "Backbone":
    """Build a backbone whose frozen output is fit to be read.

    A random network in evaluation mode shrinks (MobileNetV2: 1e-9) or blows up (InceptionV3: 1e12) what passes through,
    because its BatchNorm layers never saw an image. They get the statistics of generated pictures: no image of any data
    set is used, so the features do not depend on who is in which split.
    """
    from lib.models.stages import build_backbone, set_batchnorm_statistics

    backbone = build_backbone(name, weights=weights, seed=seed)
    if weights == "random":
        set_batchnorm_statistics(backbone, _calibration_batch(BACKBONES.get(name), seed))
    return backbone


def _calibration_batch(spec: BackboneSpec, seed: int) -> "torch.Tensor":
    return smooth_pictures(
        _NUM_CALIBRATION_IMAGES, spec.input_size_px if spec.is_fixed_size else max(spec.min_input_px, 128), seed=seed
    )


def smooth_pictures(num_images: int, side_px: int, *, seed: int) -> "torch.Tensor":
    """Random pictures (N, 3, side, side) of deviation 1: amplitude falls with frequency as in photographs (Field 1987),
    colours correlate.
    """
    import torch

    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None, :])
    frequency[0, 0] = np.inf
    noise = generator.standard_normal((num_images, 3, side_px, side_px))
    noise = 0.8 * noise.mean(1, keepdims=True) * np.sqrt(3) + 0.6 * noise
    smooth = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(side_px, side_px))
    smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
    batch = torch.from_numpy(smooth.astype(np.float32))
    return batch.contiguous(memory_format=torch.channels_last)
