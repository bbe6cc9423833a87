"""How a class folder on disk is read: names, suffixes, noise, train/ and val/ folders."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from lib.data.images import FORMATS_TEXT
from lib.errors import UserError

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
        *(".heic", ".heif", ".hif"),
    )
)
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
# "training_set", "Validation Set", "test_images", "val2017", "a. Training Set".
_SPLIT_NAME = re.compile(
    rf"(?:(?:[a-z]|\d+)[.)]\s*)?(?P<word>{'|'.join(_SPLIT_WORDS)})(?:[\s_.-]*(?:set|images?|imgs|data|folder|split))?"
    r"[\s_-]*\d{0,4}",
    re.IGNORECASE,
)
# Pictures that go with images but are none of a class.
_SIDE_FOLDERS = frozenset(
    (
        *("mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "groundtruth", "ground_truth"),
        *("thumb", "thumbs", "thumbnail", "thumbnails"),
    )
)
# What operating systems and network disks leave behind.
_SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found", "icon\r"}


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """A sorting key by which "2_moderate" comes before "10_other"."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts] + [(2, 0, text)]


def shown(path: str | Path) -> str:
    """A path or name as one printable line, for the eye only: undecodable bytes and control characters become U+FFFD.

    Two names may look the same so; what is looked up is looked up by the true one.
    """
    return "".join(map(_visible, unicodedata.normalize("NFC", os.fspath(path))))


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if unicodedata.category(letter) == "Zs" else "\ufffd"  # the narrow space in the name of a screenshot


def storable(name: str) -> str:
    r"""A true name as text that any file holds: bytes that are no text become "\udce9", and no two names become one."""
    return name.encode("utf-8", errors="backslashreplace").decode("utf-8")


def distinct_names(keys: Iterable[str]) -> dict[str, str]:
    """A clean name for the eye for each true one; where two would look the same, the later gets a number behind it."""
    names: dict[str, str] = {}
    for key in sorted(set(keys), key=lambda key: (natural_key(shown(key)), key)):
        name, number = shown(key), 2
        while name in names.values():
            name, number = f"{shown(key)} ({number})", number + 1
        names[key] = name
    return names


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


def split_of(name: str) -> str:
    """The split that a folder's name says ("Training": "train", "test_set": "test"), "" for any other."""
    found = _SPLIT_NAME.fullmatch(name.strip())
    return _SPLIT_WORDS[found["word"].lower()] if found else ""


def is_side_folder(name: str) -> bool:
    """Whether a folder inside a class is named as one of masks or thumbnails."""
    return name.lower() in _SIDE_FOLDERS


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
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and f"{dot}{suffix.lower()}" in IMAGE_SUFFIXES


def is_folder(child: os.DirEntry[str]) -> bool:
    """Whether this is a folder or a link to one; False for a link that leads nowhere or in a circle."""
    # scandir's answer is free
    return os.path.isdir(child.path) if child.is_symlink() else child.is_dir()  # noqa: PTH112


def is_image(child: os.DirEntry[str]) -> bool:
    """Whether this is an ordinary file, or a link to one, that is named like an image."""
    return has_image_suffix(child.name) and not is_noise(child.name) and is_regular(child)


def why_no_image(child: os.DirEntry[str]) -> str:
    """The reason for which a file that is not `is_image` is left out."""
    if child.is_symlink() and not Path(child.path).exists():
        return "link to a file that does not exist"
    if not is_regular(child):
        return "not an ordinary file"
    suffix = shown(Path(child.name).suffix)
    if not suffix:
        return "its name has no suffix such as .jpg"
    return f"the suffix {suffix} is not one of the images that are read ({FORMATS_TEXT})"


def is_regular(child: os.DirEntry[str]) -> bool:
    """Whether this is an ordinary file or a link to one: no pipe, no device."""
    return os.path.isfile(child.path) if child.is_symlink() else child.is_file()  # noqa: PTH113
