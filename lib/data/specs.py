"""What a data set says of itself: classes, crop, licence, and one scale for images deeper than 8 bits.

At its import a set chooses which value becomes black and which white, from all its deep images together: the range that
their values use, rounded outward to a bit depth (8, 10, 12, 14 or 16 bits; floats from 0 to 1, or to a power of two),
the lowest and highest thousandth of each image left out, so that a single hot pixel moves nothing. Every classifier
trained on it keeps the scale: a dim image stays dim beside a bright one, and a new file is read as the training images
were. A data set without deep images, and a network as published, read deep files by a fixed rule: whole numbers from 0
to 65,535, floats from 0 to 1. Data sets and classifiers of before there was a scale keep what they were made with: each
file by the range of its own values.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX

FORMAT_VERSION = 1
CROP_POLICIES = ("center_square", "retina_box")
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
        scale = self.integer if kind == INTEGER else self.floating
        return None if self.is_by_file else scale

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return vars(self) | {"integer": list(self.integer), "floating": list(self.floating)}

    @classmethod
    def of(cls, content: Any) -> "ValueScale":
        """Read what `to_dict` wrote; nothing (of before there was a scale) means each file by its own values.

        Raises UserError where it is not well-formed.
        """
        if content is None or isinstance(content, cls):
            return content or BY_FILE
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
    return 0.0 if low >= 0 else -float(2.0 ** np.ceil(np.log2(-low))), top


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The description of a data set; `class_names` are in the order of the targets 0, 1, ..."""

    name: str
    title: str
    domain: str = "photographs"
    class_names: tuple[str, ...]
    is_ordinal: bool = False  # the classes are grades, so that quadratic weighted kappa means something
    is_medical: bool = False  # every grade is shown with "research and education only"
    crop_policy: str = "center_square"  # or "retina_box": the box round a bright disc on black, padded to a square
    store_side_px: int = DEFAULT_STORE_SIDE_PX
    value_scale: ValueScale | None = None  # of images of more than 8 bits; None: each by its own, as was done once
    mask_names: tuple[str, ...] = ()  # what the values 1, 2, ... of the masks mean, where there are masks
    licence: str = ""
    source_url: str = ""
    description: str = ""
    split_caveat: str = ""  # what every score of this data set must say of its split, where there is something to say
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_crop_policy(self.crop_policy)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def is_fundus(self) -> bool:
        """Whether these are photographs of the fundus: so said, or cropped to the retina."""
        return "fundus" in self.domain or self.crop_policy == "retina_box"

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return dataclasses.asdict(self) | {
            "class_names": list(self.class_names),
            "value_scale": self.value_scale.to_dict() if self.value_scale else None,
            "mask_names": list(self.mask_names),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "DatasetSpec":
        """Rebuild from `to_dict`; raises UserError on a newer format or unknown and missing keys."""
        version = int(content.get("format_version", FORMAT_VERSION))
        if version > FORMAT_VERSION:
            raise UserError(f"This data set has format {version}, newer than {FORMAT_VERSION}; update the program.")
        try:
            scale = content.get("value_scale")
            names: dict[str, Any] = {"value_scale": None if scale is None else ValueScale.of(scale)}
            names |= {"class_names": tuple(content["class_names"]), "mask_names": tuple(content.get("mask_names", ()))}
            return cls(**(content | names))
        except (KeyError, TypeError) as error:
            raise UserError(
                f"The data set's description cannot be read ({error}); import the data set again."
            ) from None


def check_crop_policy(crop_policy: str) -> None:
    """Raise UserError if there is no crop policy of that name."""
    if crop_policy not in CROP_POLICIES:
        raise UserError(f"Unknown crop policy {crop_policy!r}. Choose one of: {', '.join(CROP_POLICIES)}.")
