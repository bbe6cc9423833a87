"""The pictures of the page "Look inside", computed once and kept as small encoded tiles."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from pages.common.image_choice import ChosenImage
from pages.common.tiles import EncodedTile
from pages.inside.scene import InsideNetwork

if TYPE_CHECKING:
    from lib.explain.explanation import Explanation
    from lib.explain.pictures import Tile

STRIP_PX, CLOSE_PX = 192, 384
MAX_FILTERS = 64


@dataclass(frozen=True)
class Shown:
    """Tiles, in how many columns, and the sentence under them."""

    tiles: tuple[EncodedTile, ...]
    columns: int
    note: str


def cached_explanation(network: InsideNetwork, image: ChosenImage, target: int | None) -> "Explanation":
    """Explain the image; kept for the last images of all sessions."""
    return _explanation(network.key, image.key, target, network, image)


@st.cache_resource(max_entries=24, show_spinner="Looking inside …")
def _explanation(
    network_key: str, image_key: str, target: int | None, _network: InsideNetwork, _image: ChosenImage
) -> "Explanation":
    # cache_resource, not cache_data: an explanation is never changed, so that no copy of its arrays is needed.
    from lib.explain.explanation import explain

    return explain(
        _image.pixels,
        _network.load(),
        preprocessing=_network.inputs,
        class_names=_network.class_names,
        target=target,
        verdict=_network.verdict(_image.pixels, _image.versions),
    )


def cached_strip(network: InsideNetwork, image: ChosenImage, explanation: "Explanation", is_cam: bool) -> Shown:  # noqa: FBT001
    """The strip "input, stem, ..., last stage"."""
    return _strip(network.key, image.key, explanation.target, is_cam, network, explanation)


@st.cache_resource(max_entries=48, show_spinner=False)
def _strip(
    network_key: str,
    image_key: str,
    target: int,
    is_cam: bool,  # noqa: FBT001
    _network: InsideNetwork,
    _explanation: "Explanation",
) -> Shown:
    from lib.explain.explanation import describe_maps, map_tiles
    from lib.explain.pictures import balanced_columns

    tiles = map_tiles(_explanation, is_cam=is_cam)
    encoded = tuple(_encode(tile, STRIP_PX, _alt(tile, _network, _explanation, is_cam=is_cam)) for tile in tiles)
    return Shown(encoded, balanced_columns(len(tiles)), describe_maps(_explanation, is_cam=is_cam))


def sheet_bytes(network: InsideNetwork, explanation: "Explanation", is_cam: bool) -> bytes:  # noqa: FBT001
    """The strip as a PNG file with all its texts."""
    from lib.explain.explanation import describe_maps, map_tiles
    from lib.explain.pictures import sheet_png

    notes = [describe_maps(explanation, is_cam=is_cam), explanation.notice]
    if network.is_random:
        notes.append("The weights are random: nothing was learned.")
    if network.is_medical:
        notes.append("Research and education only.")
    tiles = map_tiles(explanation, is_cam=is_cam)
    return sheet_png(tiles, title=f"{_method(is_cam=is_cam)}, {network.title}", notes=notes)


def close_up(
    network: InsideNetwork,
    explanation: "Explanation",
    stage: str,
    is_cam: bool,  # noqa: FBT001
) -> Shown:
    """The input and one stage's map side by side, with everything that must be known to read it."""
    from lib.explain.explanation import describe_cells, map_tiles

    tiles = map_tiles(explanation, is_cam=is_cam, stages=[stage])
    spec = network.spec.stage(stage)
    shape = explanation.activations[stage].shape
    words = [f"{_method(is_cam=is_cam)} at {spec.label}, {describe_cells(shape)}"]
    if is_cam and explanation.cams:
        words.append(explanation.describe_target())
        if explanation.cams[stage].raw_max[0] <= 0:
            words.append("Nothing at this stage speaks for the class")
    note = ". ".join(words) + "."
    return Shown(tuple(_encode(tile, CLOSE_PX, note) for tile in tiles), 2, note)


def cached_filters(network: InsideNetwork) -> Shown:
    """The first convolution's weights as colours."""
    return _filters(network.key, network)


@st.cache_resource(max_entries=8, show_spinner=False)
def _filters(network_key: str, _network: InsideNetwork) -> Shown:
    from lib.explain.attribution import first_layer_filters
    from lib.explain.pictures import enlarge_cells, to_png

    filters = first_layer_filters(_network.load())
    pixels = np.rint(filters[:MAX_FILTERS] * 255).astype(np.uint8)
    side = filters.shape[1]
    num_zero = int((filters == 0.5).all(axis=(1, 2, 3)).sum())
    tiles = tuple(
        EncodedTile(
            to_png(enlarge_cells(one, side * 8)), f"{index}", "", f"First-layer filter {index}, {side} × {side}"
        )
        for index, one in enumerate(pixels)
    )
    note = (
        f"{len(tiles)} of {len(filters)} filters of the first convolution, {side} × {side} weights for red, green and "
        "blue; each scaled to its own largest weight, mid grey is zero. "
        + (f"{num_zero} of them are zero throughout: they do nothing. " if num_zero else "")
        + ("They are random." if _network.is_random else "Edges and colour contrasts: what every image is made of.")
    )
    return Shown(tiles, 16, note)


def _encode(tile: "Tile", side_px: int, alt: str) -> EncodedTile:
    from lib.explain.pictures import to_jpeg

    return EncodedTile(to_jpeg(tile.pixels, side_px), tile.title, tile.caption, alt, name=tile.stage)


def _alt(tile: "Tile", network: InsideNetwork, explanation: "Explanation", *, is_cam: bool) -> str:
    if not tile.stage:
        return "The input image"
    about = f", {explanation.describe_target()}" if is_cam else ""
    return (
        f"{_method(is_cam=is_cam)} at {network.spec.stage(tile.stage).label} of {network.title}: {tile.caption}{about}"
    )


def _method(*, is_cam: bool) -> str:
    return "Grad-CAM" if is_cam else "Mean activation"
