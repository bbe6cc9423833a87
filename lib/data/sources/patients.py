"""Which images belong to one patient: by a column of a table, or by left and right eye in their names."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lib.data.sources.folder_walk import SourceEntry
from lib.data.sources.layout import storable

_EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
_WORDS = "|".join(_EYES)
# 10_left, 10_L, 10-right, left_10, OD 10
_NAMES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<stem>.*\S)[\s_.-]+(?P<eye>{_WORDS})(?:[\s_-]*eye)?",
        rf"(?P<eye>{_WORDS})(?:[\s_-]*eye)?[\s_.-]+(?P<stem>\S.*)",
    )
)


@dataclass(frozen=True)
class Patients:
    """Images with their patients, and how many patients have several images."""

    entries: list[SourceEntry]
    num_shared: int


def eye_in_name(name: str) -> tuple[str, str] | None:
    """What a file's name says besides the eye, and "left" or "right"; None if it names no eye."""
    stem = unicodedata.normalize("NFC", PurePosixPath(name).stem)
    for pattern in _NAMES:
        if found := pattern.fullmatch(stem):
            return found["stem"].strip(" _.-"), _EYES[found["eye"].lower()]
    return None


def join_patients(entries: Sequence[SourceEntry], *, are_groups_given: bool) -> Patients:
    """Give fellow eyes one patient, where both eyes of a name are there; patients of a table stay what they are.

    With `are_groups_given` a person has named the column of patients, and names of files say nothing.
    """
    joined = list(entries) if are_groups_given else _join_eyes(entries)
    counts = Counter(entry.group_id for entry in joined if entry.group_id)
    return Patients(joined, sum(1 for count in counts.values() if count > 1))


def part_patients(entries: Sequence[SourceEntry]) -> list[SourceEntry]:
    """The same images, each by itself."""
    return [replace(entry, group_id="") for entry in entries]


def _join_eyes(entries: Sequence[SourceEntry]) -> list[SourceEntry]:
    named = [(entry, eye_in_name(entry.path.name)) for entry in entries]
    eyes = [(entry, *found) for entry, found in named if found]
    sides: dict[str, set[str]] = defaultdict(set)
    for _, stem, eye in eyes:
        sides[stem].add(eye)
    if not any(len(both) == 2 for both in sides.values()) or _are_directions(eyes):
        return list(entries)
    patients = _patients(eyes)
    given: dict[str, str] = {}
    for entry, _, _ in eyes:
        if entry.group_id:
            given.setdefault(patients[entry.key], entry.group_id)
    joined = []
    for entry, found in named:
        if found is None:
            joined.append(entry)
            continue
        patient = patients[entry.key]
        group_id = entry.group_id or given.get(patient, patient)
        joined.append(replace(entry, group_id=group_id, laterality=entry.laterality or found[1]))
    return joined


def _patients(eyes: list[tuple[SourceEntry, str, str]]) -> dict[str, str]:
    """The patient of each image: its name without the eye, where that is one patient's.

    The same eye in train/ and test/ means that the numbers begin anew there. The same eye twice in one of them means
    that folders are patients (p1/left_1.jpg, p1/right_1.jpg, p2/left_1.jpg), if both eyes lie together.
    """
    places: dict[tuple[str, str], list[SourceEntry]] = defaultdict(list)
    together: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry, stem, eye in eyes:
        places[stem, eye].append(entry)
        together[_folder(entry), stem].add(eye)
    restarts = {stem for (stem, _), found in places.items() if len({entry.split for entry in found}) > 1}
    within = {
        (split, stem)
        for (stem, _), found in places.items()
        for split, count in Counter(entry.split for entry in found).items()
        if count > 1
    }
    patients = {}
    for entry, stem, _ in eyes:
        patient = f"{entry.split}/{stem}" if stem in restarts else stem
        if (entry.split, stem) in within and len(together[_folder(entry), stem]) == 2:
            patient = f"{_folder(entry)}/{stem}"
        patients[entry.key] = storable(patient)
    return patients


def _folder(entry: SourceEntry) -> str:
    return entry.key.rpartition("/")[0]


def _are_directions(eyes: list[tuple[SourceEntry, str, str]]) -> bool:
    """Whether the classes themselves are left and right, as of arrows and turns."""
    return all(eye in entry.class_name.casefold() for entry, _, eye in eyes)
