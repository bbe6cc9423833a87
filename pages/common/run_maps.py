"""Images under the maps of a run: read where they are kept, made in the background where they are not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from lib.atomic import digest_of
from lib.data.dataset import Dataset
from lib.progress import Progress
from pages.common import background, resources
from pages.common.text import count, plain, plain_message, readable

SIDE_PX = 192


@dataclass(frozen=True)
class AskedMaps:
    """The maps of one run that a view shows: rows of the data set, and the class that each map speaks for."""

    run_id: str
    label: str
    rows: tuple[int, ...]
    targets: tuple[int, ...]


def ensure_maps(dataset: Dataset, asked: Sequence[AskedMaps]) -> None:
    """Have missing maps made, one run after the other, with progress; where a run has none, say why.

    Call it where the progress is to be seen. The page runs again when they are there.
    """
    from lib.grading.run_maps import make_maps, missing_maps

    ids = dataset.table["image_id"].to_numpy(str)
    failed: list[tuple[str, str]] = []
    for one in asked:
        waiting = missing_maps(one.run_id, [ids[row] for row in one.rows], one.targets)
        name = f"maps_{digest_of([one.run_id, [[str(ids[one.rows[at]]), one.targets[at]] for at in waiting]])[:16]}"
        if not waiting:
            continue
        task = background.find(name)
        if task is not None and task.is_over and task.error:
            if task.error.startswith("Stopped"):
                _say_stopped(name, one, task.error)
                break  # nobody wants those of the next run either
            failed.append((one.label, task.error))
            continue

        def work(progress: Progress, one: AskedMaps = one) -> int:
            grader = resources.cached_grader(one.run_id)
            return make_maps(grader, dataset, one.rows, one.targets, progress=progress)

        if task is None or task.is_over:
            title = f"{count(len(waiting), 'map')} of {readable(one.label, 60)}"
            background.start(name, title, work)
        background.watch(name)
        break  # the next run's come after these
    _say_failed(failed)


def _say_failed(failed: Sequence[tuple[str, str]]) -> None:
    """Why runs have no maps; of several in a box, so that the pictures stay where they are."""
    if len(failed) > 1:
        with st.expander(f"No maps of {count(len(failed), 'run')}"):
            for label, error in failed:
                st.caption(f"{plain(label)}: {plain_message(error)}")
    elif failed:
        label, error = failed[0]
        st.caption(f"{plain(label)}: {plain_message(error)}")


def _say_stopped(name: str, one: AskedMaps, error: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{plain(one.label)}: {plain_message(error)}")
        if st.button("Make them", key=f"again_{name}", type="tertiary"):
            background.forget(name)
            st.rerun()


def map_pictures(dataset: Dataset, asked: AskedMaps, *, side_px: int = SIDE_PX) -> list[bytes | None]:
    """JPEG bytes of each image under its map, at most `side_px` a side; None where there is none (yet)."""
    return [
        _picture(asked.run_id, dataset, row, target, side_px)
        for row, target in zip(asked.rows, asked.targets, strict=True)
    ]


def _picture(run_id: str, dataset: Dataset, row: int, target: int, side_px: int) -> bytes | None:
    from lib.grading.run_maps import framed_picture, kept_map

    image_id = str(dataset.table["image_id"].iloc[row])
    key = (run_id, image_id, target, side_px)
    known = _pictures().get(key)
    if known is not None:
        return known
    found = kept_map(run_id, image_id, target)
    if found is None:
        return None
    return _pictures().put(key, _drawn(framed_picture(run_id, np.asarray(dataset.pixels[row])), found, side_px))


def _drawn(pixels: np.ndarray, values: np.ndarray, side_px: int) -> bytes:
    from lib.explain.pictures import overlay, overlay_signed, to_jpeg

    step = max(1, pixels.shape[0] // side_px)
    small = np.ascontiguousarray(pixels[::step, ::step])
    draw = overlay_signed if values.min() < 0 else overlay
    return to_jpeg(draw(small, values), side_px)


@st.cache_resource(show_spinner=False)
def _pictures() -> "background.Recent[bytes]":
    return background.Recent(most=2000)
