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
from lib.errors import UserError
from lib.progress import Progress
from lib.settings import DEFAULT_STORE_SIDE_PX, allowed_roots, check_allowed, is_allowed
from pages.common import background, clicks, label_form, resources, state
from pages.common.errors import show_errors
from pages.common.kind_form import KindChoice, draw_kind
from pages.common.text import count, duration, plain

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
        + (f"{count(left_out, 'file')} left out (the tab below says why)." if left_out else "no file left out.")
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
        reading = label_form.choose_reading(folder)
        if group_column is not None:
            reading["group_column"] = group_column
        estimate = estimate_import(folder, is_allowed=is_allowed, **reading)
        label_form.say((*estimate.notices, estimate.split_caveat))
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
