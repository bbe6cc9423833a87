"""Classes merged into fewer ones without a second store: five grades as two or four classes.

A map says for each class of the data set which merged class it belongs to: "0,0,1,1,1" or a name of the table. Images,
splits and cached features stay what they are; only targets and class names change.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import UserError
from lib.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

    from lib.data.specs import DatasetSpec


@dataclass(frozen=True)
class TargetMap:
    """A named map: `targets[k]` is the merged class of class k; `class_names` are derived where they are empty."""

    name: str
    title: str
    summary: str
    targets: tuple[int, ...]
    class_names: tuple[str, ...] = ()


TARGET_MAPS: Registry[TargetMap] = Registry("target map")
for _map in (
    TargetMap("any_dr", "Any retinopathy", "No DR against all other grades.", (0, 1, 1, 1, 1), ("No DR", "Any DR")),
    TargetMap(
        "referable",
        "Referable retinopathy",
        "No and mild DR against moderate and above.",
        (0, 0, 1, 1, 1),
        ("Not referable", "Referable"),
    ),
    TargetMap("four_classes", "Four classes", "Severe and proliferative DR as one class.", (0, 1, 2, 3, 3)),
):
    TARGET_MAPS.add(_map)


def check_target_map(text: str | None) -> None:
    """Raise UserError if a map is neither a name of the table nor class numbers from 0 without a gap."""
    if text:
        parse_target_map(text)


def parse_target_map(text: str) -> TargetMap:
    """The map of a name such as "referable" or of numbers such as "0,1,1,1,1"."""
    if text in TARGET_MAPS:
        return TARGET_MAPS.get(text)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise UserError(
            f"target_map must be {', '.join(TARGET_MAPS.names)}, or one number for each class such as 0,1,1,1,1; "
            f"received {text!r}."
        )
    targets = tuple(int(part) for part in parts)
    if sorted(set(targets)) != list(range(len(set(targets)))) or len(set(targets)) < 2:
        raise UserError(
            f"target_map must number at least two merged classes from 0 without a gap, such as 0,1,1,1,1; "
            f"received {text!r}."
        )
    return TargetMap(text, text, "", targets)


def mapped_class_names(class_names: Sequence[str], text: str | None, *, is_ordinal: bool = False) -> tuple[str, ...]:
    """The names of the merged classes: the map's own, else "Severe or Proliferative", for a range "Mild to Severe".

    Raises:
        UserError: the map is not for that many classes.
    """
    if not text:
        return tuple(class_names)
    mapping = parse_target_map(text)
    if len(mapping.targets) != len(class_names):
        raise UserError(
            f"The target_map {text} is for {len(mapping.targets)} classes, this data set has {len(class_names)}; give "
            "one number for each class."
        )
    if mapping.class_names:
        return mapping.class_names
    merged: dict[int, list[int]] = {}
    for original, target in enumerate(mapping.targets):
        merged.setdefault(target, []).append(original)
    return tuple(_joined([class_names[k] for k in merged[t]], _is_range(merged[t]) and is_ordinal) for t in sorted(merged))


class MappedDataset:
    """A data set with merged classes; everything but targets and class names is that of the data set itself."""

    def __init__(self, dataset: Any, text: str) -> None:
        self.unmapped = dataset
        self._names = mapped_class_names(dataset.spec.class_names, text, is_ordinal=dataset.spec.is_ordinal)
        self._targets = np.array(parse_target_map(text).targets, dtype=np.int64)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "unmapped":
            raise AttributeError(name)
        return getattr(self.unmapped, name)

    def __repr__(self) -> str:
        return f"MappedDataset({self.unmapped!r}, {', '.join(self._names)})"

    @cached_property
    def spec(self) -> "DatasetSpec":
        """The description with the merged classes; they are grades still where the map keeps their order."""
        spec: DatasetSpec = self.unmapped.spec
        is_ordinal = spec.is_ordinal and bool((np.diff(self._targets) >= 0).all())
        return dataclasses.replace(spec, class_names=self._names, is_ordinal=is_ordinal)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the merged classes."""
        return self._names

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The table with merged targets."""
        table: pd.DataFrame = self.unmapped.table
        return table.assign(target=self._targets[table["target"].to_numpy()])


def map_targets(dataset: Any, text: str | None) -> Any:
    """The data set with merged classes, or itself where there is no map.

    Raises:
        UserError: no such map, or one for another number of classes.
    """
    return MappedDataset(dataset, text) if text else dataset


def _is_range(classes: list[int]) -> bool:
    return len(classes) > 2 and classes[-1] - classes[0] == len(classes) - 1


def _joined(names: list[str], is_range: bool) -> str:  # noqa: FBT001
    if is_range:
        return f"{names[0]} to {names[-1]}"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
