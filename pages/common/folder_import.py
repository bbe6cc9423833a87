"""The form that brings images in from any source: checked, its cost shown before, progress while it runs."""

import hashlib
import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.dataset import Dataset
from lib.data.drawing import Draw
from lib.data.import_options import ImportEstimate, estimate_import, suggest_for_folder
from lib.data.importing import import_from, last_options
from lib.data.schema_suggestion import SchemaSuggestion
from lib.data.sources.catalogue import SOURCES
from lib.data.sources.files import storable
from lib.data.sources.reading import called
from lib.data.sources.table import SourceRequest, SourceSpec
from lib.data.sources.uploads import drop_upload, is_upload
from lib.errors import UserError
from lib.progress import Progress, duration
from lib.settings import DEFAULT_STORE_SIDE_PX, allowed_roots, check_allowed, downloads_dir, is_allowed
from pages.common import (
    background,
    clicks,
    controls,
    draw_fields,
    interrupted_imports,
    label_choice,
    resources,
    source_fields,
    state,
)
from pages.common.errors import show_errors
from pages.common.kind_change import KindChoice, draw_kind
from pages.common.text import count, plain

TASK = "import_folder"
_LOOK_S, _LOOK_STEP_S = 1.0, 0.02  # so long a page waits for the names in an archive before it offers to stop
FORM, IMPORT = "form", "import"  # the key of the view, and its value while the form is open
_STOPPED = "Stopped; the archive was not looked into."
_LAYOUT = """One sub-folder for each class, with or without `train`, `val` and `test` above them:

```text
my_images/cats/001.jpg
my_images/dogs/001.jpg
```
```text
my_images/train/cats/001.jpg
my_images/test/cats/002.jpg
```
Or images with a label file, a CSV or Excel table with a column of images and one of classes, in the folder or
beside it:

```text
my_images/train/10_left.jpeg
my_images/trainLabels.csv
```
Or classes in the names, such as `cat.123.jpg`. A zip or tar may hold any of these."""


def show_progress() -> None:
    """The running import, or how the last one ended."""
    task = background.find(TASK)
    if task is not None and task.is_over and not task.error:
        _adopt(task.result)
    background.show_outcome(TASK, "")
    if message := st.session_state.pop("explore_import_message", None):
        st.success(message, icon=":material/check_circle:")
        controls.link_to("explore_data", "Audit it before you train", icon=":material/fact_check:", tab="audit")
    background.watch(TASK)


def show_switch() -> None:
    """The button that opens and closes the form."""
    wanted = None if is_form_open() else IMPORT
    st.button(
        "Import images", icon=":material/folder_open:", key="explore_import_switch", on_click=state.remember,
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
        + (f"{count(left_out, 'file')} left out (the view Origin says why)." if left_out else "no file left out.")
    )
    background.forget(TASK)
    st.rerun()


def show_form() -> None:
    """What was interrupted; folder, options, and what the import will cost."""
    interrupted_imports.draw(TASK)
    with st.container(border=True):
        _form()


def _form() -> None:
    form, beside = st.columns(2, gap="large")
    with form:
        titles = {spec.name: spec.title for spec in SOURCES}
        spec = SOURCES.get(controls.choose("From", titles, "source", key="explore_source"))
        values = source_fields.draw(spec)
        with st.popover("More settings", icon=":material/tune:"):
            name = st.text_input("Name", key="explore_name", help="By default the folder's, archive's or set's own.")
            column = ""
            if spec.look is not None:
                column = st.text_input(
                    "Group column", key="explore_group_column",
                    help="A column of the label file or of metadata.csv in the folder, such as site: images of one "
                    "group never go to training and test both.",
                )  # fmt: skip
            drawn = draw_fields.choose_draw()
    if source_fields.is_complete(spec, values):
        order = _Order(spec, values, name.strip() or None, column.strip() or None, drawn)
        with show_errors("read the images"):
            _offer(order, form, beside)
        return
    with beside:
        if spec.is_unlabelled:
            _say_source(spec)
        else:
            st.markdown(_LAYOUT)
        st.caption("Folders below: " + ", ".join(plain(root) for root in allowed_roots()))


@dataclass(frozen=True)
class _Order:
    """What the form asks for."""

    spec: SourceSpec
    values: dict[str, Any]
    name: str | None
    group_column: str | None
    draw: Draw

    def command(self, reading: dict[str, Any]) -> str:
        """The same on the command line."""
        given = {**self.values, **reading}
        words = ["python", "-m", "lib", "datasets", "import"]
        if "path" in given:
            words.append(str(given.pop("path")))
        words += ["--source", self.spec.name]
        defaults = {option.name: option.default for option in self.spec.options}
        changed = {name: value for name, value in given.items() if value != defaults.get(name)}
        words += [
            word for name, value in changed.items() for one in _texts(value) for word in ("--set", f"{name}={one}")
        ]
        words += ["--name", self.name] if self.name else []
        return shlex.join([*words, *self.draw.arguments])


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    return [("yes" if one else "no") if isinstance(one, bool) else str(one) for one in values]


def _offer(order: _Order, form: DeltaGenerator, beside: DeltaGenerator) -> None:
    """Check what is asked for, say what its import costs, and offer to start."""
    for option in order.spec.options:
        if option.kind is Path and option.name in order.values and not is_upload(Path(order.values[option.name])):
            order.values[option.name] = check_allowed(order.values[option.name])
    kind: KindChoice | None = None
    reading: dict[str, Any] = {}
    if order.spec.look is None:
        with beside:
            _say_source(order.spec)
    else:
        folder = _looked_into(order, beside)
        if folder is None:
            return
        kind, reading = _look(order, folder, form, beside)
    with beside:
        has_pseudonyms = _choose_pseudonyms(order, is_medical=kind is not None and kind.is_medical)

    def work(progress: Progress) -> object:
        dataset = import_from(
            order.spec.name, {**order.values, **reading}, name=order.name, draw=order.draw,
            crop_policy=kind.crop_policy if kind else None, kind=kind.change if kind else None,
            pseudonyms=has_pseudonyms, is_allowed=_may_read, progress=progress,
        )  # fmt: skip
        for value in order.values.values():
            if isinstance(value, Path | str):
                drop_upload(Path(value))
        return dataset

    def start() -> None:
        if not clicks.is_repeat("import"):  # a small folder is there before the second click of a double click
            what = Path(order.values["path"]).name if "path" in order.values else order.spec.title
            background.start(TASK, f"Importing {what}", work)

    with beside, st.container(horizontal=True, vertical_alignment="center"):
        st.button("Import", type="primary", icon=":material/download:", key="explore_import_start", on_click=start)
        if not any(is_upload(Path(str(value))) for value in order.values.values()):
            controls.copy_command(order.command(reading) + (" --pseudonyms" if has_pseudonyms else ""))


def _choose_pseudonyms(order: _Order, *, is_medical: bool) -> bool:
    """Whether names of files and patients become pseudonyms: as in the last import, else where images are medical."""
    if order.spec.needs_network:
        return False  # published images name nobody
    last = last_options(order.values["path"]) if "path" in order.values else None
    usual = last.pseudonyms if last else is_medical
    return st.toggle(
        "Pseudonyms instead of names", value=usual, key=f"explore_pseudonyms_{usual}",
        help="Patients in file names and columns get the same pseudonym each time, left and right stay; pages, tables, "
        "reports and exports show no name. What the files are called stays on this machine.",
    )  # fmt: skip


def _may_read(path: Path) -> bool:
    return is_upload(path) or is_allowed(path)


def _say_source(spec: SourceSpec) -> None:
    """What a source is whose images are not there yet."""
    st.markdown(plain(spec.summary, 600))
    if spec.needs_network:
        own = downloads_dir() / spec.name
        here = "Files of it are on this machine; what is missing" if own.is_dir() and any(own.iterdir()) else "It"
        st.caption(f"{here} is fetched from the network first; Stop leaves nothing half behind.")


def _looked_into(order: _Order, beside: DeltaGenerator) -> Path | None:
    """The folder with the names of the source's files; None while they are read from an archive, or after Stop."""
    look, path = order.spec.look, Path(order.values["path"])
    assert look is not None  # noqa: S101  (asked for by the caller)
    if order.spec.name == "folder" and not path.is_dir():
        raise UserError(f"There is no folder {path}; check the spelling, or give the folder above the class folders.")
    values = order.spec.complete(order.values)
    if not path.is_file():
        return look(SourceRequest(values=values, folder=Path(os.devnull)))

    def work(progress: Progress) -> Path:
        return look(SourceRequest(values=values, folder=Path(os.devnull), progress=progress))

    name = f"look into {path} {order.spec.state(values)}"
    task = background.find(name) or background.start(name, f"Looking into {path.name}", work, stopped=_STOPPED)
    deadline = time.monotonic() + _LOOK_S
    while not task.is_over and time.monotonic() < deadline:
        time.sleep(_LOOK_STEP_S)
    with beside:
        background.watch(name)
        if task.error == _STOPPED:
            st.markdown(_STOPPED)
            st.button("Look into it", icon=":material/search:", key="explore_look", on_click=background.forget,
                      args=(name,))  # fmt: skip
    if not task.is_over or task.error == _STOPPED:
        return None
    background.forget(name)
    if task.error:
        raise UserError(task.error)
    return Path(task.result)


def _look(
    order: _Order, folder: Path, form: DeltaGenerator, beside: DeltaGenerator
) -> tuple[KindChoice, dict[str, Any]]:
    """How the files will be read and what that costs; returns the kind of the classes, and how labels are read."""
    path = Path(order.values["path"])
    with called(folder, path):
        with form:
            reading = label_choice.choose_reading(folder)
            if order.group_column is not None:
                reading["group_column"] = order.group_column
        with beside:
            estimate = _estimated(f"{storable(str(folder))} {order.draw} {reading}", folder, order.draw, reading)
            label_choice.say_reading((*estimate.notices, estimate.split_caveat))
        with form:
            label_choice.show_rows(folder, reading)
    with beside:
        st.markdown(
            f"{count(estimate.num_files, 'file')}, at most {estimate.store_mib:,.0f} MiB here (kept as squares of up "
            f"to {DEFAULT_STORE_SIDE_PX} px), about {duration(estimate.seconds)}."
        )
        kind = _choose_kind(path, folder, estimate, reading)
    inside = tuple(
        os.path.relpath(one, folder) if Path(one).is_relative_to(folder) and folder != path else one
        for one in reading.get("labels", ())
    )
    return kind, {**reading, **({"labels": inside} if inside else {})}


def _choose_kind(path: Path, folder: Path, estimate: ImportEstimate, reading: dict[str, Any]) -> KindChoice:
    """What the classes are: as in the last import of the path, else as names and pictures in the folder suggest."""
    token = f"{folder} {estimate.num_files} {estimate.class_names} {reading}"
    key = f"explore_kind_{hashlib.sha256(token.encode()).hexdigest()[:12]}"
    if last := _last_choice(path, estimate.class_names):
        st.caption("As in the last import of this:")
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


@st.cache_data(ttl=10, max_entries=16, show_spinner="Counting the images …")
def _estimated(token: str, _folder: Path, _draw: Draw, _reading: dict[str, Any]) -> ImportEstimate:
    """What an import of the folder takes; kept for the reruns of a moment, since a large listing takes seconds."""
    return estimate_import(_folder, is_allowed=_may_read, draw=_draw, **_reading)


@st.cache_data(ttl=600, max_entries=16, show_spinner="Looking at a few of the images …")
def _suggestion(token: str, _folder: Path, **_reading: Any) -> SchemaSuggestion:
    """What a folder's names and pictures suggest, once for each listing (`token`)."""
    return suggest_for_folder(_folder, is_allowed=_may_read, **_reading)
