"""The walk through a folder with one sub-folder per class.

Nothing is passed over in silence: what is not an entry is left out with a reason.
"""

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

from lib.data.images import FORMATS_TEXT
from lib.data.sources.layout import (
    SPLIT_FOLDERS,
    children,
    has_image_suffix,
    is_folder,
    is_image,
    is_noise,
    shown,
    split_folders,
    why_no_image,
)
from lib.data.sources.metadata import METADATA_FILE, mask_folders

LAYOUT_HINT = "Expected: one sub-folder per class with its images directly inside, such as cat/1.jpg and dog/2.jpg"
_MAX_LISTED = 20_000


@dataclass(frozen=True)
class SourceEntry:
    """One file that looks like an image; `split` is "train", "val", "test" or "" where the folders say nothing."""

    path: Path
    relative: str
    class_name: str
    split: str = ""
    group_id: str = ""
    laterality: str = ""
    mask_path: Path | None = None
    flags: str = ""
    num_bytes: int = 0
    modified_ns: int = 0


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not used, and why; `path` is relative to the source."""

    path: str
    reason: str


@dataclass
class FolderWalk:
    """The walk through one folder: `entries` are images in class folders, `left_out` is all else, with reasons."""

    root: Path
    base: Path = Path()  # the root, or the lone folder inside it that an archive brought along
    entries: list[SourceEntry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    num_loose: int = 0  # images that lie above the class folders
    deep_example: str = ""  # an image that lies below them
    mask_folders: set[Path] = field(default_factory=set)  # named by the table; they hold no images

    def run(self) -> None:
        """Fill `entries` and `left_out`."""
        self.base = self._unwrap()
        self.mask_folders = {self.base / name for name in mask_folders(self.base)}
        splits = split_folders(self.base)
        if not splits:
            self._classes(self.base, "")
            return
        for child in children(self.base):
            if child.name in splits:
                self._classes(Path(child.path), SPLIT_FOLDERS[child.name.lower()])
            elif self._is_visible(child):
                self._leave_all(child, "lies beside train/, not inside")

    def why_empty(self) -> str:
        """The sentence for a folder without a usable image."""
        name = shown(self.root)
        splits = sorted(child.name for child in children(self.base) if child.name.lower() in SPLIT_FOLDERS)
        if self.deep_example and splits:
            found = " and ".join(f"{shown(split)}/" for split in splits)
            return f"{name} has {found} but no train/; add a train/ folder, or give a folder with one sub-folder per class."
        if self.deep_example:
            return (
                f"The images in {name} lie too deep (such as {self.deep_example}). {LAYOUT_HINT}; "
                "give the folder one level above the classes."
            )
        if self.num_loose:
            return f"{name} has {self.num_loose} images but no class folders. {LAYOUT_HINT}."
        if self.left_out:
            return f"{name} holds no images ({FORMATS_TEXT}) in class folders. {LAYOUT_HINT}."
        return f"{name} is empty. {LAYOUT_HINT}."

    def _unwrap(self) -> Path:
        """Step through lone folders that an archive brought along, if they lead to several folders."""
        chain = [self.root]
        while True:
            visible = [child for child in children(chain[-1]) if not is_noise(child.name)]
            folders = [child for child in visible if is_folder(child)]
            if any(is_image(child) for child in visible) or not folders or len(chain) > 4:
                return self.root
            if len(folders) > 1:
                break
            chain.append(Path(folders[0].path))
        for folder, inner in itertools.pairwise(chain):
            for child in children(folder):
                if child.name != inner.name and self._is_visible(child):
                    self._leave(child, "lies above the class folders")
        return chain[-1]

    def _classes(self, folder: Path, split: str) -> None:
        """Take the class folders of one level."""
        for child in children(folder):
            if not self._is_visible(child):
                continue
            if is_folder(child):
                self._class(child, split)
            elif is_image(child):
                self.num_loose += 1
                self._leave(child, "lies in no class folder")
            else:
                self._leave(child, why_no_image(child))

    def _class(self, folder: os.DirEntry[str], split: str) -> None:
        class_name = shown(folder.name)
        is_empty = True
        for child in children(Path(folder.path)):
            is_empty = False
            if not self._is_visible(child):
                continue
            if is_folder(child):
                self._leave_all(child, "lies deeper than the class folder; only images directly inside are used")
            elif is_image(child):
                facts = child.stat()
                self.entries.append(
                    SourceEntry(
                        Path(child.path),
                        self._relative(child),
                        class_name,
                        split,
                        num_bytes=facts.st_size,
                        modified_ns=facts.st_mtime_ns,
                    )
                )
            else:
                self._leave(child, why_no_image(child))
        if is_empty:
            self._leave(folder, "empty folder")

    def _is_visible(self, child: os.DirEntry[str]) -> bool:
        if child.name == METADATA_FILE and Path(child.path).parent in (self.root, self.base):
            return False  # read by itself
        if Path(child.path) in self.mask_folders:
            return False  # read with the images
        if not is_noise(child.name):
            return True
        self._leave(child, "hidden folder" if is_folder(child) else "hidden file")
        return False

    def _leave_all(self, child: os.DirEntry[str], reason: str) -> None:
        if not is_folder(child):
            self._leave(child, reason)
            return
        found = 0
        for top, folders, files in os.walk(child.path):  # follows no links, so it cannot run in circles
            folders[:] = sorted(name for name in folders if not is_noise(name))
            for name in sorted(files):
                found += 1
                if len(self.left_out) >= _MAX_LISTED:
                    self.left_out.append(LeftOut(self._relative(child), "and more: the folder is too large to list"))
                    return
                relative = shown(Path(top, name).relative_to(self.root))
                self.left_out.append(LeftOut(relative, reason))
                if has_image_suffix(name) and not is_noise(name):
                    self.deep_example = self.deep_example or relative
        if not found:
            self._leave(child, reason)

    def _leave(self, child: os.DirEntry[str], reason: str) -> None:
        self.left_out.append(LeftOut(self._relative(child), reason))

    def _relative(self, child: os.DirEntry[str]) -> str:
        return shown(Path(child.path).relative_to(self.root))
