"""How a class folder on disk is read: names, suffixes, noise, train/ and val/ folders."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from lib.data.images import FORMATS_TEXT
from lib.errors import UserError

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
        *(".heic", ".heif", ".hif"),
    )
)
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What operating systems and network disks leave behind.
_SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found", "icon\r"}


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """A sorting key by which "2_moderate" comes before "10_other"."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts] + [(2, 0, text)]


def shown(path: str | Path) -> str:
    """A path or name as one printable line: undecodable bytes and control characters become U+FFFD."""
    text = unicodedata.normalize("NFC", os.fsencode(path).decode("utf-8", errors="replace"))
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def existing_folder(path: str | Path) -> Path:
    """Resolve the path of a folder; raises UserError if it is none."""
    folder = Path(path)
    try:
        folder = folder.expanduser()
        if folder.is_dir():
            return folder.resolve()
        exists = folder.exists()
    except (OSError, ValueError, RuntimeError):
        exists = False
    if exists:
        raise UserError(
            f"{shown(folder)} is a file, not a folder; unpack it or give the folder that holds the class folders."
        )
    raise UserError(f"There is no folder {shown(folder)}; check the path.")


def split_folders(base: Path) -> set[str]:
    """Names of the train/val/test folders; empty if these names are classes (a class of trains holds images itself)."""
    found: set[str] = set()
    for child in children(base):
        if child.name.lower() in SPLIT_FOLDERS and is_folder(child):
            inside = list(children(Path(child.path)))
            if any(is_folder(grandchild) and not is_noise(grandchild.name) for grandchild in inside):
                found.add(child.name)
            elif not any(is_image(grandchild) for grandchild in inside):
                found.add(child.name)  # empty, or text only
    has_train = any(SPLIT_FOLDERS[name.lower()] == "train" for name in found)
    if not has_train:
        return set()
    # A flat test/ of unlabelled images beside a real train/ is a split folder too.
    return {c.name for c in children(base) if c.name.lower() in SPLIT_FOLDERS and is_folder(c)}


def children(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies directly in a folder, sorted by name; raises UserError if it cannot be read."""
    try:
        with os.scandir(folder) as opened:
            children = sorted(opened, key=lambda child: child.name)
    except OSError as error:
        raise UserError(
            f"The folder {shown(folder)} cannot be read ({error.strerror}); change its permissions."
        ) from None
    yield from children


def is_noise(name: str) -> bool:
    """Whether a name is hidden, or something that the operating system leaves behind."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def has_image_suffix(name: str) -> bool:
    """Whether a name ends like an image's, in upper or lower case."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def is_folder(child: os.DirEntry[str]) -> bool:
    """Whether this is a folder or a link to one; False for a link that leads nowhere or in a circle."""
    return os.path.isdir(child.path) if child.is_symlink() else child.is_dir()  # noqa: PTH112  (scandir's answer is free)


def is_image(child: os.DirEntry[str]) -> bool:
    """Whether this is an ordinary file, or a link to one, that is named like an image."""
    return has_image_suffix(child.name) and not is_noise(child.name) and _is_file(child)


def why_no_image(child: os.DirEntry[str]) -> str:
    """The reason for which a file that is not `is_image` is left out."""
    if child.is_symlink() and not Path(child.path).exists():
        return "link to a file that does not exist"
    if not _is_file(child):
        return "not an ordinary file"
    suffix = shown(Path(child.name).suffix)
    if not suffix:
        return "its name has no suffix such as .jpg"
    return f"the suffix {suffix} is not one of the images that are read ({FORMATS_TEXT})"


def _is_file(child: os.DirEntry[str]) -> bool:
    return os.path.isfile(child.path) if child.is_symlink() else child.is_file()  # noqa: PTH113
