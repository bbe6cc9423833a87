"""The form fields that say where the classes of a folder come from: sub-folders or a label file, and its columns."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from lib.data.sources.files import shown, storable
from lib.data.sources.label_search import FoundTable, inspect_tables
from lib.data.sources.tables import FOLDERS
from lib.settings import is_allowed
from pages.common.text import plain, plain_message, readable

_AUTO, _BY_NAME = "", ""
_PAIRS_HELP = (
    "Images of one patient never go to training and test both: by a column such as patient, or by names such as 7_left "
    "and 7_right. Without it, every later score of this data set says so."
)
_PATIENT_HELP = "By name: left and right eye of one number, such as 7_left and 7_right, are one patient's."


def choose_reading(folder: Path) -> dict[str, Any]:
    """Draw the fields; returns labels, class_column, image_column, group_column and pairs for an import."""
    key = f"explore_labels_{hashlib.sha256(storable(str(folder)).encode()).hexdigest()[:12]}"
    tables, has_class_folders = _tables(storable(str(folder)), folder)
    reading: dict[str, Any] = {}
    if tables:
        reading = _choose_table(tables, key, has_class_folders=has_class_folders)
    reading["pairs"] = st.toggle("Keep a patient's images together", value=True, key=f"{key}_pairs", help=_PAIRS_HELP)
    return reading


def _choose_table(tables: Sequence[FoundTable], key: str, *, has_class_folders: bool) -> dict[str, Any]:
    names = {str(number): table for number, table in enumerate(tables)}
    titles = {number: readable(shown(table.path.name)) for number, table in names.items()}
    usual = "the sub-folders" if has_class_folders else " and ".join(titles[n] for n in names if not names[n].problem)
    titles |= {_AUTO: f"As found: {usual or 'nothing fits yet'}", FOLDERS: "The sub-folders"}
    chosen = st.selectbox("Labels from", [_AUTO, *names, FOLDERS], format_func=titles.__getitem__, key=f"{key}_file")
    if chosen == FOLDERS:
        return {"labels": (FOLDERS,)}
    if chosen == _AUTO and has_class_folders:
        return {}
    table = names[chosen or "0"]
    if table.problem:
        st.caption(plain_message(table.problem))
    columns = _choose_columns(table, f"{key}_{chosen}")
    return {"labels": (str(table.path),) if chosen else (), **columns}


def _choose_columns(table: FoundTable, key: str) -> dict[str, Any]:
    """The recognised columns, to be changed; what stays as it was recognised is left to the import."""
    left, middle, right = st.columns(3)
    with left:
        image = _choose("Image column", table.columns, table.image, key=f"{key}_image")
    with middle:
        label = _choose("Class column", table.columns, table.label, key=f"{key}_class")
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


def _choose(label: str, columns: Sequence[str], recognised: str, *, key: str) -> str:
    index = columns.index(recognised) if recognised in columns else None
    chosen = st.selectbox(label, columns, index=index, format_func=readable, key=key, placeholder="Choose a column")
    return str(chosen) if chosen is not None else recognised


@st.cache_data(ttl=10, max_entries=16, show_spinner="Looking for label files …")
def _tables(name: str, _folder: Path) -> tuple[list[FoundTable], bool]:
    return inspect_tables(_folder, is_allowed=is_allowed)


def say(notices: Sequence[str]) -> None:
    """How the folder will be read, where that is not plain."""
    for notice in filter(None, notices):
        st.caption(plain(notice, 400))
