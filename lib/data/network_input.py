"""From one file to what a network is fed: the one path for grading, explaining, evaluating and uploads on pages.

A file is decoded as the training's data set was (crop policy, side of its pixel store), changed by the training's
preprocessing steps, resized and normalised. Each step of that changes the answer a little or a lot: a network trained
on a store of 64 px has never seen the fine detail of 384. Imports no torch until a batch is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lib.data.enhancement import NO_ENHANCEMENT, EnhancementChain, chain_of
from lib.data.images import DecodedImage
from lib.data.specs import check_crop_policy
from lib.data.value_scale import FULL_RANGE, ValueScale
from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX

if TYPE_CHECKING:
    import torch

    from lib.data.decoder_pool import DecoderPool, Source

_MAX_SIDE_PX = 4096
_INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class Resizing:
    """How a square becomes a network's input: reduced by `interpolation`, antialiased, then cropped about its centre.

    `crop_fraction` is the side of what is left as a share of the square's: with 0.875 and an input of 224 px a square
    is reduced to 256 px, of which the middle 224 are kept.
    """

    interpolation: str = "bilinear"
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.interpolation not in _INTERPOLATIONS:
            raise UserError(f"Unknown interpolation {self.interpolation!r}; choose {' or '.join(_INTERPOLATIONS)}.")
        if not 0.1 <= self.crop_fraction <= 1:
            raise UserError(f"The centre that a network sees must be 0.1 to 1 of the side, not {self.crop_fraction}.")

    def side_before_crop(self, size_px: int) -> int:
        """The side in pixels that a square is reduced to, of which `size_px` are kept."""
        return int(size_px / self.crop_fraction)

    def centre(self, squares: np.ndarray) -> np.ndarray:
        """The part of squares (N, S, S, 3) that the network sees, at their own resolution."""
        side = squares.shape[1]
        kept = round(side * self.crop_fraction)
        first = (side - kept) // 2
        return squares[:, first : first + kept, first : first + kept]


WHOLE_SQUARE = Resizing()


@dataclass(frozen=True)
class InputFormat:
    """How files become the input of one network.

    Attributes:
        size_px: side of the network's input.
        mean: per channel, of values from 0 to 1.
        std: the same.
        enhancement: steps on the stored square before its resize.
        store_side_px: side of the stored squares that the network was trained on; None for a network as published,
            which takes any store as it is.
        crop_policy: where the square lies in a file's image.
        value_scale: what is black and white in an image of more than 8 bits.
        resizing: how the square is reduced, and how much of it the network sees.
    """

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    enhancement: EnhancementChain = NO_ENHANCEMENT
    store_side_px: int | None = None
    crop_policy: str = "center_square"
    value_scale: ValueScale = FULL_RANGE
    resizing: Resizing = WHOLE_SQUARE

    @classmethod
    def of(cls, source: Any) -> "InputFormat":
        """Read a backbone's specification or the `preprocessing` part of a bundle's manifest.

        Raises:
            UserError: the manifest names no size, mean or standard deviation, or what is no number.
        """
        if isinstance(source, cls):
            return source
        content: Mapping[str, Any] = source if isinstance(source, Mapping) else _Attributes(source)
        try:
            size_px = next(content[key] for key in ("input_size_px", "size_px", "size") if key in content)
            mean, std = (cast(Any, tuple(content[key])) for key in ("mean", "std"))
            side = content.get("store_side_px")
            found = cls(
                int(size_px),
                mean,
                std,
                chain_of(content),
                None if side is None else int(side),
                str(content.get("crop_policy") or "center_square"),
                # A manifest of before there was a scale says nothing; a network as published has the fixed rule.
                ValueScale.of(content.get("value_scale")) if isinstance(source, Mapping) else FULL_RANGE,
                # Bundles of before there was a crop were made for the whole square.
                Resizing(str(content.get("interpolation", "bilinear")), float(content.get("crop_fraction", 1.0))),
            )
        except (KeyError, StopIteration, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"The preprocessing {source!r} lacks an input size, mean or std; save the run again with this version."
            ) from None
        check_crop_policy(found.crop_policy)
        for name, value in (("input size", found.size_px), ("store's side", found.store_side_px or 1)):
            if not 1 <= value <= _MAX_SIDE_PX:
                raise UserError(f"The {name} of this classifier is {value} px; 1 to {_MAX_SIDE_PX} px can be used.")
        return found

    @property
    def decoded_side_px(self) -> int:
        """Side of the square that a file is decoded to."""
        return self.store_side_px or DEFAULT_STORE_SIDE_PX

    @property
    def decoding_key(self) -> str:
        """What tells one way of decoding from another, for caches of decoded files."""
        return f"{self.decoded_side_px}:{self.crop_policy}:{self.value_scale}"

    def decode(self, source: "Source") -> DecodedImage:
        """Decode one file (a path or bytes) as the training's data set was decoded; raises BadImage."""
        from lib.data.decoder_pool import decode_one

        return decode_one(
            source, side_px=self.decoded_side_px, crop_policy=self.crop_policy, value_scale=self.value_scale
        )

    def decoder_pool(self, num_workers: int = 2) -> "DecoderPool":
        """Processes that decode many files in the same way."""
        from lib.data.decoder_pool import DecoderPool

        return DecoderPool(
            num_workers, side_px=self.decoded_side_px, crop_policy=self.crop_policy, value_scale=self.value_scale
        )

    def squares(self, pixels: np.ndarray) -> np.ndarray:
        """Stored squares (N, S, S, 3) at the side that the network was trained on, as the decoder would have cut them.

        Only squares of another data set's store change.
        """
        side = self.store_side_px
        if side is None or pixels.shape[1] == side:
            return pixels
        from PIL import Image

        size = (side, side)
        resized = [Image.fromarray(square).resize(size, Image.Resampling.BICUBIC) for square in pixels]
        return np.stack([np.asarray(square) for square in resized])

    def batch(
        self, pixels: np.ndarray, *, device: "str | torch.device" = "cpu", dtype: "torch.dtype | None" = None
    ) -> "torch.Tensor":
        """Squares (N, S, S, 3) uint8 as a normalised batch (N, 3, size, size)."""
        from lib.data.preprocessing import to_batch

        squares = self.enhancement(self.squares(np.ascontiguousarray(pixels)))
        return to_batch(
            squares, size_px=self.size_px, mean=self.mean, std=self.std, resizing=self.resizing,
            device=device, dtype=dtype,
        )  # fmt: skip

    def framed(self, square: np.ndarray) -> np.ndarray:
        """The square (S, S, 3) that maps of the network lie on: cropped as its input is, in its own colours."""
        return self.resizing.centre(self.enhancement.framed(self.squares(square[None])))[0]


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
