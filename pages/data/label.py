"""Labels for images that came without: one image large, a key for each class, suggestions from its neighbours."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset
from lib.data.edit_log import EXCLUDE, RELABEL, Edit
from lib.data.edits import add_edit, undo_edit
from lib.errors import UserError
from lib.features.label_suggestions import Suggestion, kept_features, suggest_label, suggest_next
from pages.common import background, clicks, controls, keyboard, resources
from pages.common.text import count, percent, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.data.scene import Scene

_SIDE_PX, _NEIGHBOUR_PX = 340, 96  # all of the view fits 1280 x 720
_NUM_KEYS = 9
_features: background.Recent[np.ndarray] = background.Recent(2)


def draw(scene: Scene) -> None:
    """How far it is, the next image with its likely class, and what can be done with it."""
    dataset = scene.dataset
    targets = dataset.table["target"].to_numpy()
    _draw_progress(scene, targets)
    skipped: list[str] = st.session_state.setdefault(f"label_skipped_{dataset.name}", [])
    open_rows = np.flatnonzero((targets < 0) & ~dataset.has_exclusion)
    ids = dataset.table["image_id"].to_numpy()
    waiting = open_rows[~np.isin(ids[open_rows], skipped)]
    task = f"label_features_{dataset.name}_{dataset.content_version}"
    background.show_measurement_failure(task)
    features = _read_features(dataset)
    if len(waiting):
        row, found = _next(dataset, features, targets, waiting)
        _draw_image(dataset, row, found, _last(dataset))
    elif len(open_rows):
        st.markdown(f"{count(len(open_rows), 'image was', 'images were')} passed over.")
        st.button("Ask them again", icon=":material/replay:", key="label_again", on_click=skipped.clear)
        _draw_steps(dataset, None, _last(dataset))
    else:
        st.success("Every image has a label or is left out.", icon=":material/check_circle:")
        _draw_steps(dataset, None, _last(dataset))
    if features is None:
        _offer_suggestions(dataset, task)


def _draw_progress(scene: Scene, targets: np.ndarray) -> None:
    dataset, num = scene.dataset, len(targets)
    num_labelled, num_left_out = int((targets >= 0).sum()), int(dataset.has_exclusion.sum())
    per_class = np.bincount(targets[targets >= 0], minlength=len(dataset.class_names))
    facts = [f"**{num_labelled:,} of {count(num, 'image')}** labelled"]
    facts += [
        f"{plain(name, 24)} {own:,}" for name, own in zip(dataset.class_names[:_NUM_KEYS], per_class, strict=False)
    ]
    if num_left_out:
        facts.append(f"{num_left_out:,} left out")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join(facts), width="stretch")
        try:
            parts = {part: int((scene.split == part).sum()) for part in ("train", "val", "test")}
        except UserError as error:
            st.caption("Not enough to train yet", width="content", help=plain(error, 400))
        else:
            said = f"{parts['train']:,} to train, {parts['val']:,} to validate, {parts['test']:,} to test"
            controls.link_to("train_model", "Train on the labelled ones", icon=":material/model_training:", help=said)
    st.progress((num_labelled + num_left_out) / max(1, num))


def _next(
    dataset: Dataset, features: np.ndarray | None, targets: np.ndarray, waiting: np.ndarray
) -> tuple[int, Suggestion | None]:
    """The image to show: the one that somebody went back to, else the one to be asked next."""
    wanted, num_classes = st.session_state.get(f"label_at_{dataset.name}"), len(dataset.class_names)
    ids = dataset.table["image_id"].to_numpy()
    back = next((int(row) for row in waiting if ids[row] == wanted), None)
    if features is None:
        return (int(waiting[0]) if back is None else back), None
    if back is not None:
        return back, suggest_label(features, targets, back, num_classes=num_classes)
    found = suggest_next(features, targets, waiting, num_classes=num_classes)
    return found.row, found


def _draw_image(dataset: Dataset, row: int, found: Suggestion | None, last: Edit | None) -> None:
    record = dataset.table.iloc[row]
    left, right = st.columns([1, 1], gap="large")
    with left:
        content = resources.cached_thumbnail(dataset.name, dataset.version, row, 384)
        st.image(content, width=_SIDE_PX, alt=readable(f"Image to be labelled: {record['path']}"))
        st.caption(plain(record["path"], 80))
    with right:
        _draw_suggestion(dataset, found)
        image_id, names = str(record["image_id"]), dataset.class_names
        for target, name in enumerate(names):
            key = f"{target + 1} · " if target < _NUM_KEYS else ""
            st.button(
                f"{key}{plain(name, 40)}", key=f"label_class_{target}", width="stretch", on_click=_label,
                args=(dataset.name, image_id, name),
                type="primary" if found is not None and found.target == target else "secondary",
            )  # fmt: skip
        _draw_steps(dataset, image_id, last)
        if found is not None and found.nearest:
            st.caption("The nearest images with a label, the nearest first")
            tiles = [_tile(dataset, one) for one in found.nearest]
            draw_tiles(tiles, columns=5, least_px=56)


def _draw_suggestion(dataset: Dataset, found: Suggestion | None) -> None:
    if found is None:
        st.markdown("Which class is it?")
    elif found.target < 0:
        st.markdown(
            "Which class is it? The first images are chosen to differ from each other; neighbours have a say once two "
            "classes have labels."
        )
    else:
        name = plain(dataset.class_names[found.target], 40)
        st.markdown(
            f"Which class is it? Perhaps **{name}**: {found.num_agreeing} of the {found.num} nearest labelled images "
            f"are of it (weight {percent(found.share, 0)})."
        )


def _draw_steps(dataset: Dataset, image_id: str | None, last: Edit | None) -> None:
    """Back, skip and leave out, each with its key."""
    with st.container(horizontal=True):
        st.button(
            "Back", icon=":material/undo:", key="label_back", disabled=last is None, on_click=_back,
            args=(dataset.name, last.edit_id if last else "", last.image_ids[0] if last else ""),
            help="Backspace or left arrow: takes the last label back and shows its image again.",
        )  # fmt: skip
        if image_id is not None:
            st.button(
                "Skip", icon=":material/skip_next:", key="label_skip", on_click=_skip, args=(dataset.name, image_id),
                help="Right arrow: it is asked again later.",
            )  # fmt: skip
            st.button(
                "Leave out", icon=":material/block:", key="label_out", on_click=_leave_out,
                args=(dataset.name, image_id), help="x: of no use; an edit that can be undone.",
            )  # fmt: skip
    keys = {str(number + 1): f"label_class_{number}" for number in range(min(_NUM_KEYS, len(dataset.class_names)))}
    steps = {"Backspace": "label_back", "ArrowLeft": "label_back", "ArrowRight": "label_skip", "x": "label_out"}
    keyboard.listen(keys | steps)


def _last(dataset: Dataset) -> Edit | None:
    """The last label or exclusion that a person gave to one image here, and that is in effect; from the log, so that a
    reload changes nothing.
    """
    return next(
        (
            edit
            for edit in reversed(dataset.edits)
            if edit.is_in_effect and edit.kind in (RELABEL, EXCLUDE) and len(edit.image_ids) == 1
        ),
        None,
    )


def _tile(dataset: Dataset, row: int) -> EncodedTile:
    content = resources.cached_thumbnail(dataset.name, dataset.version, row, _NEIGHBOUR_PX)
    name = dataset.class_of(row)
    return EncodedTile(content, "", readable(name, 16), readable(f"{name}: {dataset.table['path'].iloc[row]}"))


def _read_features(dataset: Dataset) -> np.ndarray | None:
    key = (dataset.name, dataset.content_version)
    if (found := _features.get(key)) is not None:
        return found
    kept = kept_features(dataset)
    return None if kept is None else _features.put(key, kept)


def _offer_suggestions(dataset: Dataset, task: str) -> None:
    """Features are computed once, beside the labelling."""
    if not background.is_measuring(task):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Suggest classes", icon=":material/lightbulb:", key=f"label_suggest_{dataset.name}",
                on_click=background.start_measurement,
                args=(task, "Comparing the images …", ["datasets", "label-next", dataset.name, "--number", "1"]),
            )  # fmt: skip
            st.caption(
                f"{count(dataset.num_images, 'image')} once through the default network; then the most uncertain image "
                "comes first, with what its neighbours are. Label meanwhile."
            )
    background.watch(task)


def _label(name: str, image_id: str, class_name: str) -> None:
    _step(name, f"label {image_id}", lambda: add_edit(name, RELABEL, [image_id], class_name))


def _leave_out(name: str, image_id: str) -> None:
    _step(name, f"label {image_id}", lambda: add_edit(name, EXCLUDE, [image_id], reason="left out while labelling"))


def _skip(name: str, image_id: str) -> None:
    st.session_state.setdefault(f"label_skipped_{name}", []).append(image_id)
    st.session_state[f"label_at_{name}"] = None


def _back(name: str, edit_id: str, image_id: str) -> None:
    _step(name, f"undo edit {edit_id}", lambda: undo_edit(name, edit_id), show=image_id)


def _step(name: str, action: str, edit: Callable[[], Dataset], show: str | None = None) -> None:
    """One edit, once: the second click of a double click, or a held key, does nothing more; `show` comes next."""
    if clicks.is_repeat(f"{action} of {name}"):
        return
    with controls.keep_error("explore", "keep the label"):
        edit()
        st.session_state[f"label_at_{name}"] = show
        resources.dataset_summaries.clear()
