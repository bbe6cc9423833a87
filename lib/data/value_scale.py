"""One scale for images deeper than 8 bits: which value becomes black and which white, for a whole data set alike.

A data set chooses it at its import, from all its deep images together: the range that their values use, rounded outward
to a bit depth (8, 10, 12, 14 or 16 bits; floats from 0 to 1, or to a power of two), the lowest and highest thousandth
of each image left out, so that a single hot pixel moves nothing. It is kept in the data set's description and with
every classifier trained on it: a dim image stays dim beside a bright one, and a new file is read as the training images
were.

A data set without deep images, and a network as published, read deep files by a fixed rule: whole numbers from 0 to
65,535, floats from 0 to 1. Data sets and classifiers of before there was a scale keep what they were made with: each
file by the range of its own values.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import UserError

INTEGER, FLOAT = "integer", "float"
Range = tuple[float, float]

_FULL_INTEGER, _FULL_FLOAT = (0.0, 65535.0), (0.0, 1.0)
_BITS = (8, 10, 12, 14, 16)
_IGNORED_SHARE = 0.001  # at each end
_MAX_VALUES = 2**22  # looked at in one image


@dataclass(frozen=True)
class ValueRange:
    """What the values of one deep image use, its extremes left out."""

    kind: str  # "integer" or "float"
    low: float
    high: float


@dataclass(frozen=True)
class ValueScale:
    """The values that become 0 and 255, for whole numbers of more than 8 bits and for floats.

    `num_images` deep images chose it; with none it is the fixed rule. `is_by_file` is the rule of before: each file by
    its own values.
    """

    integer: Range = _FULL_INTEGER
    floating: Range = _FULL_FLOAT
    num_images: int = 0
    is_by_file: bool = False

    def range_of(self, kind: str) -> Range | None:
        """Black and white for a kind of values; None where each file has its own."""
        if self.is_by_file:
            return None
        return self.integer if kind == INTEGER else self.floating

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {
            "integer": list(self.integer),
            "floating": list(self.floating),
            "num_images": self.num_images,
            "is_by_file": self.is_by_file,
        }

    @classmethod
    def of(cls, content: Any) -> "ValueScale":
        """Read what `to_dict` wrote; nothing (of before there was a scale) means each file by its own values.

        Raises:
            UserError: it is not well-formed.
        """
        if content is None:
            return BY_FILE
        if isinstance(content, cls):
            return content
        try:
            ranges = [(float(low), float(high)) for low, high in (content["integer"], content["floating"])]
            if not all(np.isfinite(ends).all() and ends[0] < ends[1] for ends in ranges):
                raise ValueError(ranges)
            return cls(ranges[0], ranges[1], int(content["num_images"]), bool(content["is_by_file"]))
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"The scale of values {content!r:.100} cannot be read; import the data set or train the run again."
            ) from None

    @property
    def sentence(self) -> str:
        """How deep images are read, in words."""
        if self.is_by_file:
            return "Images of more than 8 bits are scaled file by file, as this version was made."
        (low, high), (least, most) = self.integer, self.floating
        how = f"whole numbers {low:g} to {high:g} and floats {least:g} to {most:g} become 0 to 255"
        if not self.num_images:
            return f"Images of more than 8 bits (there are none here): {how}."
        return f"One scale for the {self.num_images} images of more than 8 bits: {how}."


FULL_RANGE, BY_FILE = ValueScale(), ValueScale(is_by_file=True)


def measure_range(values: np.ndarray, kind: str) -> ValueRange:
    """The range that the values of one image use; raises ValueError where none is finite."""
    flat = values.ravel()
    flat = flat[:: -(-flat.size // _MAX_VALUES)]
    if kind == FLOAT:
        flat = flat[np.isfinite(flat)]
    if not flat.size:
        raise ValueError("no finite value")
    ignored = min(max(1, int(flat.size * _IGNORED_SHARE)), (flat.size - 1) // 2)
    ordered = np.partition(flat, (ignored, flat.size - 1 - ignored))
    return ValueRange(kind, float(ordered[ignored]), float(ordered[flat.size - 1 - ignored]))


def common_scale(ranges: Iterable[ValueRange]) -> ValueScale:
    """The scale of a data set, from the ranges of all its deep images."""
    found = list(ranges)
    scales = {}
    for kind, full in ((INTEGER, _FULL_INTEGER), (FLOAT, _FULL_FLOAT)):
        own = [one for one in found if one.kind == kind]
        scales[kind] = _rounded(min(one.low for one in own), max(one.high for one in own), kind) if own else full
    return ValueScale(scales[INTEGER], scales[FLOAT], len(found))


def _rounded(low: float, high: float, kind: str) -> Range:
    """Outward to 0 or a power of two below, and to a bit depth above."""
    tops = [float(2**bits - 1) for bits in (*_BITS, *range(17, 64))]
    if kind == FLOAT:
        tops = [1.0, *(float(2**bits) for bits in range(1, 8)), *tops]
    top = next((top for top in tops if high <= top), high)
    if low >= 0:
        return 0.0, top
    return -float(2.0 ** np.ceil(np.log2(-low))), top
