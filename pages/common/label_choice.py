"""Where the classes of a folder come from: its sub-folders, a label file with its columns, or the names of files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from lib.data.sources.files import shown, storable
from lib.data.sources.label_search import (
    FoundTable,
    Inspection,
    LabelPreview,
    inspect_folder,
    preview_labels,
    preview_pattern,
)
from lib.data.sources.name_patterns import NamePattern
from lib.data.sources.tables import FOLDERS, SourceOptions
from lib.errors import UserError
from lib.settings import is_allowed
from pages.common import controls
from pages.common.errors import show_errors
from pages.common.text import count, plain, plain_message, readable

_AUTO, _BY_NAME, _NAMES = "", "", "names"
_NUM_CLASSES_SHOWN = 8
_PAIRS_HELP = (
    "Images of one patient never go to training and test both: by a column such as patient, or by names such as 7_left "
    "and 7_right. Without it, every later score of this data set says so."
)
_PATIENT_HELP = "By name: left and right eye of one number, such as 7_left and 7_right, are one patient's."
_PATTERN_HELP = (
    "`{class}` stands for the class, `{number}` for digits and `*` for anything, in the whole name without its suffix; "
    "with a / also in the folders above."
)


def choose_reading(folder: Path) -> dict[str, Any]:
    """Draw the fields; returns the options of a scan of that folder."""
    key = f"explore_labels_{hashlib.sha256(storable(str(folder)).encode()).hexdigest()[:12]}"
    found = _inspected(storable(str(folder)), folder)
    reading: dict[str, Any] = {}
    if found.tables or found.patterns or not found.has_class_folders:
        reading = _choose_labels(folder, found, key)
    reading["pairs"] = st.toggle("Keep a patient's images together", value=True, key=f"{key}_pairs", help=_PAIRS_HELP)
    return reading


def _choose_labels(folder: Path, found: Inspection, key: str) -> dict[str, Any]:
    tables = {str(number): table for number, table in enumerate(found.tables)}
    titles = {number: _title(table) for number, table in tables.items()}
    fitting = " and ".join(titles[number] for number, table in tables.items() if not table.problem)
    usual = "the sub-folders" if found.has_class_folders else fitting
    titles |= {
        _AUTO: f"As found: {usual or 'nothing fits yet'}", FOLDERS: "The sub-folders", _NAMES: "The names of the files",
    }  # fmt: skip
    offered = [_AUTO, *tables, FOLDERS, _NAMES]
    chosen = st.selectbox(
        "Labels from", offered, index=offered.index(_NAMES if found.only_names_fit else _AUTO),
        format_func=titles.__getitem__, key=f"{key}_file",
    )  # fmt: skip
    if chosen == FOLDERS:
        return {"labels": (FOLDERS,)}
    if chosen == _NAMES:
        return _choose_pattern(folder, found.patterns, key)
    if (chosen == _AUTO and found.has_class_folders) or not tables:
        return {}
    table = tables[chosen or "0"]
    if table.problem:
        st.caption(plain_message(table.problem))
    columns = _choose_columns(table, f"{key}_{chosen}")
    sheet = {"sheet": table.sheet} if chosen and table.sheet else {}
    return {"labels": (str(table.path),) if chosen else (), **columns, **sheet}


def _title(table: FoundTable) -> str:
    return readable(f"{shown(table.path.name)}{f', sheet {shown(table.sheet)}' if table.sheet else ''}")


def _choose_pattern(folder: Path, patterns: Sequence[NamePattern], key: str) -> dict[str, Any]:
    """The pattern, and the classes that it gives before anything is done with them."""
    pattern = st.text_input(
        "Pattern of the names", value=patterns[0].pattern if patterns else "", key=f"{key}_pattern", help=_PATTERN_HELP,
        placeholder="{class}_{number}",
    ).strip()  # fmt: skip
    others = [f"`{one.pattern}` gives {plain(one.words)}" for one in patterns[:3] if one.pattern != pattern]
    if others:
        st.caption(f"Others that fit: {'; '.join(others)}.")
    if not pattern:
        raise UserError("Give the pattern of the names, such as {class}_{number} for Abyssinian_12.jpg.")
    found = _tried(storable(str(folder)), folder, pattern)
    shown_classes = list(found.counts.items())[:_NUM_CLASSES_SHOWN]
    rows = [(readable(name), number, readable(found.examples[name])) for name, number in shown_classes]
    if rows:
        controls.show_table(
            [dict(zip(("Class", "Images", "For example"), row, strict=True)) for row in rows], hide_index=True,
            height="content", alt="Classes that the pattern gives, with their number of images",
        )  # fmt: skip
    said = []
    if len(found.counts) > len(rows):
        said.append(f"and {count(len(found.counts) - len(rows), 'more class', 'more classes')}")
    if found.num_unmatched:
        names = ", ".join(plain(name) for name in found.unmatched)
        fit = "does not fit and is" if found.num_unmatched == 1 else "do not fit and are"
        said.append(f"{count(found.num_unmatched, 'name')} {fit} left out, such as {names}")
    if said:
        st.caption(f"{'; '.join(said)}.")
    return {"name_pattern": pattern}


def _choose_columns(table: FoundTable, key: str) -> dict[str, Any]:
    """The recognised columns, to be changed; what stays as it was recognised is left to the import."""
    left, middle, right = st.columns(3)
    with left:
        image = _choose_column("Image column", table.columns, table.image, key=f"{key}_image")
    with middle:
        label = _choose_column("Class column", table.columns, table.label, key=f"{key}_class")
    with right:
        group = st.selectbox(
            "Patient column", [_BY_NAME, *table.columns], key=f"{key}_patient", help=_PATIENT_HELP,
            format_func=lambda name: readable(name) if name else readable(table.group or "By name"),
        )  # fmt: skip
    return {
        "image_column": image if image != table.image else None,
        "class_column": label if label != table.label else None,
        "group_column": group or None,
    }


def _choose_column(label: str, columns: Sequence[str], recognised: str, *, key: str) -> str:
    index = columns.index(recognised) if recognised in columns else None
    chosen = st.selectbox(label, columns, index=index, format_func=readable, key=key, placeholder="Choose a column")
    return str(chosen) if chosen is not None else recognised


def show_rows(folder: Path, reading: dict[str, Any]) -> None:
    """The first rows of the label files, with the image that each means; nothing where classes come from elsewhere."""
    if reading.get("labels") == (FOLDERS,) or "name_pattern" in reading or "labels" not in reading:
        return
    with show_errors("show the first rows"):
        preview = _previewed(f"{storable(str(folder))} {reading}", folder, SourceOptions(**reading))
        if preview is None:
            return
        rows = [
            {"Row": number, "Names": readable(name), "Class": readable(label), "Image": readable(met or "none")}
            for number, name, label, met in preview.rows
        ]
        controls.show_table(
            rows, hide_index=True, height="content", alt="The first rows of the label file and the image of each",
            column_config={"Row": st.column_config.NumberColumn(width="small")},
        )  # fmt: skip
        st.caption(
            f"{preview.num_met:,} of {count(preview.num_rows, 'row')} mean one image each, of "
            f"{count(preview.num_images, 'image')} in the folder."
        )


@st.cache_data(ttl=10, max_entries=16, show_spinner="Looking for label files …")
def _inspected(name: str, _folder: Path) -> Inspection:
    return inspect_folder(_folder, is_allowed=is_allowed)


@st.cache_data(ttl=10, max_entries=16, show_spinner=False)
def _tried(name: str, _folder: Path, pattern: str) -> NamePattern:
    return preview_pattern(_folder, pattern, is_allowed=is_allowed)


@st.cache_data(ttl=10, max_entries=16, show_spinner=False)
def _previewed(token: str, _folder: Path, _options: SourceOptions) -> LabelPreview | None:
    return preview_labels(_folder, _options, is_allowed=is_allowed)


def say_reading(notices: Sequence[str]) -> None:
    """How the folder will be read, where that is not plain."""
    for notice in filter(None, notices):
        st.caption(plain(notice, 400))
