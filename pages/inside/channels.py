"""The strongest channels of one stage for the image, and the filters of the first layer."""

import streamlit as st

from pages.common.text import plain
from pages.common.tiles import draw_tiles
from pages.inside.pictures import cached_channels, cached_filters
from pages.inside.scene import Scene, choose_stage, need_image


def draw(scene: Scene) -> None:
    """The view."""
    network, image = scene.network, need_image(scene)
    if image is None:
        return
    kinds = ["Channels of the stage", "First-layer filters"]
    chosen = st.segmented_control("What to look at", kinds, default=kinds[0], required=True, key="inside_detail")
    shown = cached_filters(network) if chosen == kinds[1] else cached_channels(network, image, choose_stage(network))
    draw_tiles(shown.tiles, columns=shown.columns, least_px=56)
    st.caption(plain(shown.note, 500))
