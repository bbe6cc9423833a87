"""Which images of a data set take part, and in which shares they train, validate and test.

A published experiment rarely uses all of its data: two hundred images of each grade, the first ten classes, a balanced
test set. A protocol says so in six numbers; the images are chosen by a hash of seed and image, so that the same images
are chosen on every machine, whatever the order of the table, and a larger cap adds to a smaller one.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataProtocol:
    """A subset and the shares of its parts; None leaves a question to the data set.

    `max_classes` keeps the first classes in their order; `max_per_class` caps the images of a class before the split,
    `max_train_per_class` and `max_test_per_class` cap those of one part after it; `test_fraction` of the images and
    `val_fraction` of the rest are held out where the source has no split of its own.
    """

    max_classes: int | None = None
    max_per_class: int | None = None
    max_train_per_class: int | None = None
    max_test_per_class: int | None = None
    test_fraction: float | None = None
    val_fraction: float | None = None

    @classmethod
    def of(cls, config: Any) -> "DataProtocol":
        """The protocol of a training config, which has fields of the same names."""
        return cls(**{field.name: getattr(config, field.name, None) for field in dataclasses.fields(cls)})

    @property
    def is_whole(self) -> bool:
        """Whether every image takes part and the shares are the usual ones."""
        return self == DataProtocol()

    @property
    def key(self) -> str:
        """A short text that tells protocols apart."""
        said = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return json.dumps(said, sort_keys=True)

    def describe(self) -> str:
        """The protocol in words, such as "200 images a class, 30 % to test"; empty where it says nothing."""
        parts = []
        if self.max_classes:
            parts.append(f"the first {self.max_classes} classes")
        if self.max_per_class:
            parts.append(f"{self.max_per_class} images a class")
        if self.max_train_per_class:
            parts.append(f"{self.max_train_per_class} training images a class")
        if self.max_test_per_class:
            parts.append(f"{self.max_test_per_class} test images a class")
        if self.test_fraction:
            parts.append(f"{100 * self.test_fraction:g} % to test")
        if self.val_fraction:
            parts.append(f"{100 * self.val_fraction:g} % of the rest to validate")
        return ", ".join(parts)


def choose_rows(
    targets: np.ndarray, image_ids: np.ndarray, max_per_class: int | None, *, seed: int, what: str = "image"
) -> np.ndarray:
    """Row numbers (n,), rising, of at most `max_per_class` images of each class, drawn by a hash of seed and image.

    `what` names the draw, so that two draws of one seed are independent of each other.
    """
    if max_per_class is None:
        return np.arange(len(targets))
    drawn = np.array([_draw(seed, what, str(image_id)) for image_id in image_ids], dtype=np.uint64)
    order = np.lexsort((drawn, targets))  # by class, then by draw
    ordered = np.asarray(targets)[order]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered, side="left")
    return np.sort(order[place < max_per_class])


def check_protocol(protocol: DataProtocol, num_classes: int) -> None:
    """Raise UserError where a protocol leaves fewer than two classes."""
    if min(protocol.max_classes or num_classes, num_classes) < 2:
        raise UserError(
            f"A classifier needs at least two classes; max_classes={protocol.max_classes} of {num_classes} leaves less."
        )


def _draw(seed: int, what: str, image_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{what}/{image_id}".encode(), digest_size=8).digest(), "big")
