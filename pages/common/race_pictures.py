"""The pinned images of a race, rung beside rung: what each says of them and where it looks, epoch by epoch."""

import base64
import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset
from lib.explain.overlays import overlay, to_jpeg
from lib.pinned import PinnedFrame, frame_epochs, read_frame
from lib.race import RacePlan, RungStanding
from lib.training.pinning import pinned_rows
from pages.common import resources
from pages.common.text import percent, readable

TILE_PX = 192


def draw(plan: RacePlan, standings: Sequence[RungStanding], dataset: Dataset) -> None:
    """A slider through the epochs, and a row of pictures for each pinned image."""
    try:
        rows = pinned_rows(str(plan.pinned_images), dataset)
    except KeyError:
        st.caption("The pinned images are not in the data set any more.")
        return
    st.subheader("Pinned images", anchor=False)
    epoch = st.slider(
        "After epoch", 0, plan.epochs, plan.epochs, key=f"race_epoch_{plan.race_id}",
        help="0: before the first epoch. Rungs without epochs show the one fit that they have.",
    )  # fmt: skip
    frames = [_frame(standing, epoch) for standing in standings]
    st.html(grid_html(rows, standings, frames, dataset))
    st.caption(
        "Grad-CAM of the class that the rung predicts: bright yellow speaks for it most. A rung that is not so far yet "
        "shows its newest epoch; nearest neighbours have no gradient, so no map."
    )


def grid_html(
    rows: np.ndarray, standings: Sequence[RungStanding], frames: Sequence[PinnedFrame | None], dataset: Dataset
) -> str:
    """One row an image, first as it is, then as each rung sees it."""
    heads = ["Image", *(standing.title for standing in standings)]
    cells = [f'<div class="rp-head">{html.escape(readable(head))}{_when(frame)}</div>'
             for head, frame in zip(heads, [None, *frames], strict=True)]  # fmt: skip
    for place, row in enumerate(rows):
        target = int(dataset.table["target"].iloc[int(row)])
        truth = readable(dataset.class_names[target], 40)
        cells.append(_tile(_plain_picture(dataset.name, dataset.version, int(row)), truth, "its class", alt=truth))
        for standing, frame in zip(standings, frames, strict=True):
            cells.append(_cell(standing, frame, place, dataset=dataset, row=int(row)))
    columns = f"repeat({len(heads)}, minmax(0, 1fr))"
    return f'{_STYLE}<div class="rp" style="grid-template-columns:{columns}">{"".join(cells)}</div>'


def _frame(standing: RungStanding, epoch: int) -> PinnedFrame | None:
    """The newest frame of a rung up to an epoch."""
    if standing.folder is None or standing.run_id is None:
        return None
    found = [one for one in frame_epochs(standing.folder) if one <= epoch]
    return _cached_frame(standing.run_id, found[-1], standing.folder) if found else None


@st.cache_resource(max_entries=512, show_spinner=False)
def _cached_frame(run_id: str, epoch: int, _folder: object) -> PinnedFrame:
    return read_frame(_folder, epoch)  # type: ignore[arg-type]


def _when(frame: PinnedFrame | None) -> str:
    return f"<br><span>epoch {frame.epoch}</span>" if frame is not None and frame.epoch else "<br><span>&nbsp;</span>"


def _cell(standing: RungStanding, frame: PinnedFrame | None, place: int, *, dataset: Dataset, row: int) -> str:
    if frame is None:
        return '<div class="rp-empty"></div>'
    probabilities = frame.probabilities[place]
    predicted, target = int(probabilities.argmax()), int(dataset.table["target"].iloc[row])
    name = readable(dataset.class_names[predicted], 40)
    says = f"{percent(float(probabilities[predicted]), 0)}, {'right' if predicted == target else 'wrong'}"
    # The run comes first in the key: its epoch and place name the map, the data set's version and row the photograph.
    key = (str(standing.run_id), frame.epoch, place)
    content = _map_picture(key, dataset.name, dataset.version, row, _maps=frame.maps)
    return _tile(content, name, says, alt=f"{standing.title} says {name}, {says}", is_right=predicted == target)


@st.cache_data(max_entries=1000, show_spinner=False)
def _plain_picture(name: str, version: str, row: int) -> bytes:
    return resources.cached_thumbnail(name, version, row, TILE_PX)


@st.cache_data(max_entries=1000, show_spinner=False)
def _map_picture(key: tuple[str, int, int], name: str, version: str, row: int, *, _maps: "np.ndarray | None") -> bytes:
    """JPEG bytes of an image under its map; as it is where there is none."""
    if _maps is None:
        return _plain_picture(name, version, row)
    pixels = np.array(resources.cached_dataset(name, version).pixels[row])
    step = max(1, pixels.shape[0] // TILE_PX)
    return to_jpeg(overlay(np.ascontiguousarray(pixels[::step, ::step]), _maps[key[2]]), TILE_PX)


def _tile(content: bytes, title: str, note: str, *, alt: str, is_right: bool | None = None) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"
    mark = "" if is_right is None else " rp-right" if is_right else " rp-wrong"
    return (
        f'<figure class="rp-tile{mark}"><img src="{source}" alt="{html.escape(alt, quote=True)}">'
        f"<figcaption>{html.escape(title)}<br><span>{html.escape(note)}</span></figcaption></figure>"
    )


_STYLE = """<style>
.rp { display: grid; gap: 12px; align-items: start; }
.rp-head { font-weight: 600; font-size: 14px; line-height: 1.3; align-self: end; }
.rp span { opacity: .75; font-size: 14px; font-weight: 400; }
.rp-tile { margin: 0; min-width: 0; }
.rp-tile img { width: 100%; display: block; border-radius: 4px; aspect-ratio: 1; }
.rp-tile figcaption { font-size: 14px; line-height: 1.3; margin-top: 4px; overflow-wrap: anywhere; }
.rp-right img { outline: 2px solid var(--st-primary-color, #0F766E); outline-offset: 1px; }
.rp-empty { aspect-ratio: 1; border-radius: 4px; background: color-mix(in srgb, currentColor 6%, transparent); }
</style>"""
