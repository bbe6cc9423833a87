"""The ways to bring images in, one entry each: page and command line offer what stands here.

A source is one entry and one reader, in one file. The reader makes sure that the image files are there (unpacked,
downloaded or just found) and returns which class each is of; decoding and storing is the import's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.data.sources.folder import FolderScan
from lib.progress import Progress, ignore_progress
from lib.registry import Registry


@dataclass(frozen=True, kw_only=True)
class SourceOption:
    """One thing that a source wants to know: a field on the page, `--set name=value` on the command line."""

    name: str
    title: str
    kind: type = str  # str, int, bool or Path
    default: Any = None
    choices: tuple[Any, ...] = ()
    help: str = ""
    is_required: bool = False


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """What a reader is given.

    Attributes:
        values: the checked value of every option of the source.
        folder: a folder of its own that is kept as long as the data set: where it unpacks or downloads.
        is_allowed: what may be read of paths that a person typed; None for all.
        progress: called with done, total and a word for what is done; raises where the person cancelled.
    """

    values: Mapping[str, Any]
    folder: Path
    min_classes: int = 2
    is_allowed: Callable[[Path], bool] | None = None
    progress: Progress = ignore_progress


@dataclass(frozen=True, kw_only=True)
class FoundImages:
    """What a reader found: the files with their classes, and what the source says of the set.

    `spec_changes` are fields of `DatasetSpec`: title, domain, licence, source_url, description, is_ordinal, is_medical.
    """

    scan: FolderScan
    spec_changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """One source; `read` raises UserError with one sentence, and leaves nothing half behind."""

    name: str
    title: str
    summary: str
    read: Callable[[SourceRequest], FoundImages]
    options: tuple[SourceOption, ...] = ()
    needs_network: bool = False


SOURCES: Registry[SourceSpec] = Registry("source")
