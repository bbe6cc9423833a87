"""Corrects single images of a data set: another class, taken out, brought back, a fixed part, and each undone.

An edit is one line of the set's log (lib/data/edit_log.py) and makes a new version of the set; files and pixels are
never touched, and runs open the version that they were trained on.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lib.atomic import write_json
from lib.data.dataset import DESCRIPTION_FILE, Dataset
from lib.data.edit_log import (
    EXCLUDE,
    KINDS,
    PERSON,
    RELABEL,
    RESTORE,
    SPLIT,
    UNDO,
    Edit,
    ImageState,
    append_line,
    new_line,
    read_log,
)
from lib.data.label_schema import FORMAT_VERSION, stored_sources
from lib.data.library import dataset_folder, locked_dataset
from lib.data.splits import TEST, TRAIN, VAL
from lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_MAX_REASON = 500


def add_edit(
    name: str,
    kind: str,
    image_ids: Sequence[str],
    value: str = "",
    reason: str = "",
    *,
    who: str = PERSON,
    expected_version: str | None = None,
) -> Dataset:
    """Add one edit of images of a data set to its log; the data set as it is now.

    `kind` is "relabel" (`value`: a class by its name or the source's), "exclude", "restore" or "split" (`value`:
    "train", "val", "test", or "" to have it drawn again; it holds for the whole group of each image). Images for which
    nothing changes are passed over. Raises UserError where nothing changes at all, an image or class is unknown, a
    class would be left without an image to train, or the set is busy or no longer at `expected_version`.
    """
    if kind not in KINDS[:-1]:
        raise UserError(f"An edit is {', '.join(KINDS[:-1])}, not {kind!r}; undo_edit takes one back.")
    with locked_dataset(name, expected_version) as description:
        dataset = Dataset(dataset_folder(name))
        value = _value(dataset, kind, value)
        ids = _with_groups(dataset, image_ids) if kind == SPLIT else list(dict.fromkeys(image_ids))
        rows = dict(zip(ids, dataset.indices(ids).tolist(), strict=True))
        before = read_log(dataset.folder).states
        ids = [one for one in ids if _changes(dataset, rows[one], before.get(one, ImageState()), kind, value)]
        if not ids:
            raise UserError(f"Nothing to change: {_AS_IT_IS[kind].format(value=value)} already.")
        as_imported = {}
        if kind == RELABEL:
            stored, sources = dataset.stored_targets[0], stored_sources(description)
            as_imported = {"as_imported": [one for one in ids if [*sources, None][stored[rows[one]]] == value]}
        content = {"value": value, "reason": _reason(reason), "who": who, **as_imported}
        return _append(dataset, description, kind, ids, content)


def divide(
    name: str, parts: Mapping[str, str], reason: str = "", *, who: str = PERSON, expected_version: str | None = None
) -> Dataset:
    """Fix the part of many images in one edit, such as the whole split; the data set as it is now.

    `parts` gives "train", "val" or "test" for image ids, "" to have one drawn again. Raises UserError where nothing
    changes, an image or part is unknown, a group would be in two parts, a class would be left without an image to
    train, or the set is busy or no longer at `expected_version`.
    """
    with locked_dataset(name, expected_version) as description:
        dataset = Dataset(dataset_folder(name))
        for part in sorted(set(parts.values())):
            _value(dataset, SPLIT, part)
        ids = list(parts)
        dataset.indices(ids)
        before = read_log(dataset.folder).states
        ids = [one for one in ids if (before.get(one, ImageState()).split or "") != parts[one]]
        if not ids:
            raise UserError("Nothing to change: the data set is divided so already.")
        fixed = {one: state.split or "" for one, state in before.items()} | dict(parts)
        _refuse_crossing_groups(dataset, fixed)
        content = {"value": "", "parts": [parts[one] for one in ids], "reason": _reason(reason), "who": who}
        return _append(dataset, description, SPLIT, ids, content)


def undo_edit(name: str, edit_id: str, *, reason: str = "", who: str = PERSON) -> Dataset:
    """Take one edit back, whatever came after it; what was undone is done again by undoing the undo.

    Raises UserError where there is no such edit, or it has been undone already.
    """
    with locked_dataset(name) as description:
        dataset = Dataset(dataset_folder(name))
        log = read_log(dataset.folder)
        edit = log.get(edit_id)
        if not edit.is_in_effect:
            raise UserError(f"The edit {edit_id} of the data set {name!r} has been undone already.")
        content = {"value": edit.edit_id, "reason": _reason(reason), "who": who}
        return _append(dataset, description, UNDO, list(edit.image_ids), content)


def describe_edit(edit: Edit, dataset: Dataset) -> str:
    """An edit in words, by the names that the classes have now, such as "3 images relabelled as cat"."""
    number = f"{len(edit.image_ids):,} image{'' if len(edit.image_ids) == 1 else 's'}"
    if edit.kind == UNDO:
        return f"edit {edit.value} undone, {number}"
    if edit.kind == RELABEL:
        return f"{number} relabelled as {_class_name(dataset, edit.value)}"
    if edit.kind == SPLIT:
        if edit.parts:
            counts = Counter(edit.parts)
            given = [f"{counts[part]:,} {part or 'drawn again'}" for part in (TRAIN, VAL, TEST, "") if counts[part]]
            return f"{number} divided: {', '.join(given)}"
        return f"{number} fixed to {edit.value}" if edit.value else f"{number} drawn again"
    return f"{number} {'excluded' if edit.kind == EXCLUDE else 'restored'}"


def edits_table(dataset: Dataset) -> "pd.DataFrame":
    """One row an edit and image, for a table or a file: what was changed, when, by whom and why."""
    import pandas as pd

    paths = dict(zip(dataset.table["image_id"], dataset.table["path"], strict=True))
    rows = [
        (
            edit.edit_id, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(edit.time_s)), edit.kind, image_id,
            paths.get(image_id, ""), _value_of(edit, image_id, dataset),
            edit.reason, edit.who, edit.is_in_effect,
        )
        for edit in dataset.edits
        for image_id in edit.image_ids
    ]  # fmt: skip
    columns = ["edit", "time", "kind", "image_id", "path", "value", "reason", "who", "in_effect"]
    return pd.DataFrame(rows, columns=columns)


def find_images(dataset: Dataset, asked: Sequence[str]) -> list[str]:
    """The image ids of what people call images: an id, its beginning, or a path; raises UserError on another."""
    ids, paths = dataset.table["image_id"].tolist(), dataset.table["path"].tolist()
    by_path, known, found = dict(zip(paths, ids, strict=True)), set(ids), []
    for one in asked:
        image_id = one if one in known else by_path.get(one)
        if image_id is None:
            starts = [other for other in ids if len(one) >= 6 and other.startswith(one)]
            ends = [by_path[path] for path in paths if path.endswith(f"/{one}")]
            match [*starts, *ends]:
                case [image_id]:
                    pass
                case []:
                    raise UserError(f"The data set {dataset.name!r} has no image {one!r}; give its id or its path.")
                case _:
                    raise UserError(f"{one!r} is more than one image of {dataset.name!r}; give the whole id or path.")
        found.append(image_id)
    return found


_AS_IT_IS = {
    RELABEL: "all of these images are {value!r}",
    EXCLUDE: "all of these images are excluded",
    RESTORE: "none of these images is excluded; they take part",
    SPLIT: "all of these images are so",
}


def _append(
    dataset: Dataset, description: dict[str, Any], kind: str, ids: Sequence[str], content: dict[str, Any]
) -> Dataset:
    """Write the line, once it is known that the data set can be trained on with it."""
    log = read_log(dataset.folder)
    line = new_line(log, kind, ids, **content)
    if description.get("has_checked_splits"):
        Dataset(dataset.folder, log=log.with_line(line)).split(0)
    if int(description["format_version"]) < FORMAT_VERSION:
        # Before the first edit, so that no earlier program reads the set without its edits.
        write_json(dataset.folder / DESCRIPTION_FILE, {**description, "format_version": FORMAT_VERSION})
    append_line(dataset.folder, line)
    return Dataset(dataset.folder)


def _value(dataset: Dataset, kind: str, value: str) -> str:
    """The value as the log keeps it: a class by the source's name."""
    if kind == RELABEL:
        for names in (dataset.class_names, dataset.class_sources):
            if value in names:
                return dataset.class_sources[names.index(value)]
        raise UserError(f"There is no class {value!r}; the classes are {', '.join(dataset.class_names)}.")
    if kind == SPLIT:
        if value not in (TRAIN, VAL, TEST, ""):
            raise UserError(f"A part is {TRAIN}, {VAL} or {TEST}, or '' to have it drawn again, not {value!r}.")
        return value
    if value:
        raise UserError(f"An edit of kind {kind!r} takes no value, received {value!r}.")
    return ""


def _with_groups(dataset: Dataset, image_ids: Sequence[str]) -> list[str]:
    """Those images and all others of their groups, so that no group crosses the parts."""
    table = dataset.table
    groups = set(table["group_id"].to_numpy()[dataset.indices(list(dict.fromkeys(image_ids)))]) - {""}
    mates = table["image_id"][table["group_id"].isin(groups)]
    return list(dict.fromkeys([*image_ids, *mates]))


def _changes(dataset: Dataset, row: int, state: ImageState, kind: str, value: str) -> bool:
    if kind == RELABEL:
        return [*dataset.class_sources, None][dataset.table["target"].iloc[row]] != value  # -1: it has none yet
    if kind == SPLIT:
        return (state.split or "") != value
    return state.is_excluded != (kind == EXCLUDE)


def _refuse_crossing_groups(dataset: Dataset, parts: Mapping[str, str]) -> None:
    part_of: dict[str, str] = {}
    for image_id, group in zip(dataset.table["image_id"], dataset.table["group_id"], strict=True):
        part = parts.get(image_id, "")
        if group and part_of.setdefault(group, part) != part:
            raise UserError(f"The group {group!r} would be divided; all images of a group (a patient) are in one part.")


def _value_of(edit: Edit, image_id: str, dataset: Dataset) -> str:
    if edit.kind == SPLIT:
        return edit.part_of[image_id]
    return _class_name(dataset, edit.value) if edit.kind == RELABEL else edit.value


def _class_name(dataset: Dataset, source: str) -> str:
    sources = dataset.class_sources
    return dataset.class_names[sources.index(source)] if source in sources else source


def _reason(text: str) -> str:
    reason = " ".join(text.split())
    if len(reason) > _MAX_REASON:
        raise UserError(f"A reason has at most {_MAX_REASON} letters, received {len(reason)}.")
    return reason
