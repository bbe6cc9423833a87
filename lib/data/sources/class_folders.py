"""Reads parts and classes from folders: one sub-folder per class, below train/, val/ and test/ or not.

Whatever lies elsewhere is listed; where a whole class or part would be lost, or two readings are possible, the folder
is refused with what to do.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from lib.data.images import FORMATS_TEXT
from lib.data.sources.files import (
    FolderWalk,
    FoundFile,
    LeftOut,
    SourceEntry,
    distinct_names,
    natural_key,
    normal,
    one_spelling,
    shown,
    spelling_notices,
    split_of,
)
from lib.errors import UserError

LAYOUT_HINT = (
    "Expected: one sub-folder per class with its images directly inside, such as cat/1.jpg and dog/2.jpg, or a label "
    "file (a CSV such as trainLabels.csv with the columns image and level) in the folder or beside it"
)
# Pictures that go with images but are none of a class.
_SIDE_FOLDERS = frozenset(
    (
        *("mask", "masks", "annotation", "annotations", "segmentation", "segmentations", "groundtruth", "ground_truth"),
        *("thumb", "thumbs", "thumbnail", "thumbnails"),
    )
)
_BESIDE = "lies beside train/, not inside"


def common_folder(images: Iterable[FoundFile]) -> tuple[str, ...]:
    """The names of the folders that all images lie below: what an archive brought along, perhaps."""
    levels = zip(*{file.parts[:-1] for file in images}, strict=False)
    return tuple(names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels))


def parts_of(images: Iterable[FoundFile], base: tuple[str, ...]) -> dict[str, list[FoundFile]]:
    """The images by the first folder below `base`; "" for those directly in it."""
    found: dict[str, list[FoundFile]] = defaultdict(list)
    for file in images:
        inner = file.parts[len(base) :]
        found[inner[0] if len(inner) > 1 else ""].append(file)
    return dict(found)


def inside_part(part: str, images: list[FoundFile], base: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The names below a folder such as training_set/, which may hold all once more in a folder of that kind."""
    inner = [file.parts[len(base) + 1 :] for file in images]
    while True:
        firsts = {names[0] for names in inner if len(names) > 1}
        if len(firsts) != 1 or split_of(first := firsts.pop()) != split_of(part):
            return inner
        inner = [names[1:] if names[0] == first and len(names) > 1 else names for names in inner]


def split_base(images: list[FoundFile]) -> tuple[str, ...]:
    """Where train/, val/ and test/ or the class folders lie: below the lone folders that lead to them."""
    base = common_folder(images)
    tops = parts_of(images, base)
    if any(split_of(top) == "train" for top in tops):
        return base
    for depth, name in enumerate(base):
        if split_of(name):
            return base[:depth]  # a lone train/, perhaps doubled
    return base[:-1] if "" in tops and base else base


def split_in(file: FoundFile, base: tuple[str, ...]) -> str:
    """The split that the first folder below `base` says, else ""."""
    inner = file.parts[len(base) :]
    return split_of(inner[0]) if len(inner) > 1 else ""


@dataclass
class Layout:
    """What a folder means: its images with class and split, what is left out, and what is to be said of it."""

    entries: list[SourceEntry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    has_joined: bool = False  # spellings of classes, which then are not the names of folders

    @property
    def class_names(self) -> tuple[str, ...]:
        """In natural order: 2 before 10."""
        return tuple(sorted({entry.class_name for entry in self.entries}, key=natural_key))

    def class_names_of(self, keys: Iterable[str]) -> dict[str, str]:
        """A name for each key of a class, those alike but for case and blanks as one, which is noted."""
        spelled = one_spelling(Counter(keys))
        names = distinct_names(spelled.values())
        notices = spelling_notices(spelled)
        self.notices += notices
        self.has_joined = self.has_joined or bool(notices)
        return {key: names[taken] for key, taken in spelled.items()}


@dataclass(frozen=True)
class _Placed:
    """An image with what its folders say; `inner` are the names from the class folder on, the file's own last."""

    file: FoundFile
    split: str
    inner: tuple[str, ...]

    @property
    def class_key(self) -> str:
        """The class folder's name in one spelling."""
        return normal(self.inner[0])


class OnlyOneClass(UserError):
    """A folder that could be read, of a single class: nothing to train on, and enough to evaluate on."""


def read_class_folders(walk: FolderWalk, images: list[FoundFile], *, min_classes: int = 2) -> Layout:
    """The classes of `images`, which are those of the walk that are no masks.

    Raises UserError if there are no class folders, too few classes, or a class or part could not be used.
    """
    layout = Layout()
    placed = _place(walk, images, layout)
    in_classes = [one for one in placed if len(one.inner) > 1]
    for one in placed:
        if len(one.inner) == 1:
            layout.left_out.append(LeftOut(one.file.relative, "lies in no class folder"))
    if not in_classes:
        what = "is empty" if walk.is_empty else f"holds no images ({FORMATS_TEXT}) in class folders"
        what = f"has {len(placed)} images but no class folders" if placed else what
        raise UserError(f"{shown(walk.root)} {what}. {LAYOUT_HINT}.")
    _refuse_lost_parts(walk, placed)
    in_classes = _choose_level(walk, in_classes, layout)
    names = layout.class_names_of(one.class_key for one in in_classes)
    layout.entries = [one.file.entry(names[one.class_key], one.split) for one in in_classes]
    if len(names) < min_classes:
        raise OnlyOneClass(
            f"{shown(walk.root)} has only one class, {next(iter(names.values()))!r}; at least two are needed. "
            f"{LAYOUT_HINT}."
        )
    return layout


def _place(walk: FolderWalk, images: list[FoundFile], layout: Layout) -> list[_Placed]:
    """Each image with split and class folders; what lies beside train/ is left out."""
    base = split_base(images)
    tops = parts_of(images, base)
    inner = {top: inside_part(top, files, base) for top, files in tops.items() if split_of(top)}
    is_nested = {top: any(len(names) > 1 for names in found) for top, found in inner.items()}
    has_train = any(is_nested[top] and split_of(top) == "train" for top in inner)
    is_only_parts = bool(inner) and set(tops) <= {*inner, ""}
    if not has_train and not (is_only_parts and len(tops) == 1):
        _refuse_parts_alone(walk, tops, is_nested, is_only_parts=is_only_parts)
        return [_Placed(file, "", file.parts[len(base) :]) for file in images]
    placed = []
    for top, files in tops.items():
        if top in inner:
            split = split_of(top) if has_train else ""
            placed += [_Placed(file, split, names) for file, names in zip(files, inner[top], strict=True)]
            continue
        layout.left_out += [LeftOut(file.relative, _BESIDE) for file in files]
        if top:
            folders = {normal(name) for file in files for name in file.parts[len(base) + 1 : -1]}
            _refuse_another_part(walk, top, folders, inner)
            layout.notices.append(f"{shown(top)}/ is not used ({len(files):,} images): it lies beside train/.")
    return placed


def _refuse_parts_alone(
    walk: FolderWalk, tops: dict[str, list[FoundFile]], is_nested: dict[str, bool], *, is_only_parts: bool
) -> None:
    """Refuse test/ and val/ without train/, and flat parts, which are no classes."""
    found = " and ".join(f"{shown(top)}/" for top in sorted(is_nested))
    flat = [top for top, nested in is_nested.items() if not nested and split_of(top) == "train"]
    if any(is_nested.values()) and flat:
        raise UserError(
            f"{shown(walk.root)} has class folders in some of {found} and none in {shown(flat[0])}/; make one "
            "sub-folder per class there, too."
        )
    if any(is_nested.values()):
        raise UserError(
            f"{shown(walk.root)} has {found} but no train/; add a train/ folder, or give a folder with one sub-folder "
            "per class."
        )
    if is_only_parts:
        number = sum(len(files) for files in tops.values())
        raise UserError(
            f"{shown(walk.root)} has {number:,} images directly in {found}, which name parts and no classes. "
            "Give their classes in a label file beside them, named such as trainLabels.csv and testLabels.csv (columns "
            "image and level), or by --labels FILE; or make one sub-folder per class."
        )


def _refuse_another_part(
    walk: FolderWalk, top: str, folders: set[str], inner: dict[str, list[tuple[str, ...]]]
) -> None:
    """Refuse a folder beside train/, with `folders` inside, that may be a part or a class."""
    other, part = shown(top), shown(next(iter(inner)))
    if folders & {normal(names[0]) for found in inner.values() for names in found if len(names) > 1}:
        raise UserError(
            f"{shown(walk.root)} has {other}/ beside train/, with the same class folders inside; call it val or "
            "test if it is one of them, or move it away."
        )
    if len(inner) == 1:
        raise UserError(
            f"{shown(walk.root)} has images in {other}/ beside {part}/ with its class folders, so that {other} could "
            f"be a class or be left out; move it away, or give the folder {part}/ itself."
        )


def _refuse_lost_parts(walk: FolderWalk, placed: list[_Placed]) -> None:
    """Refuse a split of which no image has a class."""
    for split in ("train", "val", "test"):
        inside = [one for one in placed if one.split == split]
        if inside and not any(len(one.inner) > 1 for one in inside):
            raise UserError(
                f"The {len(inside):,} images of {shown(walk.root)} for {split} (such as {inside[0].file.relative}) lie "
                f"in no class folder, and no label file names them. Make class folders there, add a label file such as "
                f"{split}Labels.csv, move them away, or give the folder of the other part alone."
            )


def _choose_level(walk: FolderWalk, in_classes: list[_Placed], layout: Layout) -> list[_Placed]:
    """Images in sub-folders of a class count as its images, unless those may be the classes."""
    direct = {one.class_key for one in in_classes if len(one.inner) == 2}
    kept, deep = [], defaultdict(list)
    for one in in_classes:
        if any(name.lower() in _SIDE_FOLDERS for name in one.inner[1:-1]):
            layout.left_out.append(LeftOut(one.file.relative, "lies in a folder of masks or thumbnails"))
            continue
        kept.append(one)
        if len(one.inner) > 2:
            deep[one.class_key].append(one)
    inner = [(normal(one.inner[1]), one.class_key) for files in deep.values() for one in files]
    below = {name for name, class_key in inner if name != class_key}
    example = next((files[0].file.relative for files in deep.values()), "")
    if not direct and len(below) > 1:
        raise UserError(
            f"The images in {shown(walk.root)} lie too deep (such as {example}), so that it is not clear which folders "
            f"are the classes. {LAYOUT_HINT}; give the folder one level above the classes."
        )
    for class_key, files in deep.items():
        twins = sorted({one.inner[1] for one in files if normal(one.inner[1]) in {*direct, *deep} - {class_key}})
        if twins:
            raise UserError(
                f"{files[0].file.relative} lies in {shown(class_key)}/{shown(twins[0])}/, and {shown(twins[0])} is a "
                "class of its own; move the images into the class that they belong to."
            )
        folders = sorted({shown(one.inner[1]) for one in files}, key=natural_key)
        listed = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
        layout.notices.append(
            f"Class {shown(class_key)!r}: {len(files):,} images in its sub-folders ({listed}) count as its own."
        )
    lost = {one.class_key for one in in_classes} - {one.class_key for one in kept}
    if lost:
        raise UserError(
            f"The class folder {shown(min(lost))}/ of {shown(walk.root)} has images only in folders of masks or "
            "thumbnails; move its images up into it, or the folder away."
        )
    return kept
