"""Confusion matrices of the selected runs, the published ones beside them, and the images behind a cell."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from lib.figures.confusion_charts import MAX_LABELLED, MAX_WRITTEN, SHARES, Panel, confusion_grid_figure, most_confused
from lib.recipes.published import are_five_grades, published_matrices
from lib.recipes.spec import PublishedResult
from lib.tracking.tested import TestedRun
from pages.common import controls, run_maps, state
from pages.common.run_maps import AskedMaps
from pages.common.run_view import dataset_of_run
from pages.common.text import count, percent, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.compare.scene import Scene

PUBLISHED = "published"
_AT_ONCE = 8  # images of a cell
_SIDE_PX = 192
NOTHING = "Confusion matrices come with the predictions of a finished run: none of the selected runs has any."


def draw(scene: Scene) -> None:
    """All matrices of the same classes on one scale; a click on a cell shows its images with their maps."""
    tested = scene.tested()
    if not tested:
        st.markdown(NOTHING)
        return
    kinds = of_same_classes(tested)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        share = _choose_share()
        matrices = {id(kind): _published_of(kind[0]) for kind in kinds}
        with_published = any(matrices.values()) and _choose_published()
    if len(kinds) > 1:
        st.caption(f"The selected runs tell {len(kinds)} sets of classes apart, so their matrices stand by themselves.")
    for number, kind in enumerate(kinds):
        published = matrices[id(kind)] if with_published else []
        _draw_kind(kind, published, share, key=f"matrices_{number}")
    if num_without := len(scene.runs) - len(tested):
        st.caption(
            f"{count(num_without, 'selected run')} {'has' if num_without == 1 else 'have'} no predictions (yet)."
        )


def of_same_classes(tested: Sequence[TestedRun]) -> list[list[TestedRun]]:
    """The runs by the classes that they tell apart, in the order of the first of each."""
    kinds: dict[tuple[str, ...], list[TestedRun]] = {}
    for one in tested:
        kinds.setdefault(tuple(one.class_names), []).append(one)
    return list(kinds.values())


def _published_of(tested: TestedRun) -> list[PublishedResult]:
    are_grades = are_five_grades(tested.class_names, is_ordinal=tested.is_ordinal)
    return published_matrices(len(tested.class_names), are_grades=are_grades)


def _choose_share() -> str:
    about = "Shares are in per cent. All matrices have one scale: 0 to 100 %, or 0 to the largest count."
    return controls.choose("Colour and number", SHARES, "share", key="compare_share", is_segmented=True, help=about)


def _choose_published() -> bool:
    key = "compare_published"
    st.session_state[key] = state.current(PUBLISHED) == "matrices"
    return st.toggle(
        "Five published ones beside", key=key,
        on_change=lambda: state.remember(PUBLISHED, "matrices" if st.session_state[key] else None),
        help="VGG16 on 300 fundus photographs (talk, November 2016): other photographs, the same five grades.",
    )  # fmt: skip


def _draw_kind(kind: Sequence[TestedRun], published: Sequence[PublishedResult], share: str, *, key: str) -> None:
    names = kind[0].class_names
    chosen = _chosen_cell(kind)
    mark = (kind.index(chosen[0]), *chosen[1:]) if chosen else None
    if len(names) > MAX_WRITTEN and (close := _choose_close(kind)) is not None:
        confused = most_confused(close.matrix)
        if not len(confused):
            st.markdown(
                f"{plain(close.label)}: no error, all {count(len(close.targets), 'test image')} are in their class."
            )
        elif len(names) > MAX_LABELLED:
            title = f"{close.label}: the {len(confused)} most confused of {len(names)} classes"
            own = (0, *mark[1:]) if mark and kind[mark[0]] is close else None
            figure = confusion_grid_figure(
                [Panel(close.matrix, title)], names, is_dark=controls.is_dark(), share=share,
                classes=confused.tolist(), chosen=own,
            )  # fmt: skip
            _show(figure, [close], title, key=f"{key}_close")
    panels = [Panel(one.matrix, f"{one.label}, n\u00a0=\u00a0{len(one.targets)}") for one in kind]
    panels += [
        Panel(np.array(line.confusion), f"Published: {line.title}, n\u00a0=\u00a0300", is_published=True)
        for line in published
    ]
    figure = confusion_grid_figure(panels, names, is_dark=controls.is_dark(), share=share, chosen=mark)
    _show(figure, kind, f"{len(panels)} confusion matrices of {len(names)} classes", key=key)
    st.caption(
        f"Rows: true class. Columns: predicted. {SHARES[share]}{'' if share == 'count' else ', per cent'}, one scale "
        "for all. Click a cell for its images."
        + (" Published: of other photographs, which are not here (talk, November 2016)." if published else "")
    )
    if chosen is not None:
        _draw_cell(*chosen)


def _choose_close(kind: Sequence[TestedRun]) -> TestedRun | None:
    """The run whose most confused classes are shown by name, where the whole is too large for names."""
    if len(kind) < 2:
        return kind[0]
    by_id = {one.run.run_id: one for one in kind}
    run_id = st.selectbox(
        "Most confused classes of", list(by_id), format_func=lambda run_id: readable(by_id[run_id].label),
        key="compare_matrix_run", width=420,
    )  # fmt: skip
    return by_id.get(str(run_id))


def _show(figure: object, kind: Sequence[TestedRun], what: str, *, key: str) -> None:
    """The figure; a click on a cell is a step in the view."""

    def choose(points: list[list[int]]) -> None:
        panel, target, predicted = map(int, points[0])
        if panel < len(kind):  # a published one has no images here
            state.remember("cell", f"{kind[panel].run.run_id[:8]}:{target}:{predicted}")
            state.remember("at", None)

    alt = f"{readable(what)}; click a cell for its images"
    controls.show_clickable_figure(figure, alt=alt, key=key, on_click=choose)  # type: ignore[arg-type]


def _chosen_cell(kind: Sequence[TestedRun]) -> tuple[TestedRun, int, int] | None:
    """The cell of the link, if it is one of these runs' and of their classes."""
    run_id, _, cell = (state.current("cell") or "").partition(":")
    target, _, predicted = cell.partition(":")
    found = next((one for one in kind if run_id and one.run.run_id.startswith(run_id)), None)
    if found is None or not (target.isdigit() and predicted.isdigit()):
        return None
    if max(int(target), int(predicted)) >= len(found.class_names):
        return None
    return found, int(target), int(predicted)


def _draw_cell(tested: TestedRun, target: int, predicted: int) -> None:
    """The sentence of a cell, and its images, each beside what the run looked at."""
    rows = np.flatnonzero((tested.targets == target) & (tested.answers == predicted))
    names = tested.class_names
    share = percent(len(rows) / max(1, int((tested.targets == target).sum())), 0)
    rows = rows[np.argsort(-tested.probabilities[rows, predicted], kind="stable")]  # the surest first
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"{plain(tested.label)}: **{plain(names[target])}** called **{plain(names[predicted])}**, "
            f"{count(len(rows), 'image')}, {share} of the class.", width="stretch",
        )  # fmt: skip
        start = _choose_part(len(rows))
        st.button("Close", icon=":material/close:", type="tertiary", key="compare_cell_close",
                  on_click=lambda: state.remember("cell", None))  # fmt: skip
    dataset = dataset_of_run(tested.run.config)
    if dataset is None:
        st.caption(
            f"The images cannot be shown: the data set {plain(tested.run.config.get('dataset'))} is not here (any "
            "more), or not at the version that the run read."
        )
        return
    places = {image_id: row for row, image_id in enumerate(dataset.table["image_id"])}
    shown = [row for row in rows[start : start + _AT_ONCE] if tested.image_ids[row] in places]
    asked = AskedMaps(
        tested.run.run_id,
        tested.label,
        tuple(places[tested.image_ids[row]] for row in shown),
        (predicted,) * len(shown),
    )
    run_maps.ensure_maps(dataset, [asked])
    tiles = []
    for row, place, content in zip(shown, asked.rows, run_maps.map_pictures(dataset, asked), strict=True):
        image_id, path = str(tested.image_ids[row]), str(dataset.table["path"].iloc[place])
        link = state.page_link(
            "look_inside", view="stages", dataset=dataset.name, image=image_id, run=tested.run.run_id
        )
        sure = percent(float(tested.probabilities[row, predicted]), 0)
        picture = dataset.thumbnail(place, size_px=_SIDE_PX)
        tiles.append(EncodedTile(picture, "", f"{sure} sure", f"{path}; opens Look inside", link=link))
        alt = f"Where {tested.label} looked in {path} for {names[predicted]}; opens Look inside"
        if content is not None:
            tiles.append(EncodedTile(content, "", "its map", alt, link=link))
    draw_tiles(tiles, columns=8, least_px=72)
    folds = (
        " With folds, the map is of the one classifier that was kept, not of the image's own fold."
        if tested.folds is not None
        else ""
    )
    st.caption(
        f"Each image beside its map for {plain(names[predicted])}, the surest answers first. A click opens it in Look "
        f"inside with this run.{folds}"
    )


def _choose_part(num: int) -> int:
    """The first image to show, kept in the link; buttons to go on where there are more than fit."""
    asked = state.current("at") or ""
    start = int(asked) if asked.isdigit() and int(asked) < num else 0
    start -= start % _AT_ONCE
    if num > _AT_ONCE:
        last = min(num, start + _AT_ONCE)
        st.button("Before", icon=":material/chevron_left:", type="tertiary", key="compare_cell_before",
                  disabled=not start, on_click=lambda: state.remember("at", str(start - _AT_ONCE)))  # fmt: skip
        st.markdown(f"{start + 1} to {last} of {num}", width="content")
        st.button("Next", icon=":material/chevron_right:", type="tertiary", key="compare_cell_next",
                  disabled=last >= num, on_click=lambda: state.remember("at", str(start + _AT_ONCE)))  # fmt: skip
    return start
