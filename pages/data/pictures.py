"""Images of a data set as small pictures that open in full, and one in full with all that is known of it."""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lib.data.image_measures import MEASURES
from lib.data.image_query import ORDER_MEASURES
from lib.errors import UserError
from lib.figures.data_charts import SPLIT_TITLES
from lib.tracking.tested import TestedRun, read_tested
from pages.common import controls, image_grid, keyboard, resources, state
from pages.common.results import short_labels
from pages.common.text import percent, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.data.scene import Scene

if TYPE_CHECKING:
    import pandas as pd

    from lib.tracking import RunRecord

_COLUMNS, _SIDE_PX = 8, 192
_MOST_RUNS = 30  # of whose answers one image in full tells
_OUTLINE = "data_outline"
_KEYS = {
    "ArrowRight": "data_next", "ArrowDown": "data_next", "j": "data_next",
    "ArrowLeft": "data_back", "ArrowUp": "data_back", "k": "data_back", "Escape": "data_close",
}  # fmt: skip


def split_title(split: str) -> str:
    """What a part is called on screen."""
    return SPLIT_TITLES.get(split, split.capitalize() or "Not divided yet")


def choose_outline(scene: Scene) -> bool:
    """The switch for rings round what the masks mark, where there are masks."""
    if not scene.dataset.has_masks:
        return False
    st.toggle("Outline lesions", key=_OUTLINE, persist_state="session",
              help="Rings show where the masks say that lesions are.")  # fmt: skip
    return bool(st.session_state.get(_OUTLINE))


def draw_grid(
    scene: Scene, table: "pd.DataFrame", rows: np.ndarray, *, measure: str = "", with_mask: bool = False
) -> None:
    """Small pictures of those rows of an `image_table`, each a link to the image in full."""
    dataset, tiles = scene.dataset, []
    for row in rows:
        record = table.iloc[int(row)]
        value = float(record[measure]) if measure in table else float("nan")
        caption = f"{record['class_name']}"
        if measure in ORDER_MEASURES and np.isfinite(value):
            caption = f"{ORDER_MEASURES[measure].text(value)} · {caption}"
        if record.get("predicted", ""):
            caption += " · right" if record["outcome"] == "right" else f" · said {record['predicted']}"
        words = (
            f"{record['class_name']}, {split_title(record['split']).lower()}: {record['path']}"
            f"{', ' + record['flags'] if record['flags'] else ''}; opens it in full"
        )
        content = resources.cached_thumbnail(dataset.name, dataset.version, int(row), _SIDE_PX, with_mask=with_mask)
        link = state.page_link("explore_data", tab="images", open=str(record["image_id"]))
        tiles.append(EncodedTile(content, "", readable(caption, 60), readable(words), link=link))
    draw_tiles(tiles, columns=_COLUMNS, least_px=88)


def tested_runs(dataset: str) -> "list[RunRecord]":
    """The finished runs of a data set that kept their answers, newest first."""
    from lib.tracking.state import PREDICTIONS_FILE

    finished = (run for run in resources.run_records() if run.state == "finished")
    return [
        run for run in finished if run.config.get("dataset") == dataset and (run.folder / PREDICTIONS_FILE).is_file()
    ]


@st.cache_resource(max_entries=32, show_spinner=False)
def cached_tested(run_id: str, ended_s: float | None, *, _run: "RunRecord") -> TestedRun | None:
    """The answers of a run; None where it was tested on nothing."""
    try:
        return read_tested(_run, _run.label, lambda run: resources.cached_predictions(run.run_id, run.ended_s))
    except UserError:
        return None


def draw_one(scene: Scene, table: "pd.DataFrame", row: int, rows: np.ndarray) -> None:
    """One image as large as it is kept, and all that is known of it; `rows` are those to leaf through."""
    record, dataset = table.iloc[row], scene.dataset
    _draw_steps(table, row, rows)
    picture, facts = st.columns([1, 1], gap="large")
    with picture:
        with_mask = choose_outline(scene)
        side = dataset.spec.store_side_px
        content = resources.cached_thumbnail(dataset.name, dataset.version, row, side, with_mask=with_mask)
        st.image(content, width="stretch", alt=readable(f"{record['class_name']}: {record['path']}"))
        if with_mask:
            image_grid.draw_legend(dataset)
    with facts:
        _draw_facts(scene, table, row)
        _draw_answers(scene, str(record["image_id"]))
        _draw_measures(table, row)
        controls.link_to("look_inside", "What a network sees in it", icon=":material/visibility:", view="stages",
                         image=str(record["image_id"]))  # fmt: skip


def _draw_steps(table: "pd.DataFrame", row: int, rows: np.ndarray) -> None:
    position = np.flatnonzero(rows == row)
    number = int(position[0]) if len(position) else -1
    ids = table["image_id"].to_numpy()
    back = str(ids[rows[number - 1]]) if number > 0 else None
    ahead = str(ids[rows[number + 1]]) if 0 <= number < len(rows) - 1 else None
    with st.container(horizontal=True, vertical_alignment="center"):
        words = f"{number + 1:,} of {len(rows):,}" if number >= 0 else "Not among the images of this choice"
        st.markdown(f"**{plain(table['class_name'].iloc[row])}** · {words}", width="stretch")
        for label, key, icon, target in (
            ("Previous", "data_back", ":material/chevron_left:", back),
            ("Next", "data_next", ":material/chevron_right:", ahead),
        ):
            st.button(label, key=key, icon=icon, disabled=target is None, on_click=state.remember,
                      args=("open", target), help="Arrow keys, or j and k.")  # fmt: skip
        st.button("All", key="data_close", icon=":material/grid_view:", on_click=state.remember, args=("open", None),
                  help="Back to all images: Escape.")  # fmt: skip
    keyboard.listen(_KEYS)


def _draw_facts(scene: Scene, table: "pd.DataFrame", row: int) -> None:
    record, original = table.iloc[row], scene.dataset.table.iloc[row]
    facts = {
        "File": record["path"],
        "Class": record["class_name"],
        "Split": split_title(record["split"]),
        "Patient or group": record["group_id"] or "by itself",
        "Flags": record["flags"] or "none",
        "Original": f"{original['width']} x {original['height']} px",
    }
    if original["mask_path"]:
        facts["Mask"] = original["mask_path"]
    st.table({key: plain(value, 200) for key, value in facts.items()}, border="horizontal", alt="What is known of it")


def _draw_measures(table: "pd.DataFrame", row: int) -> None:
    record = table.iloc[row]
    same = table["class_name"].to_numpy() == record["class_name"]
    lines = [
        {
            "Measure": measure.title, "Value": measure.text(float(record[name])),
            "More than": f"{percent(_rank(table[name].to_numpy(), row, same), 0)} of its class",
        }
        for name, measure in MEASURES.items()
        if name in table
    ]  # fmt: skip
    with st.expander("Measures", expanded=True):
        controls.show_table(lines, hide_index=True, height=215, alt="Its measures, and its place among its class")


def _rank(values: np.ndarray, row: int, same: np.ndarray) -> float:
    """The share of the other images of its class that have less; a half where there is no other."""
    others = values[same & (np.arange(len(values)) != row)]
    if not len(others):
        return 0.5
    return float(((others < values[row]).sum() + (others == values[row]).sum() / 2) / len(others))


def _draw_answers(scene: Scene, image_id: str) -> None:
    """What the runs that were tested on it say, the newest first."""
    runs = tested_runs(scene.dataset.name)[:_MOST_RUNS]
    labels, lines = short_labels(runs), []
    for run in runs:
        tested = cached_tested(run.run_id, run.ended_s, _run=run)
        place = -1 if tested is None else next(iter(np.flatnonzero(tested.image_ids == image_id)), -1)
        if tested is None or place < 0:
            continue
        answer = int(tested.answers[place])
        lines.append({
            "Run": labels[run.run_id], "Says": tested.class_names[answer],
            "Confidence": percent(float(tested.probabilities[place, answer]), 0),
            "": "right" if answer == tested.targets[place] else f"wrong: {tested.class_names[tested.targets[place]]}",
        })  # fmt: skip
    if not runs:
        return
    if not lines:
        st.caption("No run was tested on this image.")
        return
    num_right = sum(line[""] == "right" for line in lines)
    st.markdown(f"**{num_right} of {len(lines)}** runs that were tested on it are right.")
    controls.show_table(
        lines, hide_index=True, height=min(215, 38 + 35 * len(lines)), alt="What runs say of this image"
    )
