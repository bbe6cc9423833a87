"""The pinned images of one or several runs side by side: what each says of them and where it looks, by epoch."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset
from lib.explain.pictures import overlay, to_jpeg
from lib.training.resolution import watched_rows
from lib.watched_images import WatchedFrame, frame_epochs, read_frame
from pages.common import resources
from pages.common.text import percent, readable
from pages.common.tiles import linked

TILE_PX = 192


@dataclass(frozen=True)
class WatchedRun:
    """A run that writes frames of pinned images: its title and folder; None where it has not begun.

    `newest` is the last epoch to be shown of a recording, -1 for none yet; None for all there are.
    """

    title: str
    run_id: str | None
    folder: Path | None
    newest: int | None = None


def draw(pinned: str, runs: Sequence[WatchedRun], dataset: Dataset, *, epochs: int, key: str) -> None:
    """A slider through the epochs, and a row of pictures for each pinned image.

    Args:
        pinned: image ids joined by commas, as a config keeps them.
        runs: a column each.
        dataset: of the runs.
        epochs: planned ones: the end of the slider; there, it follows the newest.
        key: tells sliders apart.
    """
    try:
        rows = watched_rows(pinned, dataset)
    except KeyError:
        st.caption("The pinned images are not in the data set any more.")
        return
    st.subheader("Pinned images", anchor=False)
    epoch = epochs
    if epochs:
        help_text = "0: before the first epoch. A fit in one go has no epochs and stays as it is."
        epoch = st.slider("After epoch", 0, epochs, epochs, key=f"pinned_epoch_{key}", help=help_text)
    st.html(grid_html(rows, runs, [_frame(run, epoch) for run in runs], dataset))
    st.caption(
        "Grad-CAM of the most probable class: bright yellow speaks for it most. What is not so far yet shows its "
        "newest epoch; nearest neighbours have no gradient, so no map. These are images of the runs' own data "
        "set, so none is turned away."
    )


def grid_html(
    rows: np.ndarray, runs: Sequence[WatchedRun], frames: Sequence[WatchedFrame | None], dataset: Dataset
) -> str:
    """One row an image, first as it is, then as each run sees it."""
    heads = ["Image", *(run.title for run in runs)]
    cells = [
        f'<div class="rp-head">{html.escape(readable(head))}{_when(frame)}</div>'
        for head, frame in zip(heads, [None, *frames], strict=True)
    ]
    for place, row in enumerate(rows):
        truth = readable(dataset.class_names[int(dataset.table["target"].iloc[int(row)])], 40)
        cells.append(grid_tile(_plain_picture(dataset.name, dataset.version, int(row)), truth, "its class", alt=truth))
        for run, frame in zip(runs, frames, strict=True):
            cells.append(_cell(run, frame, place, dataset=dataset, row=int(row)))
    # A single run would make two huge columns.
    columns = f"repeat({len(heads)}, minmax(0, {'1fr' if len(heads) > 3 else '180px'}))"
    return f'{GRID_STYLE}<div class="rp" style="grid-template-columns:{columns}">{"".join(cells)}</div>'


def _frame(run: WatchedRun, epoch: int) -> WatchedFrame | None:
    """The newest frame of a run up to an epoch."""
    if run.folder is None or run.run_id is None:
        return None
    last = epoch if run.newest is None else min(epoch, run.newest)
    found = [one for one in frame_epochs(run.folder) if one <= last]
    return _cached_frame(run.run_id, found[-1], run.folder) if found else None


@st.cache_resource(max_entries=512, show_spinner=False)
def _cached_frame(run_id: str, epoch: int, _folder: object) -> WatchedFrame:
    return read_frame(_folder, epoch)  # type: ignore[arg-type]


def _when(frame: WatchedFrame | None) -> str:
    return f"<br><span>epoch {frame.epoch}</span>" if frame is not None and frame.epoch else "<br><span>&nbsp;</span>"


def _cell(run: WatchedRun, frame: WatchedFrame | None, place: int, *, dataset: Dataset, row: int) -> str:
    if frame is None:
        return '<div class="rp-empty"></div>'
    probabilities = frame.probabilities[place]
    predicted, target = int(probabilities.argmax()), int(dataset.table["target"].iloc[row])
    name = readable(dataset.class_names[predicted], 40)
    says = f"{percent(float(probabilities[predicted]), 0)}, {'right' if predicted == target else 'wrong'}"
    # The run comes first in the key: its epoch and place name the map, the data set's version and row the photograph.
    key = (str(run.run_id), frame.epoch, place)
    content = _map_picture(key, dataset.name, dataset.version, row, _maps=frame.maps)
    return grid_tile(content, name, says, alt=f"{run.title} says {name}, {says}", is_right=predicted == target)


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


def grid_tile(content: bytes, title: str, note: str, *, alt: str, is_right: bool | None = None, link: str = "") -> str:
    """A picture of a grid with two lines of text; outlined where it is right, a link where one is given."""
    source = f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"
    mark = "" if is_right is None else " rp-right" if is_right else " rp-wrong"
    picture = linked(
        f'<img src="{source}" alt="{html.escape(alt, quote=True)}" title="{html.escape(alt, quote=True)}">', link
    )
    return (
        f'<figure class="rp-tile{mark}">{picture}'
        f"<figcaption>{html.escape(title)}<br><span>{html.escape(note)}</span></figcaption></figure>"
    )


GRID_STYLE = """<style>
.rp { display: grid; gap: 12px; align-items: start; }
.rp-head { font-weight: 600; font-size: 14px; line-height: 1.3; align-self: end; }
.rp span { opacity: .75; font-size: 14px; font-weight: 400; }
.rp-tile { margin: 0; min-width: 0; }
.rp-tile img { width: 100%; display: block; border-radius: 4px; aspect-ratio: 1; }
.rp-tile figcaption { font-size: 14px; line-height: 1.3; margin-top: 4px; overflow-wrap: anywhere; }
.rp-right img { outline: 2px solid var(--st-primary-color, #0F766E); outline-offset: 1px; }
.rp-empty { aspect-ratio: 1; border-radius: 4px; background: color-mix(in srgb, currentColor 6%, transparent); }
</style>"""
