"""From a file or the pixel store to what a network is fed: the one path for training, explaining and grading.

A file is decoded as the training's data set was (crop policy, side of its pixel store), changed by the training's
enhancement steps, resized and normalised. Each step of that changes the answer a little or a lot: a network trained
on a store of 64 px has never seen the fine detail of 384. Imports no torch until a batch is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from lib.data.augmentation import WarpParameters, warp_images
from lib.data.decoder_pool import DecoderPool, Source, decode_one, kept_decoders
from lib.data.enhancement import NO_ENHANCEMENT, EnhancementChain, chain_of
from lib.data.images import DecodedImage
from lib.data.specs import FULL_RANGE, ValueScale, check_crop_policy
from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX

if TYPE_CHECKING:
    import torch

_MAX_SIDE_PX = 4096
_KEYS = (  # what is read of a specification or manifest
    *("input_size_px", "size_px", "size", "mean", "std", "enhancement", "store_side_px", "crop_policy"),
    *("interpolation", "crop_fraction"),
)
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

    def centre(self, squares: np.ndarray) -> np.ndarray:
        """The part of squares (N, S, S, 3) that the network sees, at their own resolution."""
        side = squares.shape[1]
        kept = round(side * self.crop_fraction)
        first = (side - kept) // 2
        return squares[:, first : first + kept, first : first + kept]


WHOLE_SQUARE = Resizing()


@dataclass(frozen=True)
class InputTransform:
    """How files become the input of one network."""

    size_px: int  # side of the network's input
    mean: tuple[float, float, float]  # per channel, of values from 0 to 1, as `std`
    std: tuple[float, float, float]
    enhancement: EnhancementChain = NO_ENHANCEMENT  # steps on the stored square before its resize
    # Side of the stored squares that the network was trained on; one as published (None) takes any store as it is.
    store_side_px: int | None = None
    crop_policy: str = "center_square"  # where the square lies in a file's image
    value_scale: ValueScale = FULL_RANGE  # what is black and white in an image of more than 8 bits
    resizing: Resizing = WHOLE_SQUARE

    @classmethod
    def of(cls, source: Any) -> "InputTransform":
        """Read a backbone's specification or the `preprocessing` part of a bundle's manifest.

        Raises UserError where the manifest names no size, mean or standard deviation, or what is no number.
        """
        if isinstance(source, cls):
            return source
        is_manifest = isinstance(source, Mapping)
        content = source if is_manifest else {key: getattr(source, key) for key in _KEYS if hasattr(source, key)}
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
                ValueScale.of(content.get("value_scale")) if is_manifest else FULL_RANGE,
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

    def decode(self, source: Source) -> DecodedImage:
        """Decode one file (a path or bytes) as the training's data set was decoded; raises BadImage."""
        return decode_one(source, **self._decoding)

    def decoder_pool(self, num_workers: int = 2) -> DecoderPool:
        """Processes that decode many files in the same way."""
        return DecoderPool(num_workers, **self._decoding)

    def kept_decoders(self, *, is_measured: bool = False) -> DecoderPool:
        """The processes that stay for the next call, decoding in the same way; not to be closed."""
        return kept_decoders(**self._decoding, is_measured=is_measured)

    @property
    def _decoding(self) -> dict[str, Any]:
        return {"side_px": self.decoded_side_px, "crop_policy": self.crop_policy, "value_scale": self.value_scale}

    def squares(self, pixels: np.ndarray) -> np.ndarray:
        """Stored squares (N, S, S, 3) at the side that the network was trained on, as the decoder would have cut them.

        Only squares of another data set's store change.
        """
        side = self.store_side_px
        if side is None or pixels.shape[1] == side:
            return pixels
        resized = (Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC) for square in pixels)
        return np.stack([np.asarray(square) for square in resized])

    def batch(
        self, pixels: np.ndarray, *, device: "str | torch.device" = "cpu", dtype: "torch.dtype | None" = None
    ) -> "torch.Tensor":
        """Squares (N, S, S, 3) uint8 as a normalised batch (N, 3, size, size)."""
        squares = self.enhancement(self.squares(np.ascontiguousarray(pixels)))
        return to_batch(
            squares, size_px=self.size_px, mean=self.mean, std=self.std, resizing=self.resizing,
            device=device, dtype=dtype,
        )  # fmt: skip

    def framed(self, square: np.ndarray) -> np.ndarray:
        """The square (S, S, 3) that maps of the network lie on: cropped as its input is, in its own colours."""
        return self.resizing.centre(self.enhancement.framed(self.squares(square[None])))[0]

    def framed_mask(self, mask: np.ndarray) -> np.ndarray | None:
        """A mask (S, S) of the stored square, cropped as `framed` crops, at its own resolution.

        None where steps crop by what they see in the image: nothing then says where the mask lies.
        """
        if self.enhancement.moves:
            return None
        return self.resizing.centre(mask[None])[0]


def to_batch(
    pixels: np.ndarray,
    *,
    size_px: int,
    mean: Sequence[float],
    std: Sequence[float],
    resizing: Resizing = WHOLE_SQUARE,
    device: "str | torch.device" = "cpu",
    dtype: "torch.dtype | None" = None,
) -> "torch.Tensor":
    """Resize (antialiased, by default bilinear), crop about the centre, scale to 0..1 and normalise.

    `pixels` is uint8 (N, S, S, 3); returns (N, 3, size_px, size_px) in channels_last layout, float32 unless `dtype`
    says otherwise. `mean` and `std` are per channel, of values from 0 to 1.
    """
    import torch
    from torch.nn import functional as F

    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8 (N, S, S, 3), not {pixels.dtype} {pixels.shape}")
    # A copy, because torch must not hold the read-only memory of a map. (N, S, S, 3) seen as (N, 3, S, S) is
    # channels_last already.
    batch = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
    side_px = int(size_px / resizing.crop_fraction)  # of which `size_px` are kept
    if batch.shape[2:] != (side_px, side_px):
        # As bytes, and before the transfer: seven times as fast as in float32 (0.35 against 2.6 ms an image, 256 to
        # 224 px), the same on every device, rounded to one level of 255.
        batch = F.interpolate(
            batch, size=(side_px, side_px), mode=resizing.interpolation, antialias=True, align_corners=False
        )
    first = (side_px - size_px) // 2
    batch = batch[:, :, first : first + size_px, first : first + size_px]
    batch = batch.to(device).float()
    # (x / 255 - mean) / std in one multiplication and one addition a value.
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float32, device=batch.device))
    shift = -torch.tensor(mean, dtype=torch.float32, device=batch.device) * 255 * scale
    batch = batch.mul_(scale.view(1, 3, 1, 1)).add_(shift.view(1, 3, 1, 1))
    return batch.to(dtype=dtype or torch.float32, memory_format=torch.channels_last)


def warped_batch(
    pixels: np.ndarray,
    drawn: Sequence[WarpParameters],
    *,
    size_px: int,
    mean: Sequence[float],
    std: Sequence[float],
    resizing: Resizing = WHOLE_SQUARE,
    device: "str | torch.device" = "cpu",
) -> "torch.Tensor":
    """Like `to_batch`, of images turned, cropped and recoloured on the way, from the store's own resolution."""
    import torch

    pixels = resizing.centre(pixels)
    # At most twice the side: reduced further without antialiasing, an image would flicker from draw to draw.
    side = min(pixels.shape[1], 2 * size_px)
    reduced = Resizing(resizing.interpolation)  # cropped already
    images = to_batch(pixels, size_px=side, mean=(0.0,) * 3, std=(1.0,) * 3, resizing=reduced, device=device)
    views = warp_images(images, drawn, size_px=size_px)
    centre, scale = (views.new_tensor(list(values)).view(1, 3, 1, 1) for values in (mean, std))
    return ((views - centre) / scale).contiguous(memory_format=torch.channels_last)
