"""How the data set is divided; another division by shares or from a file, looked at before it is kept."""

from dataclasses import asdict

import numpy as np
import streamlit as st

from lib.audit.audited import copy_numbers
from lib.data.dataset import Dataset
from lib.data.edits import undo_edit
from lib.data.split_files import read_split, split_bytes
from lib.data.split_plan import (
    ALONE,
    GROUPINGS,
    GROUPS,
    SplitPlan,
    draw_anew,
    draw_split,
    is_divided_by_hand,
    keep_split,
    split_table,
)
from lib.data.splits import EXCLUDED
from lib.data.statistics import class_counts
from lib.errors import UserError
from lib.figures.data_charts import SPLIT_TITLES, class_counts_figure
from pages.common import clicks, controls, resources, state
from pages.common.text import count, percent, plain_message, readable
from pages.data.measured import made_once
from pages.data.scene import Scene

_WAYS = {"": "As it is", "draw": "Draw it", "file": "From a file"}
_MOST_BYTES = 50 * 2**20
_UNDO = "split"


def draw(scene: Scene) -> None:
    """The choice of a division, what comes of it, and the way to keep it or take it away."""
    controls.show_undo(_UNDO)
    controls.show_kept_error(_UNDO)
    way = controls.choose("Division", _WAYS, "way", key="splits_way", is_segmented=True, label_visibility="collapsed")
    if way == "draw":
        shown, reason, copies = _draw_plan(scene)
    elif way == "file":
        shown, reason, copies = _read_file(scene)
    else:
        shown, reason, copies = scene.split, "", None
        _say_present(scene)
    if shown is None:
        return
    _draw_result(scene, shown)
    with st.container(horizontal=True, vertical_alignment="center"):
        if way:
            _offer_keeping(scene, shown, reason, copies)
        _offer_files(scene.dataset, shown)


def _say_present(scene: Scene) -> None:
    dataset = scene.dataset
    if is_divided_by_hand(dataset):
        st.markdown(
            f"Fixed by hand for {count(len(dataset.fixed_parts), 'image')}: the split seed changes nothing there. "
            "Folds divide by themselves all the same."
        )
        st.button(
            "Let go of it", icon=":material/restart_alt:", key=f"splits_anew_{dataset.version}", on_click=_let_go,
            args=(dataset,), help="The source's folders and the split seed decide again; Undo brings it back.",
        )  # fmt: skip
    elif (dataset.table["split"] != "").any():
        st.markdown("As the source's folders divide it; what they leave open is drawn by the split seed.")
    else:
        st.markdown(
            f"Drawn by split seed {scene.split_seed} (More settings): a fifth of all to test, a fifth of the rest to "
            "validate, every class alike."
        )
    st.caption("A division that is kept is a new version of the data set; runs keep the one that they were trained on.")


def _draw_plan(scene: Scene) -> "tuple[np.ndarray | None, str, np.ndarray | None]":
    """Shares, seed and what stays together, and the division that they give."""
    dataset = scene.dataset
    has_groups = (dataset.table["group_id"] != "").any()
    names = [name for name in GROUPINGS if has_groups or name != GROUPS]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        fields = {"persist_state": "session", "width": 150}
        test = st.number_input("Test, % of all", 1, 90, value=20, key="splits_test", **fields)
        val = st.number_input("Validation, % of all", 1, 90, value=16, key="splits_val", **fields)
        seed = st.number_input("Seed", 0, 9999, value=0, key="splits_seed", **fields)
        group = st.selectbox(
            "What stays in one part", names, index=0 if has_groups else names.index(ALONE), width=310,
            format_func=GROUPINGS.get, key=f"splits_group_{has_groups}",
            help="A patient whose images were in two parts would make the test too easy.",
        )  # fmt: skip
    with st.container(horizontal=True):
        is_stratified = st.toggle("Every class alike", value=True, key="splits_stratified", persist_state="session",
                                  help="Stratified: each class has the same share in each part.")  # fmt: skip
        keeps_copies = _switch_copies()
    copies, is_known = _find_copies(dataset) if keeps_copies else (None, True)
    if not is_known:
        return None, "", None
    try:
        plan = SplitPlan(
            test_share=test / 100, val_share=val / 100, seed=int(seed), group=str(group), is_stratified=is_stratified
        )
        shown = _cached_split(
            dataset.version,
            tuple(asdict(plan).items()),
            copies is not None,
            _dataset=dataset,
            _plan=plan,
            _copies=copies,
        )
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
        return None, "", None
    return shown, plan.words, copies


@st.cache_resource(max_entries=16, show_spinner="Dividing …")
def _cached_split(
    version: str, plan: tuple[tuple[str, object], ...], has_copies: bool, *,  # noqa: FBT001
    _dataset: Dataset, _plan: SplitPlan, _copies: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    return draw_split(_dataset, _plan, _copies)


def _switch_copies() -> bool:
    return st.toggle("Near duplicates together", value=True, key="splits_copies", persist_state="session",
                     help="Every pair of images is compared, once; the audit needs the same.")  # fmt: skip


def _find_copies(dataset: Dataset) -> tuple[np.ndarray | None, bool]:
    """The sets of near duplicates, and whether they are known by now."""
    name = f"copies {dataset.content_version}"
    copies = made_once(
        (str(dataset.folder), name), name, f"Looking for near duplicates in {dataset.spec.title or dataset.name}",
        "Look for near duplicates", make=lambda progress: copy_numbers(dataset, progress=progress),
    )  # fmt: skip
    if copies is None:
        st.caption("Near duplicates are looked for first; switch them off to divide without.")
    return copies, copies is not None


def _read_file(scene: Scene) -> "tuple[np.ndarray | None, str, np.ndarray | None]":
    """A table of a person's own, checked whole."""
    upload = st.file_uploader("CSV or parquet with image_id and split", type=["csv", "parquet"], key="splits_file",
                              help="Such as the export of this view.")  # fmt: skip
    copies, is_known = _find_copies(scene.dataset) if _switch_copies() else (None, True)
    if upload is None or not is_known:
        return None, "", None
    if upload.size > _MOST_BYTES:
        st.error(f"The file is larger than {_MOST_BYTES // 2**20} MiB, which no table of a split is.")
        return None, "", None
    try:
        return read_split(scene.dataset, upload.getvalue(), upload.name, copies=copies), f"from {upload.name}", copies
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
        return None, "", None


def _draw_result(scene: Scene, shown: np.ndarray) -> None:
    """Classes and parts as bars and as a table, with shares and groups."""
    dataset = scene.dataset
    table = split_table(dataset, shown)
    has_groups = (dataset.table["group_id"] != "").any()
    figure, numbers = st.columns([1, 1], gap="large")
    with figure:
        alt = "Bar chart: images per class in training, validation and test, as divided here"
        drawn = class_counts_figure(class_counts(dataset, shown), controls.is_dark())
        controls.show_figure(drawn, alt=alt, key="splits_counts", data=table)
    rows = []
    for class_name, own in table.groupby("class_name", sort=False):
        row: dict[str, object] = {"Class": readable(class_name) or "All"}
        for part, images, share, groups in own[["split", "images", "share", "groups"]].itertuples(
            index=False, name=None
        ):
            of_groups = f" · {groups:,}" if has_groups else ""
            row[SPLIT_TITLES[part]] = f"{images:,} · {percent(share, 0)}{of_groups}"
        rows.append(row)
    with numbers:
        controls.show_table(rows, hide_index=True, alt="Images, shares and groups of each class and part")
        st.caption(f"Images · share of the class{' · patients or groups' if has_groups else ''}.")
    moved = int((shown != scene.split).sum())
    excluded = int((shown == EXCLUDED).sum())
    said = [f"{count(moved, 'image')} would be in another part than now."] if moved else []
    if excluded:
        said.append(f"{count(excluded, 'image')} {'is' if excluded == 1 else 'are'} excluded and in no part.")
    if said:
        st.caption(" ".join(said))


def _offer_keeping(scene: Scene, shown: np.ndarray, reason: str, copies: np.ndarray | None) -> None:
    dataset = scene.dataset
    is_new = bool((shown != scene.split).any()) or not is_divided_by_hand(dataset)
    st.button(
        "Keep this division", icon=":material/check:", type="primary", key=f"splits_keep_{dataset.version}",
        disabled=not is_new, on_click=_keep, args=(dataset, shown, reason, copies),
        help="A new version of the data set over the same images; Undo brings the present one back.",
    )  # fmt: skip


def _keep(dataset: Dataset, shown: np.ndarray, reason: str, copies: np.ndarray | None) -> None:
    if clicks.is_repeat(f"divide {dataset.name}"):
        return
    with controls.keep_error(_UNDO, "keep the division"):
        _changed(keep_split(dataset, shown, reason, copies=copies), "the data set anew", "Divided")
        state.remember("way", None)


def _let_go(dataset: Dataset) -> None:
    if clicks.is_repeat(f"divide {dataset.name}"):
        return
    with controls.keep_error(_UNDO, "let go of the division"):
        _changed(draw_anew(dataset), "the division by hand", "Let go of")


def _changed(after: Dataset, what: str, word: str) -> None:
    """Read the library afresh, and offer the way back."""
    edit_id = after.edits[-1].edit_id

    def bring_back() -> None:
        with controls.keep_error(_UNDO, "undo the division"):
            undo_edit(after.name, edit_id)
            resources.forget_dataset()

    resources.forget_dataset()
    controls.offer_undo(_UNDO, what, bring_back, word)


def _offer_files(dataset: Dataset, shown: np.ndarray) -> None:
    for ending, label in (("csv", "Split as CSV"), ("parquet", "Split as parquet")):
        file_name = f"{dataset.name}_split.{ending}"
        st.download_button(
            label, lambda file_name=file_name: split_bytes(dataset, shown, file_name), file_name=file_name,
            key=f"splits_{ending}", icon=":material/download:", type="tertiary", on_click="ignore",
        )  # fmt: skip
