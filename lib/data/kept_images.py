"""Which of the readable images stay: one of each content, and no class or part without any."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from lib.data.images import ImageHeader
from lib.data.sources.folder_walk import LeftOut, SourceEntry
from lib.errors import UserError

_RANK = {"test": 0, "val": 1, "train": 2, "": 3}


class Readable(Protocol):
    """An image whose header was read."""

    entry: SourceEntry
    header: ImageHeader


Item = TypeVar("Item", bound=Readable)


def drop_copies(kept: list[Item], left_out: list[LeftOut]) -> list[Item]:
    """Keep one of each content; a test copy stays rather than a training copy, and contradicting labels all go."""
    by_content: dict[str, list[Item]] = defaultdict(list)
    for item in kept:
        by_content[item.header.sha256].append(item)
    _join_patients_of_copies(kept, by_content.values())
    stays = set()
    for copies in by_content.values():
        copies.sort(key=lambda item: _RANK[item.entry.split])  # stable: the first of a split stays first
        first = copies[0]
        if all(item.entry.class_name == first.entry.class_name for item in copies):
            stays.add(id(first))
            reason = f"same content as {first.entry.relative}"
            left_out += [left_out_entry(item.entry, reason) for item in copies[1:]]
            continue
        for item in copies:
            other = next(twin for twin in copies if twin.entry.class_name != item.entry.class_name).entry.relative
            left_out.append(left_out_entry(item.entry, f"same content as {other}, which is in another class"))
    return [item for item in kept if id(item) in stays]


def left_out_entry(entry: SourceEntry, reason: str) -> LeftOut:
    """An image that is not used after all."""
    return LeftOut(entry.relative, reason, entry.path)


def require_classes(entries: Sequence[SourceEntry], kept: Iterable[Readable], left_out: list[LeftOut]) -> None:
    """Raise UserError where no image of a class, or of train/, val/ or test/, is left of those that were found."""
    class_names, splits = {one.entry.class_name for one in kept}, {one.entry.split for one in kept}
    reasons = {item.source: item for item in left_out if item.source}
    for entry in entries:
        if entry.class_name in class_names and entry.split in splits:
            continue
        what = f"Class {entry.class_name!r}" if entry.class_name not in class_names else f"The part for {entry.split}"
        lost = reasons[entry.path]
        raise UserError(
            f"{what} has no usable image (such as {lost.path}: {lost.reason.rstrip('.')}). Repair its files or "
            "remove the folder."
        )


def _join_patients_of_copies(kept: list[Item], contents: Iterable[list[Item]]) -> None:
    """Patients who share an image are one: the split must not tell their other images apart.

    Not across train/ and test/, where the copy in train/ goes and both patients were meant to be others.
    """
    same: dict[str, str] = {}

    def first_name(group_id: str) -> str:
        while group_id in same:
            group_id = same[group_id]
        return group_id

    for copies in contents:
        for split in {item.entry.split for item in copies}:
            names = {first_name(one.entry.group_id) for one in copies if one.entry.split == split} - {""}
            for other in sorted(names)[1:]:
                same[other] = min(names)
    for item in kept if same else ():
        item.entry = dataclasses.replace(item.entry, group_id=first_name(item.entry.group_id))
