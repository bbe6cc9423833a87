"""One image, stage by stage: the strip of maps, the network's answer, and one stage in large."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lib.grading.grades import NOT_CHECKED
from pages.common import controls, state
from pages.common.errors import show_errors
from pages.common.image_choice import ChosenImage
from pages.common.text import plain
from pages.common.tiles import draw_bars, draw_tiles
from pages.inside.pictures import cached_explanation, cached_strip, close_up, sheet_bytes
from pages.inside.scene import InsideNetwork, Scene, choose_stage, need_image

if TYPE_CHECKING:
    from lib.explain.explanation import Explanation

CAM, ACTIVATION = "Grad-CAM", "Mean activation"


def draw(scene: Scene) -> None:
    """The view."""
    network, image = scene.network, need_image(scene)
    if image is None:
        return
    explanation = cached_explanation(network, image, scene.target)
    strip, reading = st.columns([2.2, 1], gap="large")
    with strip:
        kind = _draw_strip(network, image, explanation)
    with reading:
        _draw_reading(network, image, explanation)
    st.divider()
    with show_errors("show the stage"):
        _draw_close_up(network, explanation, kind)


def _draw_strip(network: InsideNetwork, image: ChosenImage, explanation: "Explanation") -> str:
    """The hero: input, stem, ..., last stage. Returns which kind of map is shown."""
    offered = [CAM, ACTIVATION] if explanation.cams else [ACTIVATION]
    if explanation.is_refused:
        st.warning(plain(explanation.notice, 500), icon=":material/block:")
    elif explanation.notice:
        st.info(plain(explanation.notice, 400), icon=":material/info:")
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        kind = st.segmented_control(
            "Maps, from the first stage to the last",
            offered,
            default=offered[0],
            required=True,
            key=f"inside_maps_{len(offered)}",
            help="Grad-CAM: which places speak for the class. Mean activation: where a stage responds at all.",
        )
        kind = str(kind or offered[0])
        st.download_button(
            "Strip as PNG",
            lambda: sheet_bytes(network, explanation, kind == CAM),
            file_name=f"look_inside_{network.spec.name}_{'cam' if kind == CAM else 'activation'}.png",
            mime="image/png",
            icon=":material/download:",
            on_click="ignore",
        )
    sheet = cached_strip(network, image, explanation, kind == CAM)
    # The stage that is looked at below, outlined so that the eye finds it again.
    spoken_of = state.current_stage() or network.spec.shown_stage
    tiles = [
        dataclasses.replace(tile, is_marked=tile.name == spoken_of, link=_stage_link(tile.name, explanation))
        for tile in sheet.tiles
    ]
    draw_tiles(tiles, columns=sheet.columns, least_px=64, text_px=14)
    st.caption(
        f"{plain(network.title)}. {plain(sheet.note, 400)} A coarse map cannot show a detail smaller than a cell."
    )
    return kind


def _stage_link(stage: str, explanation: "Explanation") -> str:
    """Where a click on a tile of the strip leads: to its stage, shown large below; nowhere for the input."""
    return state.page_link("look_inside", stage=stage) if stage in explanation.activations else ""


def _draw_reading(network: InsideNetwork, image: ChosenImage, explanation: "Explanation") -> None:
    from lib.explain.explanation import describe_probability

    bars = [(name, value, describe_probability(value)) for name, value in explanation.top_classes(5)]
    verdict = explanation.verdict
    if explanation.is_refused:
        st.markdown("**Refused: no class is given.** What the network computed is grey: it does not count.")
        draw_bars(bars if np.isfinite(explanation.probabilities).all() else [], is_grey=True)
    elif verdict is None:
        st.markdown("**The network's answer**")
        draw_bars(bars)
    else:
        st.markdown(f"**The network's answer: {plain(verdict.class_name)}.** {plain(verdict.sentence, 400)}")
        draw_bars(bars)
        st.caption(plain(verdict.reason or f"{NOT_CHECKED[:1].upper()}{NOT_CHECKED[1:]}.", 400))
    lines = [f"Image: {plain(image.name)}."]
    if seen := network.seen_sentence(image.image_id):
        lines.append(f"**{seen}**")
    if image.true_class:
        lines.append(f"Its label in the data set: {plain(image.true_class)}.")
    lines += [f"Note: {plain(notice)}." for notice in image.notices]
    if not explanation.is_predicted and not explanation.is_refused:
        score = describe_probability(explanation.score)
        lines.append(f"The maps explain another class: {plain(explanation.target_name)}, probability {score}.")
    st.markdown(" ".join(lines))
    st.caption(
        "A map shows what the answer leaned on, not that the answer is right, and not an outline of the object. "
        "This page's address is a link to this view" + (", apart from the upload." if not image.is_linkable else ".")
    )
    is_asked = not explanation.is_predicted and (explanation.cams is not None or not explanation.is_refused)
    target = f" --target {explanation.target}" if is_asked else ""
    controls.copy_command(f"python -m lib explain {image.arguments} {network.command}{target} --out strip.png")


def _draw_close_up(network: InsideNetwork, explanation: "Explanation", kind: str) -> None:
    stage = choose_stage(network)
    # A network may hand on maps first and tokens behind them, which have no Grad-CAM.
    shown = close_up(network, explanation, stage, kind == CAM and stage in (explanation.cams or {}))
    draw_tiles(shown.tiles, columns=2)
    st.caption(plain(shown.note, 500))
