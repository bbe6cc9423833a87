"""Names, order, kind and crop of the data set that is looked at, changed as a new version, with a way back."""

import streamlit as st

from lib.data.dataset import Dataset
from lib.data.importing import change_dataset, rebuild_dataset, require_originals, restore_version
from lib.data.label_schema import LabelSchema
from lib.data.schema_suggestion import SchemaSuggestion, suggest_for_dataset
from lib.errors import UserError
from lib.progress import Progress
from lib.settings import is_allowed
from pages.common import background, clicks, controls, resources
from pages.common.errors import show_errors
from pages.common.kind_form import KindChoice, draw_kind
from pages.common.text import count, plain

TASK = "rebuild_dataset"
_OPEN, _DONE = "explore_kind_is_open", "explore_kind_done"


def show_switch() -> None:
    """The button that opens and closes the form."""
    st.button("Kind and classes", icon=":material/sort:", key="explore_kind_switch", on_click=_switch)


def _switch() -> None:
    st.session_state[_OPEN] = not is_form_open()


def is_form_open() -> bool:
    """Whether the form was asked for; not while the images are cut anew."""
    task = background.find(TASK)
    return bool(st.session_state.get(_OPEN)) and (task is None or task.is_over)


def show_progress() -> None:
    """Images that are being cut anew, or what the last change did, with its way back."""
    task = background.find(TASK)
    if task is not None and task.is_over and not task.error:
        _finish(*task.result)
        background.forget(TASK)
        st.rerun()
    background.show_outcome(TASK, "")
    background.watch(TASK)
    if done := st.session_state.get(_DONE):
        _show_done(*done)


def show_form(dataset: Dataset) -> None:
    """The form, filled with what is so now."""
    with st.container(border=True), show_errors("change the data set"):
        _form(dataset)


def _form(dataset: Dataset) -> None:
    now = KindChoice(
        dataset.spec.is_ordinal, dataset.spec.is_medical, dataset.spec.crop_policy,
        LabelSchema(dataset.class_names, dataset.class_sources),
    )  # fmt: skip
    suggestion = _suggestion(dataset.name, dataset.version)
    takes = bool(suggestion.reasons) and st.toggle(
        "Fill in what names and pictures suggest", key=f"explore_kind_take_{dataset.version}"
    )
    start = _with(now, suggestion) if takes else now
    why_no_crop = _why_no_crop(dataset.name, dataset.version)
    key = f"explore_kind_{dataset.name}_{dataset.version}_{takes}"
    choice = draw_kind(start, key=key, reasons=suggestion.reasons, why_no_crop=why_no_crop)
    is_new_crop = choice.crop_policy != now.crop_policy and not why_no_crop
    st.caption(
        "Saved as a new version; trainings of the present one keep it. "
        + ("Another crop reads the originals again, in the background." if is_new_crop else "No image is touched.")
    )
    st.button(
        "Cut the images anew" if is_new_crop else "Save as a new version", type="primary", icon=":material/save:",
        key="explore_kind_save", disabled=choice == now, on_click=_rebuild if is_new_crop else _save,
        args=(dataset, choice),
    )  # fmt: skip


def _with(now: KindChoice, suggestion: SchemaSuggestion) -> KindChoice:
    """What is so, with what is suggested in its place."""
    has_classes = "classes" in suggestion.reasons
    classes = LabelSchema(suggestion.class_names, suggestion.order) if has_classes else now.classes
    return KindChoice(
        now.is_ordinal or suggestion.is_ordinal, now.is_medical or suggestion.is_medical,
        suggestion.crop or now.crop_policy, classes,
    )  # fmt: skip


def _save(dataset: Dataset, choice: KindChoice) -> None:
    if clicks.is_repeat(f"change {dataset.name} {dataset.version}"):
        return
    with controls.keep_error("explore", "change the data set"):
        after = change_dataset(dataset.name, choice.change, expected_version=dataset.version)
        _finish(dataset.name, dataset.version, after.version)


def _rebuild(dataset: Dataset, choice: KindChoice) -> None:
    def work(progress: Progress) -> object:
        from lib import jobs

        jobs.require_unused(dataset.name)
        rebuilt = rebuild_dataset(
            dataset.name,
            choice.crop_policy,
            choice.change,
            expected_version=dataset.version,
            is_allowed=is_allowed,
            progress=progress,
        )
        return dataset.name, dataset.version, rebuilt.version

    if not clicks.is_repeat(f"rebuild {dataset.name} {dataset.version}"):
        background.start(TASK, f"Cutting the images of {dataset.name} anew", work)


def _finish(name: str, before: str, after: str) -> None:
    resources.forget_dataset()
    st.session_state[_OPEN] = False
    st.session_state[_DONE] = (name, before, after)


def _show_done(name: str, before: str, after: str) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        same = before == after
        st.markdown(
            f"{plain(name)} is as it was: version {after[:12]}."
            if same
            else f"{plain(name)} is at version {after[:12]} now; trainings of version {before[:12]} keep that one."
        )
        summary = resources.find_summary(name)
        can_undo = summary is not None and before in resources.cached_dataset(name, summary.version).versions
        if can_undo and not same:
            st.button("Undo", icon=":material/undo:", key="explore_kind_undo", on_click=_undo, args=(name, before))
        st.button("Dismiss", type="tertiary", key="explore_kind_dismiss", on_click=_dismiss)


def _undo(name: str, before: str) -> None:
    _dismiss()
    with controls.keep_error("explore", "bring the version back"):
        restore_version(name, before)
        resources.forget_dataset()


def _dismiss() -> None:
    st.session_state.pop(_DONE, None)


@st.cache_data(max_entries=16, show_spinner="Looking at a few of the images …")
def _suggestion(name: str, version: str) -> SchemaSuggestion:
    return suggest_for_dataset(resources.cached_dataset(name, version))


@st.cache_data(ttl=30, max_entries=16, show_spinner=False)
def _why_no_crop(name: str, version: str) -> str:
    """Why the images cannot be cut anew; empty if they can."""
    try:
        require_originals(resources.cached_dataset(name, version), is_allowed)
    except UserError as error:
        return str(error)
    return ""


def version_line(dataset: Dataset) -> str:
    """The version, and how many there were before it."""
    earlier = len(dataset.description.get("history", ()))
    return dataset.version[:12] + (f", after {count(earlier, 'earlier one')}" if earlier else "")
