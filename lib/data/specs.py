"""What a data set says of itself: classes, crop, licence; the part that pages, tests and reports read."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from lib.data.value_scale import ValueScale
from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX

FORMAT_VERSION = 1
CROP_POLICIES = ("center_square", "retina_box")


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
