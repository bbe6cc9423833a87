"""A picture that a channel answers to as strongly as possible, made from noise step by step.

Gradient ascent on the mean activation of one channel (Erhan et al. 2009), in a Fourier basis with decorrelated colours
(Olah et al. 2017, https://distill.pub/2017/feature-visualization): each step moves the picture a little (jitter), and
strong contrasts between neighbours (total variation) and strong frequencies (L2) cost something. Without these the
answer is noise that means nothing to an eye.
"""

import importlib.metadata
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.atomic import digest_of
from lib.data.input_transform import InputTransform
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.explain.network import as_map, check_drawn_stage, evaluation_view
from lib.explain.pictures import PixelArray
from lib.explain.units import check_channel, network_digest
from lib.models.stages import StagedNetwork
from lib.progress import Progress, ignore_progress

MAX_ANIMATION_BYTES = 2 * 2**20
NUM_STEPS, FRAME_EVERY = 96, 4
WHAT = "Making the picture"
_FORMAT = 1
_LEARNING_RATE = 0.06
_JITTER_SHARE = 1 / 16  # of the side
_NOISE = 0.3
_TOTAL_VARIATION, _DECAY = 0.5, 1e-4
_FRAME_MS, _LAST_MS = 100, 1500
# From three independent numbers to the colours of photographs, whose channels go up and down together: the square root
# of the covariance of ImageNet's colours, as published with the method, its longest row scaled to 1.
_COLOURS = ((0.56282854, 0.58447580, 0.58447580), (0.19482528, 0.0, -0.19482528), (0.04329450, -0.10823626, 0.06494176))


@dataclass(frozen=True, eq=False)
class Making:
    """How a picture came about: `frames` (F, S, S, 3) from noise to the last, the channel's mean activation in each."""

    frames: PixelArray
    activations: tuple[float, ...]
    steps: tuple[int, ...]
    seed: int

    @property
    def picture(self) -> PixelArray:
        """The last frame."""
        return self.frames[-1]

    @property
    def is_silent(self) -> bool:
        """Whether the channel never answered, so that there was no direction to go."""
        return all(value == self.activations[0] for value in self.activations)

    def describe(self) -> str:
        """What was reached, in words."""
        if self.is_silent:
            return "The channel stayed silent: from this noise no direction leads to an answer. Try another seed."
        first, last = self.activations[0], self.activations[-1]
        return (
            f"Mean activation from {first:.2g} in noise to {last:.2g} after {self.steps[-1]} steps, seed {self.seed}."
        )


@dataclass(frozen=True, eq=False)
class MakingRequest:
    """A picture for one channel of a stage; `inputs` is whatever `InputTransform.of` reads."""

    network: StagedNetwork
    stage: str
    channel: int
    inputs: Any
    seed: int = 0
    num_steps: int = NUM_STEPS
    digest: str = ""  # `network_digest`, if it is known

    @cached_property
    def transform(self) -> InputTransform:
        """Side, mean and standard deviation of what the network is fed."""
        return InputTransform.of(self.inputs)

    @cached_property
    def key(self) -> str:
        """The cache's name for it: a hash of everything that it depends on."""
        transform = self.transform
        described = {
            "format": _FORMAT,
            "network": self.digest or network_digest(self.network, self.stage),
            "channel": int(self.channel),
            "inputs": [transform.size_px, *transform.mean, *transform.std],
            "seed": self.seed,
            "steps": self.num_steps,
            "versions": [importlib.metadata.version(package) for package in ("torch", "torchvision", "timm")],
        }
        return digest_of(described)

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return entry_path("units", f"{self.key}-making")

    @property
    def kept_steps(self) -> tuple[int, ...]:
        """After which steps a frame is kept: the noise, each fourth and the last."""
        return (*range(0, self.num_steps, FRAME_EVERY), self.num_steps)

    def read(self) -> Making | None:
        """The picture, if it was made before and its file is whole."""
        side, steps = self.transform.size_px, self.kept_steps
        rows = read_entry(self.path, len(steps), is_mapped=False)
        if rows is None or rows.shape != (len(steps), side * side * 3 + 8):
            return None
        content = np.asarray(rows)
        activations = np.ascontiguousarray(content[:, -8:]).view("<f8")[:, 0]
        frames = np.ascontiguousarray(content[:, :-8]).reshape(len(steps), side, side, 3)
        return Making(frames, tuple(activations.tolist()), steps, self.seed)


def maximize(request: MakingRequest, progress: Progress = ignore_progress) -> Making:
    """The picture of a request, from the cache or made now; the same seed gives the same picture.

    Args:
        request: which channel.
        progress: called after each step; it may raise Stopped, and nothing is left behind.

    Raises:
        UserError: unknown stage or channel, or a stage that has no places.
    """
    check_drawn_stage(request.network, request.stage)
    if (found := request.read()) is not None:
        return found
    frames, activations = [], []
    for step, (picture, activation) in enumerate(_ascend(request)):
        if step in request.kept_steps:
            frames.append((picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy())
            activations.append(activation)
        progress(step, request.num_steps, WHAT)
    made = Making(np.stack(frames), tuple(activations), request.kept_steps, request.seed)
    values = np.array(activations, dtype="<f8")[:, None].view(np.uint8)
    rows = np.concatenate([made.frames.reshape(len(frames), -1), values], axis=1)
    for _ in write_entry(request.path, iter([rows]), len(rows)):
        pass
    return made


def _ascend(request: MakingRequest) -> Iterator[tuple[Tensor, float]]:
    """Before the first and after each step: the picture (1, 3, S, S) in 0..1, and the channel's mean activation."""
    spec = check_drawn_stage(request.network, request.stage)
    parameter = next(cast(nn.Module, request.network).parameters(), torch.empty(0))
    side, device = request.transform.size_px, parameter.device
    generator = torch.Generator().manual_seed(request.seed)
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1)
        for values in (request.transform.mean, request.transform.std)
    )
    with evaluation_view(request.network) as view:
        pass  # what is entered below is this view, so that no step makes another
    with torch.inference_mode(mode=False):
        scale = _frequency_scale(side).to(device)
        spectrum = (_NOISE * torch.randn(*scale.shape, 2, generator=generator)).to(device)
        colours = torch.tensor(_COLOURS, device=device)
    optimizer = torch.optim.Adam([spectrum], lr=_LEARNING_RATE, maximize=True)
    for step in range(request.num_steps + 1):
        is_last = step == request.num_steps
        reach = 0 if is_last else max(1, round(side * _JITTER_SHARE))
        shift = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
        with evaluation_view(view):
            leaf = spectrum.detach().clone().requires_grad_()
            planes = torch.fft.irfft2(torch.view_as_complex(leaf) * scale, s=(side, side), norm="ortho") / 4
            picture = torch.einsum("khw,kc->chw", planes, colours).sigmoid()[None]
            batch = ((picture.roll(shift, dims=(2, 3)) - mean) / std).to(parameter.dtype)
            maps = as_map(view.forward_until(batch.contiguous(memory_format=torch.channels_last), request.stage), spec)
            activation = maps[0, check_channel(request.channel, maps.shape[1], request.stage)].float().mean()
            rough = picture.diff(dim=2).abs().mean() + picture.diff(dim=3).abs().mean()
            # Divided by its own size, so that the costs weigh alike in all networks.
            goal = activation / activation.detach().abs().clamp_min(1e-6)
            goal = goal - _TOTAL_VARIATION * rough - _DECAY * leaf.square().mean()
            (spectrum.grad,) = torch.autograd.grad(goal, leaf)
        yield picture.detach(), float(activation.detach())
        with torch.inference_mode(mode=False):
            optimizer.step()


def _frequency_scale(side: int) -> Tensor:
    """(3, S, S/2 + 1): amplitudes fall with frequency as in photographs, so that all waves are as easy to move.

    The mean colour moves eight times as easily as the longest wave: else no plain colour could be reached.
    """
    rows, columns = torch.fft.fftfreq(side), torch.fft.rfftfreq(side)
    scale = 1 / torch.hypot(rows[:, None], columns[None]).clamp_min(1 / side)
    scale[0, 0] *= 8
    return scale.expand(3, -1, -1).clone()


def animated_picture(making: Making, max_bytes: int = MAX_ANIMATION_BYTES) -> bytes:
    """The making as an animated WebP, or a GIF where Pillow cannot write one; smaller until it fits `max_bytes`."""
    from PIL import Image, features

    kind = "WEBP" if features.check("webp") else "GIF"
    durations = [_FRAME_MS] * (len(making.frames) - 1) + [_LAST_MS]
    side, content = making.frames.shape[1], b""
    while not content or (len(content) > max_bytes and side > 32):
        frames = [Image.fromarray(frame).resize((side, side)) for frame in making.frames]
        buffer = io.BytesIO()
        frames[0].save(
            buffer, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0,
            **({"quality": 75, "method": 2} if kind == "WEBP" else {}),
        )  # fmt: skip
        content, side = buffer.getvalue(), side * 3 // 4
    return content
