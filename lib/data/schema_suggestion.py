"""What a folder's class names and pictures suggest of its kind: grades or not, medical or not, crop, order and names.

Nothing is set by a suggestion: a person takes it or leaves it, and each one says what it was read from.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lib.data.decoder_pool import DecoderPool
from lib.data.grades import GRADE_NAMES, RETINOPATHY_WORDS, known_grades, severity_order, words_of
from lib.data.images import DecodedImage
from lib.data.label_schema import SchemaChange
from lib.data.specs import BY_FILE

if TYPE_CHECKING:
    from lib.data.dataset import Dataset

T = TypeVar("T")

NUM_LOOKED_AT = 8  # spread over the set: about a second with the start of the decoder
_SIDE_PX = 96
_MIN_SHARE = 0.75  # of the images looked at; a few may be blurred, dark or cut
_DARK_SHARE, _DARK_LEVEL = 0.12, 40.0  # of the bright level, and of 255: what counts as the black around the field
_MOST_WRONG = 0.025  # of the pixels may lie on the wrong side of the circle: marks at its edge, a shadow in it
_LEAST_BLACK = 0.015  # of the square must lie around the field, or there is nothing to be seen of its edge
_RADII = np.arange(0.84, 1.34, 0.04)  # of half the side; beyond 1 the camera cut the field off
_SHIFTS = np.arange(-0.12, 0.13, 0.06)
_STORED_SIDE_PX = 96  # a stored image is looked at about as large as one that is decoded for it

_SCALE_WORDS = frozenset(("grade", "grades", "level", "stage", "severity", "score", "kl", "r", "dr", "birads"))
# Data sets of graded retinal photographs whose folders say what the bare numbers 0 to 4 mean.
_RETINAL_SETS = re.compile(r"aptos|eyepacs|messidor|idrid|ddr|retin|fundus|icdr|diabetic", re.IGNORECASE)


def is_round_field(square: np.ndarray) -> bool:
    """Whether a square (S, S, 3) of uint8, cut by "retina_box", holds one bright disc and black around it.

    The disc may be cut off on all sides, as most cameras do, as long as the black of the corners is left.
    """
    brightness = square.astype(np.float32).mean(axis=2)
    bright_level = float(np.quantile(brightness, 0.9))
    is_bright = brightness > max(_DARK_SHARE * bright_level, 6.0)
    rows = np.flatnonzero(is_bright.mean(axis=1) > 0.1)
    if not len(rows):
        return False
    side = len(square)
    y, x = (np.mgrid[:side, :side] + 0.5 - side / 2) / (side / 2)
    kept = slice(rows[0], rows[-1] + 1)
    is_bright, brightness, x, y = is_bright[kept], brightness[kept], x[kept], y[kept]
    for shift_y in _SHIFTS:
        for shift_x in _SHIFTS:
            radius = np.hypot(x - shift_x, y - shift_y)
            for limit in _RADII:
                is_outside = radius > limit
                if is_outside.mean() < _LEAST_BLACK or (is_bright == is_outside).mean() > _MOST_WRONG:
                    continue
                around = brightness[radius > limit + 0.04]
                if len(around) and float(np.quantile(around, 0.9)) < min(_DARK_LEVEL, 0.25 * bright_level):
                    return True
    return False


def count_round_fields(paths: Sequence[Path]) -> tuple[int, int]:
    """How many of a handful of images show such a field, and how many could be read; through the safe decoder."""
    chosen = spread(paths, NUM_LOOKED_AT)
    with DecoderPool(1, side_px=_SIDE_PX, crop_policy="retina_box", value_scale=BY_FILE) as pool:
        read = [image for _, image in pool.decode_many(chosen) if isinstance(image, DecodedImage)]
    return sum(is_round_field(image.pixels) for image in read), len(read)


def spread(paths: Sequence[T], most: int) -> list[T]:
    """At most that many, at equal distances through the list, so that every class has its chance."""
    rows = np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)
    return [paths[row] for row in np.unique(rows)]


@dataclass(frozen=True)
class SchemaSuggestion:
    """What is suggested: each of "is_ordinal", "is_medical", "classes" and "crop_policy" for which `reasons` has a why.

    `order` are the source's classes in the suggested order, `class_names` the names to show, in that order.
    """

    order: tuple[str, ...]
    class_names: tuple[str, ...]
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def is_ordinal(self) -> bool:
        """Whether it is suggested that the classes are grades."""
        return "is_ordinal" in self.reasons

    @property
    def is_medical(self) -> bool:
        """Whether it is suggested that the images are medical."""
        return "is_medical" in self.reasons

    @property
    def crop(self) -> str | None:
        """The suggested crop policy; None where nothing is suggested."""
        return "retina_box" if "crop_policy" in self.reasons else None

    @property
    def change(self) -> SchemaChange:
        """The suggestion as a change of a data set's classes; what it says nothing of stays as it is."""
        flags: dict[str, Any] = {"is_ordinal": self.is_ordinal or None, "is_medical": self.is_medical or None}
        if "classes" not in self.reasons:
            return SchemaChange(**flags)
        return SchemaChange(**flags, order=self.order, is_by_source=True, class_names=self.class_names)

    def taken(self, asked: SchemaChange) -> SchemaChange:
        """The suggestion with what was asked for in its place; asked names stand in the suggested order without one."""
        taken = replace(self.change, **asked.flags)
        if asked.order is not None:
            return replace(taken, order=asked.order, is_by_source=asked.is_by_source, class_names=asked.class_names)
        return taken if asked.class_names is None else replace(taken, class_names=asked.class_names)

    def to_dict(self) -> dict[str, Any]:
        """What is suggested, by its name, with the reason; a dictionary that JSON can hold."""
        values = {
            "is_ordinal": True,
            "is_medical": True,
            "crop_policy": self.crop,
            "classes": {"order": list(self.order), "names": list(self.class_names)},
        }
        return {key: {"value": values[key], "reason": reason} for key, reason in self.reasons.items()}

    def differing(self, now: dict[str, Any]) -> "SchemaSuggestion":
        """Only what is not so already; `now` has is_ordinal, is_medical, crop_policy, order and class_names."""
        is_so = {
            "is_ordinal": now["is_ordinal"] == self.is_ordinal,
            "is_medical": now["is_medical"] == self.is_medical,
            "crop_policy": now["crop_policy"] == self.crop,
            "classes": tuple(now["order"]) == self.order and tuple(now["class_names"]) == self.class_names,
        }
        return replace(self, reasons={key: reason for key, reason in self.reasons.items() if not is_so[key]})


def suggest_schema(
    class_names: Sequence[str], *, name: str = "", round_fields: tuple[int, int] = (0, 0)
) -> SchemaSuggestion:
    """Suggest from the source's class names in their order, the folder's name and `count_round_fields`.

    Five grades of retinopathy get the scale's order and names where names, folder or pictures speak of the eye; numbers
    alone are suggested as ordered, of whatever they are grades.
    """
    num_round, num_read = round_fields
    present = order = names = tuple(class_names)
    reasons: dict[str, str] = {}
    fields = ""
    if num_read and num_round >= _MIN_SHARE * num_read:
        fields = f"{num_round} of {num_read} photographs looked at show a round field on black"
        reasons["crop_policy"] = reasons["is_medical"] = fields
    grades = known_grades(class_names)
    why_eye = _why_retinopathy(class_names, name) or fields
    if grades is not None and why_eye:
        order, names = tuple(class_names[grades.index(grade)] for grade in range(len(grades))), GRADE_NAMES
        reasons["is_ordinal"] = f"the classes are the five grades of diabetic retinopathy ({_listed(class_names)})"
        reasons["is_medical"] = why_eye
        if (order, names) != (present, present):
            reasons["classes"] = (
                "this is their order on the International Clinical Diabetic Retinopathy scale, with its names"
            )
    elif found := _numbered(class_names):
        reasons["is_ordinal"] = found
    elif found_order := severity_order(class_names):
        order = names = found_order
        reasons["is_ordinal"] = f"the classes are degrees of severity ({_listed(order)})"
        if order != present:
            reasons["classes"] = "they go from the least severe to the most"
    if "is_medical" not in reasons and (why := _why_retinopathy(class_names, name="")):
        reasons["is_medical"] = why
    return SchemaSuggestion(order, names, reasons)


def suggest_for_dataset(dataset: "Dataset") -> SchemaSuggestion:
    """Suggest what is not so already, from the source's names and a handful of images; their stored ones if need be."""
    source = dataset.source_folder
    rows = spread(range(dataset.num_images), NUM_LOOKED_AT)
    paths = [path for row in rows if (path := dataset.source_path(row))] if source.is_absolute() else []
    if len(paths) == len(rows):
        fields = count_round_fields(paths)
    else:
        step = max(1, dataset.spec.store_side_px // _STORED_SIDE_PX)
        fields = sum(is_round_field(dataset.pixels[row][::step, ::step]) for row in rows), len(rows)
    found = suggest_schema(dataset.class_sources, name=f"{dataset.name} {source.name}", round_fields=fields)
    now = {key: getattr(dataset.spec, key) for key in ("is_ordinal", "is_medical", "crop_policy", "class_names")}
    return found.differing({**now, "order": dataset.class_sources})


def _why_retinopathy(class_names: Sequence[str], name: str) -> str:
    telling = next((class_name for class_name in class_names if RETINOPATHY_WORDS & set(words_of(class_name))), None)
    if telling is not None:
        return f"the class name {telling!r} speaks of retinopathy"
    proliferative = next((c for c in class_names if {"proliferative", "proliferate"} & set(words_of(c))), None)
    if proliferative is not None and known_grades(class_names):
        return f"the class name {proliferative!r} is a grade of retinopathy"
    return f"the name {name!r} speaks of retinal photographs" if _RETINAL_SETS.search(name) else ""


def _numbered(class_names: Sequence[str]) -> str:
    """Why the classes are grades: 0 to 4, or numbers without a gap behind a word such as "grade"; else empty."""
    words = [words_of(class_name) for class_name in class_names]
    numbers = [[int(word) for word in one if word.isdigit()] for one in words]
    if any(len(found) != 1 for found in numbers):
        return ""
    counted = [found[0] for found in numbers]
    rest = {word for one in words for word in one if not word.isdigit()}
    if len(counted) < 3 or counted != list(range(counted[0], counted[0] + len(counted))) or counted[0] > 1:
        return ""
    if not rest and counted == [0, 1, 2, 3, 4]:
        return "the classes are the numbers 0 to 4"
    if rest and rest <= _SCALE_WORDS and all(len(one) > 1 for one in words):
        return f"the classes are numbered grades ({_listed(class_names)})"
    return ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
