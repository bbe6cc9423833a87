"""Reads classes from folders: one sub-folder per class, below train/, val/ and test/ or not.

Whatever lies elsewhere is listed; where a whole class or part would be lost, or two readings are possible, the folder
is refused with what to do.
"""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field

from lib.data.images import FORMATS_TEXT
from lib.data.sources.folder_walk import FolderWalk, FoundFile, LeftOut, SourceEntry
from lib.data.sources.layout import distinct_names, is_side_folder, natural_key, shown, split_of
from lib.data.sources.split_folders import inside_part, parts_of, split_base
from lib.errors import UserError

LAYOUT_HINT = (
    "Expected: one sub-folder per class with its images directly inside, such as cat/1.jpg and dog/2.jpg, or a label "
    "file (a CSV such as trainLabels.csv with the columns image and level) in the folder or beside it"
)


@dataclass
class Layout:
    """What a folder means: its images with class and split, what is left out, and what is to be said of it."""

    entries: list[SourceEntry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In natural order: 2 before 10."""
        return tuple(sorted({entry.class_name for entry in self.entries}, key=natural_key))


@dataclass(frozen=True)
class _Placed:
    """An image with what its folders say; `inner` are the names from the class folder on, the file's own last."""

    file: FoundFile
    split: str
    inner: tuple[str, ...]


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
        raise UserError(_why_no_classes(walk, placed))
    _refuse_lost_parts(walk, placed)
    in_classes = _choose_level(walk, in_classes, layout)
    names = distinct_names(_class_key(one) for one in in_classes)
    layout.entries = [entry_of(one.file, class_name=names[_class_key(one)], split=one.split) for one in in_classes]
    if len(names) < min_classes:
        raise OnlyOneClass(
            f"{shown(walk.root)} has only one class, {next(iter(names.values()))!r}; at least two are needed. "
            f"{LAYOUT_HINT}."
        )
    return layout


def entry_of(file: FoundFile, *, class_name: str, split: str) -> SourceEntry:
    """An image of a class."""
    return SourceEntry(
        file.path, file.key, class_name, split, num_bytes=file.num_bytes, modified_ns=file.modified_ns
    )  # fmt: skip


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
        elif top:
            _refuse_another_part(walk, top, files, inner, base)
            layout.left_out += [LeftOut(file.relative, "lies beside train/, not inside") for file in files]
            layout.notices.append(f"{shown(top)}/ is not used ({len(files):,} images): it lies beside train/.")
        else:
            layout.left_out += [LeftOut(file.relative, "lies beside train/, not inside") for file in files]
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
    walk: FolderWalk,
    top: str,
    files: list[FoundFile],
    inner: dict[str, list[tuple[str, ...]]],
    base: tuple[str, ...],
) -> None:
    """Refuse a folder beside train/ that may be a part or a class."""
    class_keys = {_normal(names[0]) for found in inner.values() for names in found if len(names) > 1}
    inside = {_normal(name) for file in files for name in file.parts[len(base) + 1 : -1]}
    if inside & class_keys:
        raise UserError(
            f"{shown(walk.root)} has {shown(top)}/ beside train/, with the same class folders inside; call it val or "
            "test if it is one of them, or move it away."
        )
    if len(inner) == 1:
        raise UserError(
            f"{shown(walk.root)} has images in {shown(top)}/ beside {shown(next(iter(inner)))}/ with its class "
            f"folders, so that {shown(top)} could be a class or be left out; move it away, or give the folder "
            f"{shown(next(iter(inner)))}/ itself."
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
    direct = {_class_key(one) for one in in_classes if len(one.inner) == 2}
    kept, deep = [], defaultdict(list)
    for one in in_classes:
        if any(is_side_folder(name) for name in one.inner[1:-1]):
            layout.left_out.append(LeftOut(one.file.relative, "lies in a folder of masks or thumbnails"))
            continue
        kept.append(one)
        if len(one.inner) > 2:
            deep[_class_key(one)].append(one)
    below = {
        _normal(one.inner[1]) for files in deep.values() for one in files if _normal(one.inner[1]) != _class_key(one)
    }
    example = next((files[0].file.relative for files in deep.values()), "")
    if not direct and len(below) > 1:
        raise UserError(
            f"The images in {shown(walk.root)} lie too deep (such as {example}), so that it is not clear which folders "
            f"are the classes. {LAYOUT_HINT}; give the folder one level above the classes."
        )
    for class_key, files in deep.items():
        twins = sorted({one.inner[1] for one in files if _normal(one.inner[1]) in {*direct, *deep} - {class_key}})
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
    lost = {_class_key(one) for one in in_classes} - {_class_key(one) for one in kept}
    if lost:
        raise UserError(
            f"The class folder {shown(min(lost))}/ of {shown(walk.root)} has images only in folders of masks or "
            "thumbnails; move its images up into it, or the folder away."
        )
    return kept


def _why_no_classes(walk: FolderWalk, placed: list[_Placed]) -> str:
    name = shown(walk.root)
    if placed:
        return f"{name} has {len(placed)} images but no class folders. {LAYOUT_HINT}."
    if not walk.is_empty:
        return f"{name} holds no images ({FORMATS_TEXT}) in class folders. {LAYOUT_HINT}."
    return f"{name} is empty. {LAYOUT_HINT}."


def _class_key(one: _Placed) -> str:
    return _normal(one.inner[0])


def _normal(name: str) -> str:
    """One spelling of a folder's name: another system may have taken accents apart."""
    return unicodedata.normalize("NFC", name)
