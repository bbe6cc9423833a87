"""What lies below a folder: every image, and everything else with the reason why it is none; and how names are read.

Nothing is passed over in silence. Files are known by their true names; clean ones are for the eye only.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib.data.images import FORMATS_TEXT
from lib.errors import UserError

EMPTY_FOLDER = "empty folder"
DEAD_LINK = "link to a file that does not exist"
LEADS_OUT = "a link that leads out of the folders that the dashboard may read"
_MAX_LISTED = 20_000
_MAX_FILES, _MAX_DEPTH = 2_000_000, 40
_IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
        *(".heic", ".heif", ".hif", ".dcm", ".dicom"),
    )
)
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# "training_set", "Validation Set", "test_images", "val2017", "a. Training Set".
_SPLIT_NAME = re.compile(
    rf"(?:(?:[a-z]|\d+)[.)]\s*)?(?P<word>{'|'.join(_SPLIT_WORDS)})(?:[\s_.-]*(?:set|images?|imgs|data|folder|split))?"
    r"[\s_-]*\d{0,4}",
    re.IGNORECASE,
)
# What operating systems and network disks leave behind.
_SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found", "icon\r"}


def normal(name: str) -> str:
    """One spelling of a name: another system, or the maker of a table, may have taken accents apart."""
    return unicodedata.normalize("NFC", name)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """A sorting key by which "2_moderate" comes before "10_other"."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts] + [(2, 0, text)]


def shown(path: str | Path) -> str:
    """A path or name as one printable line, for the eye only: undecodable bytes and control characters become U+FFFD.

    Two names may look the same so; what is looked up is looked up by the true one.
    """
    return "".join(map(_visible, normal(os.fspath(path))))


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


def one_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """For each name the commonest spelling of those that differ in case and blanks alone: "no dr" is "No DR".

    Single letters stay apart: "a" and "A" are two classes of an alphabet.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        alike[spelling_key(name)].append(name)
    spelled = {key: min(names, key=lambda name: (-counts[name], name)) for key, names in alike.items()}
    return {name: spelled[key] for key, names in alike.items() for name in names}


def spelling_key(name: str) -> str:
    """What is the same for names that differ in case and blanks alone."""
    plain = " ".join(normal(name).replace("_", " ").split())
    return plain.casefold() if len(plain) > 1 else name


def spelling_notices(spelled: Mapping[str, str]) -> list[str]:
    """A sentence on names that `one_spelling` took for one, none where there are none."""
    others: dict[str, list[str]] = defaultdict(list)
    for name, taken in sorted(spelled.items()):
        if name != taken:
            others[taken].append(repr(shown(name)))
    listed = [f"{shown(taken)!r} (also {', '.join(names)})" for taken, names in sorted(others.items())[:5]]
    listed += [f"{len(others) - 5:,} more"] if len(others) > 5 else []
    return [f"Classes that differ in case and blanks alone count as one: {'; '.join(listed)}."] if listed else []


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


def has_image_suffix(name: str) -> bool:
    """Whether a name ends like an image's, in upper or lower case."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and f"{dot}{suffix.lower()}" in _IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that operating systems leave behind."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


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
        """The path below the root, for the eye: two files may look the same."""
        return shown(self.key)

    def entry(self, class_name: str, split: str) -> "SourceEntry":
        """The file as an image of a class."""
        return SourceEntry(**vars(self), class_name=class_name, split=split)


NO_CLASS = ""  # of an image that is to be labelled yet


@dataclass(frozen=True, kw_only=True)
class SourceEntry(FoundFile):
    """An image of a class, or of `NO_CLASS`; `split` is "train", "val", "test" or "" where the source says nothing."""

    class_name: str
    split: str = ""
    group_id: str = ""
    laterality: str = ""
    mask_path: Path | None = None
    flags: str = ""
    shown_as: str = ""  # instead of its path, where that names a patient

    @property
    def relative(self) -> str:
        """The path below the root, or what is shown instead of it."""
        return self.shown_as or super().relative


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
        try:
            with os.scandir(folder) as opened:
                children = sorted(opened, key=lambda child: child.name)
        except OSError as error:
            raise UserError(
                f"The folder {shown(folder)} cannot be read ({error.strerror}); change its permissions."
            ) from None
        for child in children:
            self.num_files += 1
            if self.num_files > _MAX_FILES or len(parts) > _MAX_DEPTH:
                raise UserError(
                    f"{shown(self.root)} holds too many files, or folders in folders (at {shown('/'.join(parts))}); "
                    "give the folder of the images."
                )
            self._child(child, (*parts, child.name), above)
        if not children and parts:
            self._leave(parts, EMPTY_FOLDER)

    def _child(self, child: os.DirEntry[str], parts: tuple[str, ...], above: tuple[tuple[int, int], ...]) -> None:
        path, is_link = Path(child.path), child.is_symlink()
        # scandir's answer is free; a link is looked up, and leads nowhere or in a circle where it is neither.
        is_folder = os.path.isdir(path) if is_link else child.is_dir()  # noqa: PTH112  (False where it cannot be read)
        is_regular = os.path.isfile(path) if is_link else child.is_file()  # noqa: PTH113
        if is_link and self.is_allowed is not None and path.exists() and not self.is_allowed(path):
            self._leave(parts, LEADS_OUT)
        elif is_hidden(child.name):
            self._leave(parts, "hidden folder" if is_folder else "hidden file")
        elif is_folder:
            identity = _identity(path)
            if identity in above:
                self._leave(parts, "a link that leads in a circle")
            else:
                self._folder(path, parts, (*above, identity))
        elif is_regular:
            facts = child.stat()
            file = FoundFile(path, parts, facts.st_size, facts.st_mtime_ns)
            if has_image_suffix(child.name):
                self.images.append(file)
            else:
                what = f"the suffix {shown(path.suffix)} is not one of the images that are read ({FORMATS_TEXT})"
                self.others.append((file, what if path.suffix else "its name has no suffix such as .jpg"))
        else:
            is_dead = is_link and not path.exists()
            self._leave(parts, DEAD_LINK if is_dead else "not an ordinary file")

    def _leave(self, parts: tuple[str, ...], reason: str) -> None:
        self.left_out.append(LeftOut(shown("/".join(parts)), reason))


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from all others, by whatever path it is reached."""
    try:
        facts = folder.stat()
    except OSError as error:
        raise UserError(f"The folder {shown(folder)} cannot be read ({error.strerror}).") from None
    return facts.st_dev, facts.st_ino
