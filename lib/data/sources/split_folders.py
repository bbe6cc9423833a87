"""Where the parts of a folder lie: train/, val/ and test/, in their many spellings, or what comes instead."""

from collections import defaultdict
from collections.abc import Iterable

from lib.data.sources.folder_walk import FoundFile
from lib.data.sources.layout import split_of


def common_folder(images: Iterable[FoundFile]) -> tuple[str, ...]:
    """The names of the folders that all images lie below: what an archive brought along, perhaps."""
    parents = {file.parts[:-1] for file in images}
    first, last = min(parents, default=()), max(parents, default=())
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]


def parts_of(images: Iterable[FoundFile], base: tuple[str, ...]) -> dict[str, list[FoundFile]]:
    """The images by the first folder below `base`; "" for those directly in it."""
    found: dict[str, list[FoundFile]] = defaultdict(list)
    for file in images:
        inner = file.parts[len(base) :]
        found[inner[0] if len(inner) > 1 else ""].append(file)
    return dict(found)


def inside_part(part: str, images: list[FoundFile], base: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The names below a folder such as training_set/, which may hold all once more in a folder of that kind."""
    inner = [file.parts[len(base) + 1 :] for file in images]
    while True:
        firsts = {names[0] for names in inner if len(names) > 1}
        if len(firsts) != 1 or split_of(first := firsts.pop()) != split_of(part):
            return inner
        inner = [names[1:] if names[0] == first and len(names) > 1 else names for names in inner]


def split_base(images: list[FoundFile]) -> tuple[str, ...]:
    """Where train/, val/ and test/ or the class folders lie: below the lone folders that lead to them."""
    base = common_folder(images)
    tops = parts_of(images, base)
    if any(split_of(top) == "train" for top in tops):
        return base
    for depth, name in enumerate(base):
        if split_of(name):
            return base[:depth]  # a lone train/, perhaps doubled
    return base[:-1] if "" in tops and base else base


def split_in(file: FoundFile, base: tuple[str, ...]) -> str:
    """The split that the first folder below `base` says, else ""."""
    inner = file.parts[len(base) :]
    return split_of(inner[0]) if len(inner) > 1 else ""
