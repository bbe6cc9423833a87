"""Public data sets as sources: an entry says what is published where; its files are fetched when somebody imports it.

They are kept below `downloads/` of the data folder, one folder for each set, for every import of it: all classes today,
ten of them tomorrow. Classes stand in their published order, and published parts are kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, Timeout

from lib.data.library import library_lock
from lib.data.sources.files import SourceEntry, natural_key
from lib.data.sources.folder import FolderScan
from lib.data.sources.image_arrays import ArrayReader, write_images
from lib.data.sources.remote_files import RemoteFile, bring_files
from lib.data.sources.table import FoundImages, SourceOption, SourceRequest, SourceSpec
from lib.errors import UserError
from lib.progress import size_words
from lib.settings import downloads_dir

CLASSES = SourceOption(
    name="classes",
    title="Classes",
    placeholder="all",
    help="All if empty; a number for the first so many; or their names between commas.",
)
_WAIT_S = 0.5


@dataclass(frozen=True)
class PublishedImages:
    """Which images a set has; `images` are path, class and part ("" where none is published) of each.

    `arrays` gives their pixels where they are published as arrays, not as files: the files are written then.
    """

    class_names: tuple[str, ...]
    images: Iterable[tuple[Path, str, str]]
    arrays: ArrayReader | None = None


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A data set that anybody can download.

    Attributes:
        num_bytes: of the download; the least and the most where that is to be chosen.
        files: checked options -> what is fetched. `list_images`: the set's folder and checked options -> its images.
        needs_module: a package without which its files cannot be read.
    """

    name: str
    title: str
    num_images: int
    num_classes: int
    num_bytes: tuple[int, ...]
    licence: str
    source_url: str
    description: str
    files: Callable[[Mapping[str, Any]], Sequence[RemoteFile]]
    list_images: Callable[[Path, Mapping[str, Any]], PublishedImages]
    domain: str = "photographs"
    is_medical: bool = False
    is_ordinal: bool = False
    options: tuple[SourceOption, ...] = ()
    needs_module: str = ""

    @property
    def size(self) -> str:
        """How large the download is, in words."""
        return " to ".join(map(size_words, self.num_bytes))

    @property
    def folder(self) -> Path:
        """Where its files are kept."""
        return downloads_dir() / self.name

    def entry(self) -> SourceSpec:
        """Its line in the table of sources."""
        return SourceSpec(
            name=self.name,
            title=self.title,
            summary=f"{self.description} {self.num_images:,} images, {self.num_classes} classes; download of "
            f"{self.size}; licence: {self.licence}.",
            read=self.read,
            options=self.options,
            needs_network=True,
        )

    def read(self, request: SourceRequest) -> FoundImages:
        """Fetch what is not there yet, and list the images.

        Raises UserError with one sentence where a class is not known or a file cannot be had.
        """
        self._check_number(_asked_classes(request), request.min_classes)
        if self.needs_module and find_spec(self.needs_module) is None:
            raise UserError(
                f"{self.title} cannot be read without the package {self.needs_module}; install it (pip install "
                f"{self.needs_module}) and import again."
            )
        request.progress(0, 0, f"Looking for the files of {self.title}")  # torch takes seconds to come
        lock = library_lock(f"download {self.name}")
        _wait_for(lock, self.title, request)
        try:
            bring_files(self.files(request.values), self.folder, title=self.title, progress=request.progress)
        finally:
            lock.release()
        return self._found(request)

    def _found(self, request: SourceRequest) -> FoundImages:
        published = self.list_images(self.folder, request.values)
        class_names = chosen_classes(published.class_names, _asked_classes(request), min_classes=request.min_classes)
        place = {name: number for number, name in enumerate(class_names)}
        images = [image for image in published.images if image[1] in place]
        images.sort(key=lambda image: (place[image[1]], natural_key(image[0].as_posix())))
        arrays = published.arrays
        try:
            entries = [_entry(self.folder, *image, is_there=arrays is None) for image in images]
        except FileNotFoundError as error:
            raise UserError(
                f"{error.filename} is missing; delete the folder {self.folder} and import {self.title} again."
            ) from None
        scan = FolderScan(self.folder, entries, [], class_names)
        said = ("title", "domain", "licence", "source_url", "description", "is_medical", "is_ordinal")
        changes = {name: getattr(self, name) for name in said}
        if arrays is None:
            return FoundImages(scan=scan, spec_changes=changes)
        write = lambda entries, progress: write_images(entries, arrays, progress)  # noqa: E731
        return FoundImages(scan=scan, spec_changes=changes, write=write)

    def _check_number(self, asked: str, min_classes: int) -> None:
        """Refuse an impossible number of classes before anything is fetched."""
        if asked.strip().lstrip("-").isdecimal() and not min_classes <= int(asked) <= self.num_classes:
            raise UserError(
                f"{self.title} has {self.num_classes} classes; a number from {min_classes} to {self.num_classes} was "
                f"expected for classes, received {asked.strip()}."
            )


def _wait_for(lock: BaseFileLock, title: str, request: SourceRequest) -> None:
    """Take the lock of a set's folder, in steps between which the person may cancel."""
    while True:
        try:
            lock.acquire(timeout=_WAIT_S)
        except Timeout:
            request.progress(0, 1, f"Waiting for another import of {title}")
        else:
            return


def chosen_classes(class_names: tuple[str, ...], asked: str, *, min_classes: int = 2) -> tuple[str, ...]:
    """The classes that a text names, in their own order: all for "", the first N for "N", else names between commas.

    Raises UserError for a name that is not among them, or too few of them.
    """
    if not asked.strip():
        return class_names
    if asked.strip().isdecimal():
        return class_names[: int(asked)]
    spelled = {_spelling(name): name for name in class_names}
    wanted = [name for name in asked.split(",") if name.strip()]
    unknown = [name.strip() for name in wanted if _spelling(name) not in spelled]
    if unknown:
        raise UserError(f"There is no class {unknown[0]!r}; choose among: {', '.join(class_names)}.")
    chosen = {spelled[_spelling(name)] for name in wanted}
    if len(chosen) < min_classes:
        raise UserError(f"Two classes at least are needed to train, received {asked.strip()!r}.")
    return tuple(name for name in class_names if name in chosen)


def _asked_classes(request: SourceRequest) -> str:
    return str(request.values.get("classes") or "")


def _spelling(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _entry(root: Path, path: Path, class_name: str, split: str, *, is_there: bool) -> SourceEntry:
    """An image; one that has yet to be written has neither size nor time, so that its listing stays the same."""
    facts = path.stat() if is_there else None
    num_bytes, modified_ns = (facts.st_size, facts.st_mtime_ns) if facts else (0, 0)
    return SourceEntry(
        path, path.relative_to(root).parts, num_bytes, modified_ns, class_name=class_name, split=split
    )  # fmt: skip
