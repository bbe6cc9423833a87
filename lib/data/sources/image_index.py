"""Which file a row of a table means: files by the ends of their paths, as people write them into tables."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

from lib.data.sources.files import FoundFile, has_image_suffix, normal

_NUM_SAMPLED = 400
_Found = dict[str, list[FoundFile]]


class ImageIndex:
    """Files by the names that tables use for them: paths or bare names, with or without extension.

    Compared by the ends of paths as they are, and in one spelling of accents where that finds none. An index that
    `is_loose` then lets case and the suffix of an image differ: tables go on naming files that were converted.
    """

    def __init__(
        self, files: Iterable[FoundFile], behind: "ImageIndex | None" = None, *, is_loose: bool = False
    ) -> None:
        self._behind, self._is_loose = behind, is_loose  # what is behind is asked where nothing is found here
        self._whole: _Found = defaultdict(list)
        self._stems: _Found = defaultdict(list)
        self._folders: set[str] = set()
        for file in files:
            self._folders.update(map(normal, file.parts[:-1]))
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
            if start and normal(names[start - 1]) in self._folders:
                break
            if found := self._ending("/".join(names[start:])):
                return _nearest(found, names, beside)
        return self._behind.find(name, beside=beside) if self._behind else []

    def num_named(self, names: Sequence[str], *, beside: tuple[str, ...]) -> int:
        """How many of some hundred names mean files."""
        sample = names[:: max(1, len(names) // _NUM_SAMPLED)]
        return sum(1 for name in sample if name and self.find(name, beside=beside))

    def _ending(self, end: str) -> list[FoundFile]:
        for found in (self._whole, self._stems):
            if end in found:
                return found[end]
        if spelled := next((found[normal(end)] for found in self._spelled if normal(end) in found), []):
            return spelled
        return self._loosely(end) if self._is_loose else []

    def _loosely(self, end: str) -> list[FoundFile]:
        end = normal(end).casefold()
        return self._stems_in_one_case.get(end.rpartition(".")[0] if has_image_suffix(end) else end, [])

    @cached_property
    def _stems_in_one_case(self) -> _Found:
        found: _Found = defaultdict(list)
        for end, files in self._stems.items():
            found[normal(end).casefold()] += files
        return found

    @cached_property
    def _spelled(self) -> tuple[_Found, _Found]:
        """The same with accents in one spelling: file systems and tables take them apart or not."""
        return _respelled(self._whole), _respelled(self._stems)


def _nearest(found: list[FoundFile], names: tuple[str, ...], beside: tuple[str, ...]) -> list[FoundFile]:
    for base in (beside, ()):
        folder = tuple(map(normal, (*base, *names[:-1])))
        if exact := [file for file in found if tuple(map(normal, file.parts[:-1])) == folder]:
            return exact
    return found


def _respelled(table: _Found) -> _Found:
    spelled: _Found = defaultdict(list)
    for end, files in table.items():
        spelled[normal(end)] += files
    return spelled
