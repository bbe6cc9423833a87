"""From one stored picture to the batch that a network expects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.data.enhancement import NO_ENHANCEMENT, EnhancementChain, chain_of
from lib.errors import UserError
from lib.models.stages import StagedNetwork


@dataclass(frozen=True)
class InputFormat:
    """The preprocessing that belongs to a network's weights: side of the square in pixels, and colour statistics."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    enhancement: EnhancementChain = NO_ENHANCEMENT

    @classmethod
    def of(cls, source: Any) -> "InputFormat":
        """Read a backbone's specification or the `preprocessing` part of a bundle's manifest.

        Raises:
            UserError: the manifest names no size, mean or standard deviation.
        """
        if isinstance(source, cls):
            return source
        content: Mapping[str, Any] = source if isinstance(source, Mapping) else _Attributes(source)
        try:
            size_px = next(content[key] for key in ("input_size_px", "size_px", "size") if key in content)
            mean, std = (cast(Any, tuple(content[key])) for key in ("mean", "std"))
            return cls(int(size_px), mean, std, chain_of(content))
        except (KeyError, StopIteration, TypeError, ValueError):
            raise UserError(
                f"The preprocessing {source!r} lacks an input size, mean or std; save the run again with this version."
            ) from None


class _Attributes(Mapping[str, Any]):
    """An object's attributes, read like a mapping."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self._source, key)
        except AttributeError:
            raise KeyError(key) from None

    def __iter__(self) -> Any:
        return iter(dir(self._source))

    def __len__(self) -> int:
        return len(dir(self._source))


def make_batch(pixels: np.ndarray[Any, np.dtype[np.uint8]], network: StagedNetwork, preprocessing: Any) -> Tensor:
    """One picture (S, S, 3) as a batch (1, 3, size, size) on the network's device, in its dtype."""
    from lib.data.preprocessing import to_batch

    wanted = InputFormat.of(preprocessing)
    parameter = next(cast(nn.Module, network).parameters(), torch.empty(0))
    batch: Tensor = to_batch(
        wanted.enhancement(np.ascontiguousarray(pixels)[None]),
        size_px=wanted.size_px,
        mean=wanted.mean,
        std=wanted.std,
        device=parameter.device,
        dtype=parameter.dtype,
    )
    return batch
