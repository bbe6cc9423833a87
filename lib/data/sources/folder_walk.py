"""The walk through a folder: every image below it, and everything else with the reason why it is none.

Nothing is passed over in silence. Files are known by their true names; clean ones are for the eye only.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lib.data.sources.layout import children, is_folder, is_image, is_noise, is_regular, shown, why_no_image
from lib.errors import UserError

EMPTY_FOLDER = "empty folder"
LEADS_OUT = "a link that leads out of the folders that the dashboard may read"
_MAX_LISTED = 20_000
_MAX_FILES = 2_000_000
_MAX_DEPTH = 40


@dataclass(frozen=True)
class FoundFile:
    """A file of the folder; `parts` are the true names below the root."""

    path: Path
    parts: tuple[str, ...]
    num_bytes: int = 0
    modified_ns: int = 0

    @property
    def key(self) -> str:
        """The true path below the root."""
        return "/".join(self.parts)

    @property
    def relative(self) -> str:
        """The path below the root, for the eye."""
        return shown(self.key)


@dataclass(frozen=True)
class SourceEntry:
    """One file that looks like an image; `split` is "train", "val", "test" or "" where the folders say nothing."""

    path: Path
    key: str  # the true path below the root
    class_name: str
    split: str = ""
    group_id: str = ""
    laterality: str = ""
    mask_path: Path | None = None
    flags: str = ""
    num_bytes: int = 0
    modified_ns: int = 0

    @property
    def relative(self) -> str:
        """The path below the root, for the eye: two files may look the same."""
        return shown(self.key)


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not used, and why; `path` is relative to the source and for the eye."""

    path: str
    reason: str
    source: Path | None = None  # the file itself, where it is one that was to be used


@dataclass
class FolderWalk:
    """What lies below a folder: `images`, `others` (ordinary files, each with its reason) and `left_out` for the rest.

    Links are followed, to files and folders, except in a circle, and to where `is_allowed` does not let.
    """

    root: Path
    is_allowed: Callable[[Path], bool] | None = None
    images: list[FoundFile] = field(default_factory=list)
    others: list[tuple[FoundFile, str]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    num_files: int = 0

    def run(self) -> "FolderWalk":
        """List everything; raises UserError if a folder cannot be read, or if there is no end to it."""
        self._folder(self.root, (), (_identity(self.root),))
        return self

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all."""
        return not (self.images or self.others or self.left_out)

    def unused(self, used: Iterable[Path] = ()) -> list[LeftOut]:
        """What is no image, with the reasons, except the files that were `used` otherwise."""
        paths = set(used)
        listed = [LeftOut(file.relative, reason) for file, reason in self.others if file.path not in paths]
        if len(listed) > _MAX_LISTED:
            more = f"and {len(listed) - _MAX_LISTED:,} more files that are no images"
            listed = [*listed[:_MAX_LISTED], LeftOut(".", more)]
        return [*self.left_out, *listed]

    def _folder(self, folder: Path, parts: tuple[str, ...], above: tuple[tuple[int, int], ...]) -> None:
        is_bare = True
        for child in children(folder):
            is_bare = False
            self.num_files += 1
            if self.num_files > _MAX_FILES or len(parts) > _MAX_DEPTH:
                raise UserError(
                    f"{shown(self.root)} holds too many files, or folders in folders (at {shown('/'.join(parts))}); "
                    "give the folder of the images."
                )
            self._child(child, (*parts, child.name), above)
        if is_bare and parts:
            self._leave(parts, EMPTY_FOLDER)

    def _child(self, child: os.DirEntry[str], parts: tuple[str, ...], above: tuple[tuple[int, int], ...]) -> None:
        if self._leads_out(child):
            self._leave(parts, LEADS_OUT)
        elif is_noise(child.name):
            self._leave(parts, "hidden folder" if is_folder(child) else "hidden file")
        elif is_folder(child):
            identity = _identity(Path(child.path))
            if identity in above:
                self._leave(parts, "a link that leads in a circle")
            else:
                self._folder(Path(child.path), parts, (*above, identity))
        elif is_regular(child):
            facts = child.stat()
            file = FoundFile(Path(child.path), parts, facts.st_size, facts.st_mtime_ns)
            if is_image(child):
                self.images.append(file)
            else:
                self.others.append((file, why_no_image(child)))
        else:
            self._leave(parts, why_no_image(child))

    def _leads_out(self, child: os.DirEntry[str]) -> bool:
        """Whether this is a link to something that may not be read; what is no link lies in a folder that may be."""
        if self.is_allowed is None or not child.is_symlink() or not Path(child.path).exists():
            return False
        return not self.is_allowed(Path(child.path))

    def _leave(self, parts: tuple[str, ...], reason: str) -> None:
        self.left_out.append(LeftOut(shown("/".join(parts)), reason))


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from all others, by whatever path it is reached."""
    try:
        facts = folder.stat()
    except OSError as error:
        raise UserError(f"The folder {shown(folder)} cannot be read ({error.strerror}).") from None
    return facts.st_dev, facts.st_ino
