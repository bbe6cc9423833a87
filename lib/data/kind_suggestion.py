"""What a folder's class names and pictures suggest of its kind: grades or not, medical or not, crop, order and names.

Nothing is set by a suggestion: a person takes it or leaves it, and each one says what it was read from.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.data.fundus.severity_scale import GRADE_NAMES
from lib.data.grades import known_grades, names_retinopathy, severity_order, words_of
from lib.data.kind import KindChange
from lib.data.round_field import NUM_LOOKED_AT, count_round_fields, is_round_field, show_round_fields, spread

if TYPE_CHECKING:
    from lib.data.dataset import Dataset

_STORED_SIDE_PX = 96  # a stored image is looked at about as large as one that is decoded for it

_SCALE_WORDS = frozenset(("grade", "grades", "level", "stage", "severity", "score", "kl", "r", "dr", "birads"))
# Data sets of graded retinal photographs whose folders say what the bare numbers 0 to 4 mean.
_RETINAL_SETS = re.compile(r"aptos|eyepacs|messidor|idrid|ddr|retin|fundus|icdr|diabetic", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class KindSuggestion:
    """What is suggested; `reasons` says why, by "is_ordinal", "is_medical", "classes" and "crop_policy".

    `order` are the source's classes in the suggested order, `class_names` the names to show, in that order.
    """

    order: tuple[str, ...]
    class_names: tuple[str, ...]
    is_ordinal: bool = False
    is_medical: bool = False
    crop_policy: str = "center_square"
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def change(self) -> KindChange:
        """The suggestion as a change of a data set's classes; what it says nothing of stays as it is."""
        says_classes = "classes" in self.reasons
        return KindChange(
            is_ordinal=self.is_ordinal or None,
            is_medical=self.is_medical or None,
            order=self.order if says_classes else None,
            is_by_source=says_classes,
            class_names=self.class_names if says_classes else None,
        )

    @property
    def crop(self) -> str | None:
        """The suggested crop policy; None where nothing is suggested."""
        return self.crop_policy if "crop_policy" in self.reasons else None

    def taken(self, asked: KindChange) -> KindChange:
        """The suggestion with what was asked for in its place; asked names stand in the suggested order without one."""
        taken = self.change
        has_order = asked.order is not None
        return KindChange(
            is_ordinal=taken.is_ordinal if asked.is_ordinal is None else asked.is_ordinal,
            is_medical=taken.is_medical if asked.is_medical is None else asked.is_medical,
            order=asked.order if has_order else taken.order,
            is_by_source=asked.is_by_source if has_order else taken.is_by_source,
            # The suggested names stand in the suggested order.
            class_names=taken.class_names if asked.class_names is None and not has_order else asked.class_names,
        )

    def to_dict(self) -> dict[str, Any]:
        """What is suggested, by its name, with the reason; a dictionary that JSON can hold."""
        values = {
            "is_ordinal": self.is_ordinal,
            "is_medical": self.is_medical,
            "crop_policy": self.crop_policy,
            "classes": {"order": list(self.order), "names": list(self.class_names)},
        }
        return {key: {"value": values[key], "reason": reason} for key, reason in self.reasons.items()}

    def differing(self, now: dict[str, Any]) -> "KindSuggestion":
        """Only what is not so already; `now` has is_ordinal, is_medical, crop_policy, order and class_names."""
        is_so = {key: now[key] == getattr(self, key) for key in ("is_ordinal", "is_medical", "crop_policy")}
        is_so["classes"] = tuple(now["order"]) == self.order and tuple(now["class_names"]) == self.class_names
        kept = {key: reason for key, reason in self.reasons.items() if not is_so[key]}
        return KindSuggestion(
            order=self.order, class_names=self.class_names, is_ordinal=self.is_ordinal and "is_ordinal" in kept,
            is_medical=self.is_medical and "is_medical" in kept, crop_policy=self.crop_policy, reasons=kept,
        )  # fmt: skip


def suggest_kind(
    class_names: Sequence[str], *, name: str = "", round_fields: tuple[int, int] = (0, 0)
) -> KindSuggestion:
    """Suggest from the source's class names in their order, the folder's name and `count_round_fields`.

    Five grades of retinopathy get the scale's order and names where names, folder or pictures speak of the eye; numbers
    alone are suggested as ordered, of whatever they are grades.
    """
    num_round, num_read = round_fields
    shows_fields = show_round_fields(num_round, num_read)
    fields = f"{num_round} of {num_read} photographs looked at show a round field on black"
    reasons: dict[str, str] = {}
    if shows_fields:
        reasons["crop_policy"] = reasons["is_medical"] = fields
    grades = known_grades(class_names)
    why_eye = _why_retinopathy(class_names, name) or (fields if shows_fields else "")
    is_medical = shows_fields
    order, names = tuple(class_names), tuple(class_names)
    if grades is not None and why_eye:
        order = tuple(class_names[grades.index(grade)] for grade in range(len(grades)))
        names = GRADE_NAMES
        reasons["is_ordinal"] = f"the classes are the five grades of diabetic retinopathy ({_listed(class_names)})"
        reasons["is_medical"] = why_eye
        is_medical = True
        if (order, names) != (tuple(class_names), tuple(class_names)):
            reasons["classes"] = (
                "this is their order on the International Clinical Diabetic Retinopathy scale, with its names"
            )
    elif found := _numbered(class_names):
        reasons["is_ordinal"] = found
    elif found_order := severity_order(class_names):
        order = names = found_order
        reasons["is_ordinal"] = f"the classes are degrees of severity ({_listed(order)})"
        if order != tuple(class_names):
            reasons["classes"] = "they go from the least severe to the most"
    if not is_medical and (why := _why_retinopathy(class_names, name="")):
        is_medical, reasons["is_medical"] = True, why
    return KindSuggestion(
        order=order, class_names=names, is_ordinal="is_ordinal" in reasons, is_medical=is_medical,
        crop_policy="retina_box" if shows_fields else "center_square", reasons=reasons,
    )  # fmt: skip


def suggest_for_images(class_names: Sequence[str], paths: Iterable[Path], *, name: str = "") -> KindSuggestion:
    """Suggest from class names, the folder's name and a handful of its images; takes about a second."""
    return suggest_kind(class_names, name=name, round_fields=count_round_fields(list(paths)))


def suggest_for_dataset(dataset: "Dataset") -> KindSuggestion:
    """Suggest what is not so already, from the source's names and a handful of images; their stored ones if need be."""
    source = Path(str(dataset.description.get("source") or ""))
    rows = spread(range(dataset.num_images), NUM_LOOKED_AT)
    paths = [path for row in rows if (path := dataset.source_path(row))] if source.is_absolute() else []
    if len(paths) == len(rows):
        fields = count_round_fields(paths)
    else:
        step = max(1, dataset.spec.store_side_px // _STORED_SIDE_PX)
        fields = sum(is_round_field(dataset.pixels[row][::step, ::step]) for row in rows), len(rows)
    found = suggest_kind(dataset.class_sources, name=f"{dataset.name} {source.name}", round_fields=fields)
    return found.differing(
        {
            "is_ordinal": dataset.spec.is_ordinal,
            "is_medical": dataset.spec.is_medical,
            "crop_policy": dataset.spec.crop_policy,
            "order": dataset.class_sources,
            "class_names": dataset.class_names,
        }
    )


def _why_retinopathy(class_names: Sequence[str], name: str) -> str:
    telling = next((class_name for class_name in class_names if names_retinopathy(class_name)), None)
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
