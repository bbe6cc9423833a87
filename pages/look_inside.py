"""What does a network see in one image, stage by stage, and which places speak for a class?"""

from pages.common.frame import ensure_frame

ensure_frame(__file__)

import dataclasses  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import numpy as np  # noqa: E402
import streamlit as st  # noqa: E402

from lib.data.builtin import CAT  # noqa: E402
from lib.grading.grades import NOT_CHECKED  # noqa: E402
from pages.common import controls, state, weights_panel  # noqa: E402
from pages.common.errors import show_errors  # noqa: E402
from pages.common.image_choice import ChosenImage, choose_image  # noqa: E402
from pages.common.inside_pictures import (  # noqa: E402  # noqa: E402
    InsideNetwork,
    cached_channels,
    cached_explanation,
    cached_filters,
    cached_strip,
    choose_network,
    close_up,
    sheet_bytes,
)
from pages.common.text import plain, readable  # noqa: E402
from pages.common.tiles import draw_bars, draw_tiles  # noqa: E402

if TYPE_CHECKING:
    from lib.explain.explanation import Explanation

CAM, ACTIVATION = "Grad-CAM", "Mean activation"
PREDICTED = -1


def main() -> None:
    controls.page_header(
        "Look inside", "What does the network see in one image, from generic edges to the parts of a class?"
    )
    notices = st.container()
    first, second, third, fourth = st.columns([3, 2, 2.2, 2.8], vertical_alignment="top")
    with first:
        network = choose_network(notices)
    with second:
        # A network of photographs is best met on a photograph; one that learned a data set, on that data set.
        opens_on = CAT if network.run_id is None and network.spec.pretrained_on == "ImageNet" else ""
        image = choose_image(
            key="inside", inputs=network.inputs, picker=third, opens_on="" if network.is_random else opens_on
        )
    with fourth:
        target = _choose_target(network)
    _say_what_it_is(network)
    if image is None:
        controls.empty_state("Choose an image: upload one above, or take one of the samples or of the data set.")
        return
    explanation = cached_explanation(network, image, target)
    strip, reading = st.columns([2.2, 1], gap="large")
    with strip:
        kind = _draw_strip(network, image, explanation)
    with reading:
        _draw_reading(network, image, explanation)
    st.divider()
    with show_errors("show the stage"):
        stage = _draw_close_up(network, explanation, kind)
    st.divider()
    with show_errors("show the detail"):
        _draw_detail(network, image, stage)


def _choose_target(network: InsideNetwork) -> int | None:
    """The class to explain; kept in the view as its number, since two ImageNet names occur twice."""
    wanted = state.current("target") or ""
    is_known = wanted.isdigit() and int(wanted) < len(network.class_names)
    st.session_state["inside_class"] = int(wanted) if is_known else PREDICTED
    if wanted and not is_known:
        state.settle("target", None)  # it belonged to another network

    def keep() -> None:
        chosen = st.session_state["inside_class"]
        state.remember("target", None if chosen == PREDICTED else str(chosen))

    chosen = st.selectbox(
        "Explain the class",
        [PREDICTED, *range(len(network.class_names))],
        format_func=lambda k: "Whichever is predicted" if k == PREDICTED else readable(network.class_names[k]),
        key="inside_class",
        on_change=keep,
        help="Grad-CAM shows which places speak for this class. Type to search.",
    )
    return None if chosen == PREDICTED else int(chosen)


def _say_what_it_is(network: InsideNetwork) -> None:
    if network.is_random:
        st.warning(
            f"These features are random: {network.spec.title} has learned nothing and its class names mean nothing. "
            "Its pretrained weights are not on this machine.",
            icon=":material/casino:",
        )
        weights_panel.offer_download(network.spec, key="inside_download")
    if network.is_medical:
        st.caption("Research and education only: not a medical device, not for diagnosis.")


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


def _draw_close_up(network: InsideNetwork, explanation: "Explanation", kind: str) -> str:
    stage = controls.choose_stage(network.spec.name, key="inside_stage")
    if stage not in explanation.activations:
        last = list(explanation.activations)[-1]
        st.warning(f"This run's network ends at {plain(network.spec.stage(last).label)}; showing that stage.")
        stage = last
    # A network may hand on maps first and tokens behind them, which have no Grad-CAM.
    shown = close_up(network, explanation, stage, kind == CAM and stage in (explanation.cams or {}))
    draw_tiles(shown.tiles, columns=2)
    st.caption(plain(shown.note, 500))
    return stage


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
    with st.popover("Copy as command", icon=":material/terminal:", type="tertiary"):
        is_asked = not explanation.is_predicted and (explanation.cams is not None or not explanation.is_refused)
        target = f" --target {explanation.target}" if is_asked else ""
        st.code(
            f"python -m lib explain {image.quoted_path} {network.command}{target} --out strip.png",
            language="bash",
            wrap_lines=True,
        )


def _draw_detail(network: InsideNetwork, image: ChosenImage, stage: str) -> None:
    kinds = ["Channels of the stage", "First-layer filters"]
    chosen = st.segmented_control("One click deeper", kinds, default=kinds[0], required=True, key="inside_detail")
    shown = cached_filters(network) if chosen == kinds[1] else cached_channels(network, image, stage)
    draw_tiles(shown.tiles, columns=shown.columns, least_px=56)
    st.caption(plain(shown.note, 500))


with show_errors("look inside the network"):
    main()
