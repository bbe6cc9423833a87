"""Finds files by the names that tables use for them: paths or bare names, with or without extension."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from lib.data.sources.folder_walk import FoundFile

_Found = dict[str, list[FoundFile]]


class ImageIndex:
    """Files by the ends of their paths, compared as they are, and in one spelling of accents where that finds none."""

    def __init__(self, files: Iterable[FoundFile], behind: "ImageIndex | None" = None) -> None:
        self._behind = behind  # asked where nothing is found here
        self._whole: _Found = defaultdict(list)
        self._stems: _Found = defaultdict(list)
        self._folders: set[str] = set()
        for file in files:
            self._folders.update(map(_normal, file.parts[:-1]))
            stem, dot, suffix = file.parts[-1].rpartition(".")
            length = len(dot) + len(suffix) if stem else 0
            for start in range(len(file.parts)):
                end = "/".join(file.parts[start:])
                self._whole[end].append(file)
                self._stems[end[: len(end) - length]].append(file)

    def find(self, name: str, *, beside: tuple[str, ...] = ()) -> list[FoundFile]:
        """The files that a table in the folder `beside` may mean by `name`; several where it is ambiguous.

        Folders in front that are unknown here are passed over, such as those of the machine where the table was made;
        a known one must be the file's own.
        """
        names = tuple(part for part in name.strip().replace("\\", "/").split("/") if part not in ("", "."))
        if ".." in names:
            return []
        for start in range(len(names)):
            if start and _normal(names[start - 1]) in self._folders:
                break
            if found := self._ending(names[start:]):
                return _nearest(found, names, beside)
        return self._behind.find(name, beside=beside) if self._behind else []

    def _ending(self, names: tuple[str, ...]) -> list[FoundFile]:
        end = "/".join(names)
        for table in (self._whole, self._stems):
            if end in table:
                return table[end]
        for table in self._spelled:
            if _normal(end) in table:
                return table[_normal(end)]
        return []

    @cached_property
    def _spelled(self) -> tuple[_Found, _Found]:
        """The same with accents in one spelling: file systems and tables take them apart or not."""
        return _respelled(self._whole), _respelled(self._stems)


def _nearest(found: list[FoundFile], names: tuple[str, ...], beside: tuple[str, ...]) -> list[FoundFile]:
    for base in (beside, ()):
        folder = tuple(map(_normal, (*base, *names[:-1])))
        exact = [file for file in found if tuple(map(_normal, file.parts[:-1])) == folder]
        if exact:
            return exact
    return found


def _respelled(table: _Found) -> _Found:
    spelled: _Found = defaultdict(list)
    for end, files in table.items():
        spelled[_normal(end)] += files
    return spelled


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)
