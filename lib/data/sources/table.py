"""The ways to bring images in, one entry each: page and command line offer what stands here.

A source is one entry and one reader, in one file below lib/data/sources/readers. The reader makes sure that the image
files are there (unpacked, downloaded or just found) and returns which class each is of; decoding and storing is the
import's.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.data.sources.files import SourceEntry, shown
from lib.data.sources.folder import FolderScan
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.registry import Registry

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_WORDS = {str: "a text", int: "a whole number", bool: "yes or no", Path: "a path", tuple: "one text or several"}


@dataclass(frozen=True, kw_only=True)
class SourceOption:
    """One thing that a source wants to know: a field on the page, `--set name=value` on the command line.

    The page offers to upload a path with `uploads`: a file with one of these suffixes, or a folder, packed as a tar.
    """

    name: str
    title: str
    kind: type = str  # str, int, bool, Path or tuple (of texts)
    default: Any = None
    choices: tuple[Any, ...] = ()
    help: str = ""
    placeholder: str = ""  # what stands in the empty field
    is_required: bool = False
    uploads: tuple[str, ...] = ()

    def read(self, value: Any) -> Any:
        """A value, or its text, in the option's kind; raises UserError where it is none of it or not among the choices.

        A path is made absolute.
        """
        read = self._typed(value)
        if self.choices and read not in self.choices:
            listed = ", ".join(str(choice) for choice in self.choices)
            raise UserError(f"The option {self.name} is one of {listed}, received {value!r}.")
        return read

    def _typed(self, value: Any) -> Any:
        if self.kind is tuple:
            return (value,) if isinstance(value, str | Path) else tuple(value)
        if self.kind is Path:
            text = os.fspath(value) if isinstance(value, str | Path) else ""
            if text.strip() and "\0" not in text:
                return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111  (a link keeps its name)
        elif self.kind is bool:
            if isinstance(value, bool) or str(value).lower() in (*_YES, *_NO):
                return value if isinstance(value, bool) else value.lower() in _YES
        elif self.kind is int:
            if not isinstance(value, bool) and str(value).strip().lstrip("+-").isdecimal():
                return int(value)
        elif isinstance(value, str):
            return value
        raise UserError(f"The option {self.name} is {_WORDS[self.kind]}, received {value!r}.")


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """What a reader is given.

    Attributes:
        values: the checked value of every option of the source.
        folder: a folder of its own that is kept as long as the data set, where it unpacks or downloads. It is there
            only where an earlier import with these values filled it, and then whole: see `filled_folder`.
        is_allowed: what may be read of paths that a person typed; None for all.
        progress: called with done, total and a word for what is done; raises where the person cancelled.
    """

    values: Mapping[str, Any]
    folder: Path
    min_classes: int = 2
    is_allowed: Callable[[Path], bool] | None = None
    progress: Progress = ignore_progress

    def filled_folder(self, fill: Callable[[Path], None]) -> Path:
        """The source's folder, filled by `fill` if no earlier import did; whole, or not there."""
        if not self.folder.exists():
            half = self.folder.with_name(f"{self.folder.name}.half")
            half.mkdir(parents=True)
            fill(half)
            half.rename(self.folder)
        return self.folder


@dataclass(frozen=True, kw_only=True)
class FoundImages:
    """What a reader found: the files with their classes, and what the source says of the set.

    `spec_changes` are fields of `DatasetSpec`: title, domain, licence, source_url, description, is_ordinal, is_medical.
    `write`, where the images are no files yet, writes those of the entries that it is given; it is called before they
    are decoded, with those that were chosen.
    The data set is called `name` where the person gives no other; "" for the name of the folder.
    """

    scan: FolderScan
    spec_changes: Mapping[str, Any] = field(default_factory=dict)
    write: Callable[[Sequence[SourceEntry], Progress], None] | None = None
    name: str = ""


def _takes_nothing(_path: Path) -> bool:
    return False


def _never_changes(_values: Mapping[str, Any]) -> str:
    return "published"


def only_reading_tells(_values: Mapping[str, Any]) -> str:
    """The `state` of a source whose files lie where anybody may change them."""
    return ""


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """One source; `read` raises UserError with one sentence, and leaves nothing half behind.

    The first option is what stands behind `datasets import` without a name.

    Attributes:
        takes: whether a path that somebody gives, without naming a source, is one of this kind.
        state: checked values to a text that changes when the source does, without reading it; as long as it is the same
            an import is only opened. "" where only reading tells.
        is_unlabelled: its images have no classes yet: a person names them and labels the images afterwards.
        look: values to a folder with the names of the source's files, for a preview before the import: None for none.
    """

    name: str
    title: str
    summary: str
    read: Callable[[SourceRequest], FoundImages]
    options: tuple[SourceOption, ...] = ()
    needs_network: bool = False
    is_unlabelled: bool = False
    takes: Callable[[Path], bool] = _takes_nothing
    state: Callable[[Mapping[str, Any]], str] = _never_changes
    look: Callable[[SourceRequest], Path] | None = None

    def complete(self, given: Mapping[str, Any], *, is_allowed: Callable[[Path], bool] | None = None) -> dict[str, Any]:
        """All options, those that are not given (or None) at their defaults.

        Raises UserError for an unknown, missing or bad one, and for a path that is not allowed.
        """
        known = {option.name: option for option in self.options}
        for name in given:
            if name not in known:
                raise UserError(
                    f"The source {self.name} has no option {shown(name)!r}; it knows: {', '.join(known) or 'none'}."
                )
        values = {}
        for name, option in known.items():
            value = given.get(name)
            is_missing = value is None or (isinstance(value, str | Path) and not os.fspath(value).strip())
            if is_missing and option.is_required:
                raise UserError(f"The source {self.name} needs its option {name}: {option.title[:1].lower()}"
                                f"{option.title[1:]}.")  # fmt: skip
            values[name] = option.default if is_missing else option.read(value)
            if option.kind is Path and not is_missing and is_allowed is not None and not is_allowed(values[name]):
                raise UserError(f"{shown(values[name])} is outside the folders that the dashboard may read.")
        return values

    def key(self, values: Mapping[str, Any]) -> str:
        """What tells one import of this source from another: its path, resolved, or else name and values."""
        if isinstance(path := values.get("path"), Path):
            return str(path.resolve())
        said = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
        return f"{self.name} ({said})" if said else self.name


SOURCES: Registry[SourceSpec] = Registry("source")
