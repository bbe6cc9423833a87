"""Classes merged into fewer ones without a second store: five grades as two or four classes.

A map is a name of the table, which is for the five grades of retinopathy and finds each class by its grade, whatever
its place; or one number for each class in the data set's order ("0,0,1,1,1"); or class and merged class by name
("rose=red,tulip=red,lily=white"). Images, splits and cached features stay what they are; only targets and class names
change.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.grades import grade_of, known_grades
from lib.errors import UserError
from lib.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

    from lib.data.specs import DatasetSpec

_SHOWN_NAMES = 8


@dataclass(frozen=True)
class TargetMap:
    """A map as it was asked for.

    `targets[k]` is the merged class of grade k (`is_by_grade`) or of class k; `groups` has (class, merged class) where
    the map goes by names, and `targets` is then empty. `class_names` are derived where they are empty.
    """

    name: str
    title: str
    summary: str
    targets: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()
    is_by_grade: bool = False


TARGET_MAPS: Registry[TargetMap] = Registry("target map")
for _name, _title, _summary, _targets, _names in (
    ("any_dr", "Any retinopathy", "No DR against all other grades.", (0, 1, 1, 1, 1), ("No DR", "Any DR")),
    ("referable", "Referable retinopathy", "No and mild DR against moderate and above.", (0, 0, 1, 1, 1),
     ("Not referable", "Referable")),
    ("four_classes", "Four classes", "Severe and proliferative DR as one class.", (0, 1, 2, 3, 3),
     ("No DR", "Mild", "Moderate", "Severe or Proliferative")),
):  # fmt: skip
    TARGET_MAPS.add(TargetMap(_name, _title, _summary, _targets, _names, is_by_grade=True))


@dataclass(frozen=True)
class MergedClasses:
    """A map applied to classes: `targets[k]` is the merged class of class k, `names` are those of the merged classes.

    `is_ordinal`: the merged classes are three or more and in the order of the grades. Two classes have no distances to
    weigh, so they count as two classes, of whatever they were made.
    """

    targets: tuple[int, ...]
    names: tuple[str, ...]
    is_ordinal: bool


def parse_target_map(text: str) -> TargetMap:
    """The map of a name ("referable"), of numbers ("0,1,1,1,1") or of pairs ("rose=red,lily=white"), or UserError."""
    if text in TARGET_MAPS:
        return TARGET_MAPS.get(text)
    parts = [part.strip() for part in text.split(",")]
    if "=" in text:
        return _parse_pairs(text, parts)
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise UserError(
            f"target_map must be {', '.join(TARGET_MAPS.names)}, or one number for each class such as 0,1,1,1,1, or "
            f"class=group for each class such as rose=red,tulip=red,lily=white; received {text!r}."
        )
    targets = tuple(int(part) for part in parts)
    if sorted(set(targets)) != list(range(len(set(targets)))) or len(set(targets)) < 2:
        raise UserError(
            f"target_map must number at least two merged classes from 0 without a gap, such as 0,1,1,1,1; "
            f"received {text!r}."
        )
    return TargetMap(text, text, "", targets)


def _parse_pairs(text: str, parts: list[str]) -> TargetMap:
    # A class may have "=" in its name, so the last one parts class and group.
    pairs = tuple((name.strip(), group.strip()) for name, _, group in (part.rpartition("=") for part in parts))
    names = [name for name, _ in pairs]
    if not all(name and group for name, group in pairs):
        raise UserError(
            f"target_map needs class=group for each class, such as rose=red,tulip=red,lily=white; received {text!r}."
        )
    repeated = [name for position, name in enumerate(names) if name in names[:position]]
    if repeated:
        raise UserError(f"target_map names the class {repeated[0]!r} twice; give each class one group.")
    if len({group for _, group in pairs}) < 2:
        raise UserError(f"target_map must leave at least two merged classes; received {text!r}.")
    return TargetMap(text, text, "", (), groups=pairs)


def merge_classes(
    class_names: Sequence[str], text: str, *, is_ordinal: bool = False, may_lack: bool = False
) -> MergedClasses:
    """What a map makes of classes; derived names say what was merged ("Severe or Proliferative", "Mild to Severe").

    `class_names` are in the order of the targets, which is that of grades if `is_ordinal`; with `may_lack` classes of
    the map may be missing, as in a data set that is only evaluated on. Raises UserError if the map is not for these.
    """
    mapping = parse_target_map(text)
    if mapping.is_by_grade:
        return _by_grade(mapping, class_names, may_lack=may_lack)
    if mapping.groups:
        return merge_by_name(class_names, dict(mapping.groups), is_ordinal=is_ordinal, may_lack=may_lack)
    if len(mapping.targets) != len(class_names):
        raise UserError(
            f"The target_map {text} is for {len(mapping.targets)} classes, this data set has {len(class_names)} "
            f"({_listed(class_names)}); give one number for each class."
        )
    names = _derived_names(mapping.targets, class_names, is_ordinal=is_ordinal)
    return MergedClasses(mapping.targets, names, _keeps_order(mapping.targets, is_ordinal=is_ordinal))


def _by_grade(mapping: TargetMap, class_names: Sequence[str], *, may_lack: bool) -> MergedClasses:
    grades = known_grades(class_names)
    if grades is None and may_lack:
        found = tuple(grade for grade in map(grade_of, class_names) if grade is not None)
        grades = found if len(set(found)) == len(class_names) else None
    if grades is None:
        raise UserError(
            f"The target_map {mapping.name} is for the five grades of retinopathy (no DR, mild, moderate, severe, "
            f"proliferative, or 0 to 4), not for the classes {_listed(class_names)}; give class=group for each class, "
            "such as a=first,b=first,c=second."
        )
    targets = tuple(mapping.targets[grade] for grade in grades)
    return MergedClasses(targets, mapping.class_names, len(mapping.class_names) > 2)


def merge_by_name(
    class_names: Sequence[str], groups: Mapping[str, str], *, is_ordinal: bool = False, may_lack: bool = False
) -> MergedClasses:
    """Merge classes by name: class -> merged class. Arguments and errors as in `merge_classes`."""
    left_out = [name for name in class_names if name not in groups]
    unknown = [] if may_lack else [name for name in groups if name not in class_names]
    if left_out or unknown:
        what = f"leaves out the class {left_out[0]!r}" if left_out else f"names the class {unknown[0]!r}"
        raise UserError(
            f"The target_map {what}, this data set has the classes {_listed(class_names)}; give class=group for each."
        )
    # Groups are counted in the order of the classes; where classes may be missing, in the order of the map.
    names = tuple(dict.fromkeys(groups.values() if may_lack else (groups[name] for name in class_names)))
    targets = tuple(names.index(groups[name]) for name in class_names)
    return MergedClasses(targets, names, _keeps_order(targets, is_ordinal=is_ordinal))


def _keeps_order(targets: tuple[int, ...], *, is_ordinal: bool) -> bool:
    return is_ordinal and len(set(targets)) > 2 and bool((np.diff(targets) >= 0).all())


def mapped_class_names(class_names: Sequence[str], text: str | None, *, is_ordinal: bool = False) -> tuple[str, ...]:
    """The names of the merged classes, of the classes themselves without a map; raises as `merge_classes`."""
    return merge_classes(class_names, text, is_ordinal=is_ordinal).names if text else tuple(class_names)


def merged_words(class_names: Sequence[str], text: str | None, *, is_ordinal: bool = False) -> str:
    """What is merged, such as "Classes merged: rose, tulip -> red; lily -> white."; "" without a map."""
    if not text:
        return ""
    merged = merge_classes(class_names, text, is_ordinal=is_ordinal)
    owns: dict[int, list[str]] = defaultdict(list)
    for name, target in zip(class_names, merged.targets, strict=True):
        owns[target].append(name)
    parts = [f"{', '.join(owns[number])} -> {name}" for number, name in enumerate(merged.names)]
    return f"Classes merged: {'; '.join(parts)}."


class MappedDataset:
    """A data set with merged classes; everything but targets and class names is that of the data set itself."""

    def __init__(self, dataset: Any, merged: MergedClasses) -> None:
        self.unmapped, self._merged = dataset, merged
        self._targets = np.array(merged.targets, dtype=np.int64)
        self.class_names = merged.names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "unmapped":
            raise AttributeError(name)
        return getattr(self.unmapped, name)

    def __repr__(self) -> str:
        return f"MappedDataset({self.unmapped!r}, {', '.join(self.class_names)})"

    @cached_property
    def spec(self) -> "DatasetSpec":
        """The description with the merged classes; they are grades still where three or more keep their order."""
        return dataclasses.replace(
            self.unmapped.spec, class_names=self._merged.names, is_ordinal=self._merged.is_ordinal
        )

    @property
    def class_map(self) -> dict[str, str]:
        """Class -> merged class, by name: what a classifier must know to be evaluated on other images."""
        merged = (self._merged.names[target] for target in self._merged.targets)
        return dict(zip(self.unmapped.spec.class_names, merged, strict=True))

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The table with merged targets."""
        table: pd.DataFrame = self.unmapped.table
        return table.assign(target=np.append(self._targets, -1)[table["target"].to_numpy()])  # -1: no label


def map_targets(dataset: Any, text: str | None) -> Any:
    """The data set with merged classes, or itself where there is no map; raises UserError as `merge_classes`."""
    names, is_ordinal = dataset.spec.class_names, dataset.spec.is_ordinal
    return MappedDataset(dataset, merge_classes(names, text, is_ordinal=is_ordinal)) if text else dataset


def _derived_names(targets: Sequence[int], class_names: Sequence[str], *, is_ordinal: bool) -> tuple[str, ...]:
    names = []
    for target in sorted(set(targets)):
        classes = [k for k, own in enumerate(targets) if own == target]
        first, *others = (class_names[k] for k in classes)
        if is_ordinal and len(classes) > 2 and classes[-1] - classes[0] == len(classes) - 1:
            names.append(f"{first} to {others[-1]}")
        else:
            names.append(f"{', '.join((first, *others[:-1]))} or {others[-1]}" if others else first)
    return tuple(names)


def _listed(class_names: Sequence[str]) -> str:
    shown = ", ".join(class_names[:_SHOWN_NAMES])
    return shown if len(class_names) <= _SHOWN_NAMES else f"{shown}, ... ({len(class_names)})"
