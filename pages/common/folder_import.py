"""The form that brings a folder of images in: checked, its cost shown before, progress while it runs."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.dataset import Dataset
from lib.data.import_options import ImportEstimate, estimate_import, suggest_for_folder
from lib.data.importing import import_folder, last_options
from lib.data.schema_suggestion import SchemaSuggestion
from lib.data.sources.files import shown, storable
from lib.data.sources.label_search import FoundTable, inspect_tables
from lib.data.sources.tables import FOLDERS
from lib.errors import UserError
from lib.progress import Progress, duration
from lib.settings import DEFAULT_STORE_SIDE_PX, allowed_roots, check_allowed, is_allowed
from pages.common import background, clicks, resources, state
from pages.common.errors import show_errors
from pages.common.kind_change import KindChoice, draw_kind
from pages.common.text import count, plain, plain_message, readable

TASK = "import_folder"
FORM, IMPORT = "form", "import"  # the key of the view, and its value while the form is open
_LAYOUT = """One sub-folder for each class, with or without `train`, `val` and `test` above them:

```text
my_images/cats/001.jpg
my_images/dogs/001.jpg
```
```text
my_images/train/cats/001.jpg
my_images/test/cats/002.jpg
```
Or images with a label file, a CSV with a column of images and one of classes, in the folder or beside it:

```text
my_images/train/10_left.jpeg
my_images/trainLabels.csv
```"""


def show_progress() -> None:
    """The running import, or how the last one ended."""
    task = background.find(TASK)
    if task is not None and task.is_over and not task.error:
        _adopt(task.result)
    background.show_outcome(TASK, "")
    if message := st.session_state.pop("explore_import_message", None):
        st.success(message, icon=":material/check_circle:")
    background.watch(TASK)


def show_switch() -> None:
    """The button that opens and closes the form."""
    wanted = None if is_form_open() else IMPORT
    st.button(
        "Import a folder", icon=":material/folder_open:", key="explore_import_switch", on_click=state.remember,
        args=(FORM, wanted),
    )  # fmt: skip


def is_form_open() -> bool:
    """Whether the form was asked for; not while an import runs."""
    task = background.find(TASK)
    return state.current(FORM) == IMPORT and (task is None or task.is_over)


def _adopt(dataset: Dataset) -> None:
    """Make the imported data set the one that is looked at; the sidebar above is redrawn with it."""
    resources.forget_dataset()
    state.settle("dataset", dataset.name)
    state.settle(FORM, None)
    left_out = len(dataset.left_out)
    st.session_state["explore_import_message"] = (
        f"Imported {plain(dataset.spec.title or dataset.name)}: {count(dataset.num_images, 'image')}, "
        + (f"{count(left_out, 'file')} left out (Left out and origin says why)." if left_out else "no file left out.")
    )
    background.forget(TASK)
    st.rerun()


def show_form() -> None:
    """Folder, options, and what the import will cost."""
    with st.container(border=True):
        _form()


def _form() -> None:
    form, beside = st.columns(2, gap="large")
    with form:
        path = st.text_input("Folder", key="explore_path", placeholder="/home/me/my_images", persist_state="session")
        with st.popover("More settings", icon=":material/tune:"):
            name = st.text_input("Name", key="explore_name", help="By default the folder's own name.")
            column = st.text_input(
                "Group column", key="explore_group_column",
                help="A column of the label file or of metadata.csv in the folder, such as site: images of one group "
                "never go to training and test both.",
            )  # fmt: skip
    if path := _unquoted(path):
        with show_errors("read the folder"):
            _offer(path, beside, name=name.strip() or None, group_column=column.strip() or None)
        return
    with beside:
        st.markdown(_LAYOUT)
        st.caption("Folders below: " + ", ".join(plain(root) for root in allowed_roots()))


def _unquoted(path: str) -> str:
    """The path without what a file manager or a shell puts around it when it is copied."""
    path = path.strip()
    is_quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "'\""
    return path[1:-1] if is_quoted else path.removeprefix("file://")


def _offer(path: str, beside: DeltaGenerator, *, name: str | None, group_column: str | None) -> None:
    """Check the folder, say what its import costs, and offer to start."""
    folder = check_allowed(path)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; check the spelling, or give the folder above the class folders.")
    with beside:
        reading = choose_reading(folder)
        if group_column is not None:
            reading["group_column"] = group_column
        estimate = estimate_import(folder, is_allowed=is_allowed, **reading)
        say_reading((*estimate.notices, estimate.split_caveat))
    beside.markdown(
        f"{count(estimate.num_files, 'file')}, at most {estimate.store_mib:,.0f} MiB here (kept as squares of up to "
        f"{DEFAULT_STORE_SIDE_PX} px), about {duration(estimate.seconds)}."
    )
    kind = _choose_kind(folder, estimate, reading)

    def work(progress: Progress) -> object:
        return import_folder(
            folder, name=name, crop_policy=kind.crop_policy, kind=kind.change, is_allowed=is_allowed,
            progress=progress, **reading,
        )  # fmt: skip

    def start() -> None:
        if not clicks.is_repeat("import"):  # a small folder is there before the second click of a double click
            background.start(TASK, f"Importing {folder.name}", work)

    beside.button("Import", type="primary", icon=":material/download:", key="explore_import_start", on_click=start)


def _choose_kind(folder: Path, estimate: ImportEstimate, reading: dict[str, Any]) -> KindChoice:
    """What the classes are: as in the last import of the folder, else as its names and pictures suggest."""
    token = f"{folder} {estimate.num_files} {estimate.class_names} {reading}"
    key = f"explore_kind_{hashlib.sha256(token.encode()).hexdigest()[:12]}"
    if last := _last_choice(folder, estimate.class_names):
        st.caption("As in the last import of this folder:")
        return draw_kind(last, key=f"{key}_again", reasons={})
    suggestion = _suggestion(token, folder, **reading)
    return draw_kind(KindChoice.of(suggestion), key=key, reasons=suggestion.reasons)


def _last_choice(folder: Path, class_names: Sequence[str]) -> KindChoice | None:
    """What was said of the folder's classes at its last import; None where there is none, or of other classes."""
    last = last_options(folder)
    with suppress(UserError):
        if last is not None:
            is_ordinal, is_medical = (bool(last.spec_changes.get(flag)) for flag in ("is_ordinal", "is_medical"))
            return KindChoice(is_ordinal, is_medical, last.crop_policy, last.schema(class_names))
    return None


@st.cache_data(ttl=600, max_entries=16, show_spinner="Looking at a few of the images …")
def _suggestion(token: str, _folder: Path, **_reading: Any) -> SchemaSuggestion:
    """What a folder's names and pictures suggest, once for each listing (`token`)."""
    return suggest_for_folder(_folder, is_allowed=is_allowed, **_reading)


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


@st.cache_data(ttl=10, max_entries=16, show_spinner="Looking for label files …")
def _tables(name: str, _folder: Path) -> tuple[list[FoundTable], bool]:
    return inspect_tables(_folder, is_allowed=is_allowed)


def say_reading(notices: Sequence[str]) -> None:
    """How the folder will be read, where that is not plain."""
    for notice in filter(None, notices):
        st.caption(plain(notice, 400))
