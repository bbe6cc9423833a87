"""Names, order, kind and crop of the data set that is looked at, changed as a new version, with a way back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from lib.data.dataset import Dataset
from lib.data.dataset_changes import change_dataset, rebuild_dataset, require_originals, restore_version
from lib.data.grades import severity_order
from lib.data.label_schema import LabelSchema, SchemaChange
from lib.data.schema_suggestion import SchemaSuggestion, suggest_for_dataset
from lib.errors import UserError
from lib.progress import Progress
from lib.settings import is_allowed
from pages.common import background, clicks, controls, resources
from pages.common.errors import show_errors
from pages.common.text import count, plain

CROP_TITLES = {"center_square": "Centre square (photographs)", "retina_box": "Retina's box (fundus)"}
_LINE_PX, _MAX_LINES = 26, 9
_ORDINAL_HELP = "The classes are grades, lowest first: quadratic kappa, expected grades and the ordinal loss apply."
_MEDICAL_HELP = "Every answer carries the notice that it is for research and education only."
_CROP_HELP = "What is kept of an image that is not square: its centre, or the box round the retina."
_CLASSES_HELP = (
    "One class a line, lowest grade first. Move lines to change the order; write `folder = name` to show another name."
)


@dataclass(frozen=True)
class KindChoice:
    """What the form says; `classes` is in the wanted order."""

    is_ordinal: bool
    is_medical: bool
    crop_policy: str
    classes: LabelSchema

    @property
    def change(self) -> SchemaChange:
        """The same as a change of the data set's classes."""
        return SchemaChange(
            is_ordinal=self.is_ordinal, is_medical=self.is_medical, order=self.classes.sources, is_by_source=True,
            class_names=self.classes.names,
        )  # fmt: skip

    @classmethod
    def of(cls, suggestion: SchemaSuggestion) -> "KindChoice":
        """What is suggested, as a choice."""
        classes = LabelSchema(suggestion.class_names, suggestion.order)
        return cls(suggestion.is_ordinal, suggestion.is_medical, suggestion.crop or "center_square", classes)


def draw_kind(start: KindChoice, *, key: str, reasons: Mapping[str, str], why_no_crop: str = "") -> KindChoice:
    """Draw the fields, filled with `start`; each says why it is suggested.

    Args:
        start: what stands there at first; another `key` starts anew.
        key: tells forms apart.
        reasons: as of `SchemaSuggestion`.
        why_no_crop: the sentence that says why the crop cannot be changed.

    Raises:
        UserError: names or order do not fit the classes.
    """
    fields, names = st.columns([1.4, 1], gap="small")  # half of a form at 1280 px
    with fields:
        is_ordinal = st.checkbox("Grades, in this order", start.is_ordinal, key=f"{key}_ordinal", help=_ORDINAL_HELP)
        _say_why(reasons, "is_ordinal")
        is_medical = st.checkbox("Medical images", start.is_medical, key=f"{key}_medical", help=_MEDICAL_HELP)
        _say_why(reasons, "is_medical")
        policies = list(CROP_TITLES)
        policy = st.selectbox(
            "Crop", policies, policies.index(start.crop_policy), format_func=CROP_TITLES.__getitem__,
            key=f"{key}_crop", help=_CROP_HELP, disabled=bool(why_no_crop),
        )  # fmt: skip
        if why_no_crop:
            st.caption(plain(why_no_crop, 400))
        _say_why(reasons, "crop_policy")
    with names:
        lines = "\n".join(_line(*pair) for pair in zip(start.classes.sources, start.classes.names, strict=True))
        text = st.text_area(
            "Classes, one a line, in their order", lines, key=f"{key}_classes", help=_CLASSES_HELP,
            height=_LINE_PX * min(_MAX_LINES, len(start.classes.names) + 1),
        )  # fmt: skip
        _say_why(reasons, "classes")
        classes = read_classes(text, start.classes.sources)
    if is_ordinal:
        _warn_of_alphabet(classes)
    return KindChoice(is_ordinal, is_medical, str(policy), classes)


def _warn_of_alphabet(classes: LabelSchema) -> None:
    """Grades that stand in a folder's alphabet would be counted in the wrong order."""
    order = severity_order(classes.names)
    if order is not None and order != classes.names:
        st.warning(f"As grades these stand in another order: {plain(', '.join(order), 300)}. Move the lines.")


def read_classes(text: str, sources: Sequence[str]) -> LabelSchema:
    """The classes that the lines name; raises UserError where one is unknown, missing, repeated or empty."""
    known = LabelSchema(tuple(sources), tuple(sources))
    pairs = [_pair(line.strip(), sources) for line in text.splitlines() if line.strip()]
    order, names = [source for source, _ in pairs], [name for _, name in pairs]
    change = SchemaChange(order=order, is_by_source=True, class_names=names)
    return known.changed(change)


def _pair(line: str, sources: Sequence[str]) -> tuple[str, str]:
    if same := next((source for source in sources if source.strip() == line), None):
        return same, same
    # A source may have "=" in its name itself, so the longest one that the line begins with counts.
    found = [one for one in sources if line.startswith(one) and line[len(one) :].lstrip().startswith("=")]
    if not found:
        raise UserError(
            f"The line {line!r} names no class; write one class a line, as it is or as folder = name. The classes are "
            f"{', '.join(sources)}."
        )
    source = max(found, key=len)
    return source, line[len(source) :].lstrip()[1:].strip()


def _line(source: str, name: str) -> str:
    return source if source == name else f"{source} = {name}"


def _say_why(reasons: Mapping[str, str], key: str) -> None:
    if reason := reasons.get(key):
        st.caption(f"Suggested because {plain(reason, 300)}.")


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
