"""The honest card: one map beside its controls, what was measured of it, and whether it may be used."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset
from lib.explain.methods import METHODS
from lib.explain.targets import Target
from pages.common import background, controls, resources, state
from pages.common.image_choice import ChosenImage
from pages.common.text import plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside import method_table
from pages.inside.attribution_choices import choose_stage, choose_target
from pages.inside.scene import InsideNetwork, Scene, need_image

if TYPE_CHECKING:
    from lib.explain.honest_card import HonestCard

_TILE_PX = 224
_LEVELS = {
    "good": (":material/check_circle:", "Passes its checks"),
    "careful": (":material/warning:", "Read with care"),
    "do not use": (":material/block:", "Do not use this map"),
    "no evidence": (":material/remove_circle:", "No evidence"),
}
WHAT_IT_IS_NOT = (
    "A map shows where the evidence for one answer was pooled. It does not show that the answer is right, it is no "
    "outline of a lesion or an object, and no reason to treat or not to treat. Numbers of a single image are noisy."
)


def draw(scene: Scene) -> None:
    """The view."""
    from lib.explain.network import map_stage_names

    image, network = need_image(scene), scene.network
    if image is None:
        return
    first, second, third = st.columns([3, 3, 4], vertical_alignment="top")
    with first:
        method = _choose_method(network)
    if method is None:
        return
    stage = ""
    if METHODS.get(method).is_at_stage:
        with second:
            stage = choose_stage(network, map_stage_names(network.load()))
    with third:
        target = choose_target(network, image)
    draw_card(network, image, method=method, stage=stage, target=target)
    st.divider()
    method_table.draw(network, stage)


def _choose_method(network: InsideNetwork) -> str | None:
    from lib.explain.methods import offered_methods

    reasons = offered_methods(network.load())
    fitting = [name for name, reason in reasons.items() if not reason]
    if not fitting:
        controls.empty_state(plain(next(iter(reasons.values())), 400))
        return None
    wanted = state.current("method")
    if wanted and wanted not in fitting:
        why = reasons.get(wanted, "") or f"There is no method {wanted}."
        st.warning(f"{plain(why, 300)} Showing {METHODS.get(fitting[0]).title}.")
    titles = {name: METHODS.get(name).title for name in fitting}
    help_text = "How the map is made; only methods that fit this network."
    return controls.choose("Method", titles, "method", key="inside_honest_method", help=help_text)


def draw_card(network: InsideNetwork, image: ChosenImage, *, method: str, stage: str, target: Target) -> None:
    """The card of one map: measured on a click, kept for the last maps that anybody asked for."""
    key = _key(network, image, method, stage, target)
    task = f"card:{key}"
    card = _cards().get(key)
    if card is None:
        found = background.find(task)
        if found is not None and found.is_over and found.result is not None:
            card = _cards().put(key, found.result)
            background.forget(task)
        else:
            background.show_measurement_failure(task)
    if card is None:
        _offer(task, network, image, method=method, stage=stage, target=target)
        return
    _draw(card, network, image, method)


def _key(network: InsideNetwork, image: ChosenImage, method: str, stage: str, target: Target) -> str:
    return f"{network.key}|{image.key}|{method}|{stage}|{target}"


def verdict_words(network: InsideNetwork, image: ChosenImage, *, method: str, stage: str, target: Target) -> str:
    """What the card of a map comes to, in a few words; that it can be measured, where nobody has."""
    card = _cards().get(_key(network, image, method, stage, target))
    return "Check this map" if card is None else _LEVELS[card.level][1]


@st.cache_resource(show_spinner=False)
def _cards() -> "background.Recent[HonestCard]":
    return background.Recent(most=32)


def _offer(task: str, network: InsideNetwork, image: ChosenImage, *, method: str, stage: str, target: Target) -> None:
    if background.is_measuring(task):
        background.watch(task)
        return
    title = METHODS.get(method).title
    st.markdown(
        f"**Is the {title} map to be trusted?** The same method is run on weights drawn anew, from the last stage "
        "down, pixels are removed and inserted by the map and by four controls, and the runner-up and the mirrored "
        "image are asked."
    )
    st.button(
        "Check this map",
        icon=":material/fact_check:",
        type="primary",
        key=f"start_{task}",
        on_click=_start,
        args=(task, network, image),
        kwargs={"method": method, "stage": stage, "target": target},
    )
    st.caption(WHAT_IT_IS_NOT)


def _start(task: str, network: InsideNetwork, image: ChosenImage, *, method: str, stage: str, target: Target) -> None:
    loaded, verdict = network.load(), network.verdict(image.pixels, image.versions)
    retina, masks = _places(network, image)

    def work(progress: Any) -> "HonestCard":
        from lib.explain.map_checks import check_map

        return check_map(
            image.pixels, loaded, preprocessing=network.inputs, class_names=network.class_names, method=method,
            stage=stage or None, target=target, verdict=verdict if target.is_open else None, retina=retina, masks=masks,
            progress=progress,
        )  # fmt: skip

    background.start(task, f"Checking the {METHODS.get(method).title} map", work)


def _places(network: InsideNetwork, image: ChosenImage) -> tuple[np.ndarray | None, dict[str, np.ndarray] | None]:
    """Where the retina is, for fundus photographs, and lesions where there are masks, as the network sees them."""
    framed = network.inputs.framed(image.pixels)
    dataset = _dataset_of(image)
    is_fundus = network.is_medical or (dataset is not None and dataset.spec.is_fundus)
    retina = None
    if is_fundus:
        from lib.data.retina_measures import trace_fundus

        retina = trace_fundus(framed / 255.0).retina
    mask = None if dataset is None else dataset.mask(int(image.key.rpartition(":")[2]))
    seen = None if mask is None or not mask.any() else network.inputs.framed_mask(mask)
    if dataset is None or seen is None:
        return retina, None
    names = dict(enumerate(dataset.spec.mask_names, start=1))
    found = {names.get(int(value), str(value)): seen == value for value in np.unique(seen) if value}
    return retina, ({"All lesions": seen > 0} | found) if found else None


def _dataset_of(image: ChosenImage) -> Dataset | None:
    if not image.versions:
        return None
    name, version, _ = image.key.rsplit(":", 2)
    return resources.cached_dataset(name, version)


def _draw(card: "HonestCard", network: InsideNetwork, image: ChosenImage, method: str) -> None:
    icon, title = _LEVELS[card.level]
    picture, reading = st.columns([2.2, 1], gap="large")
    sentences = card.sentences()
    with reading:
        st.markdown(f"### {icon} {title}")
        for sentence in sentences if not card.has_evidence or card.level == "good" else sentences[1:]:
            st.markdown(plain(sentence, 400))
        _draw_numbers(card)
    with picture:
        if card.has_evidence:
            draw_tiles(_tiles(card, network, image, method), columns=5, least_px=64,
                       text_px=14)  # fmt: skip
            _draw_curve(card, network)
        st.caption(WHAT_IT_IS_NOT)


def _tiles(card: "HonestCard", network: InsideNetwork, image: ChosenImage, method: str) -> list[EncodedTile]:
    from lib.explain.honest_card import CONTROL_TITLES
    from lib.explain.pictures import overlay, to_jpeg

    framed = network.inputs.framed(image.pixels)

    def tile(title: str, values: np.ndarray, gain: float) -> EncodedTile:
        largest = float(np.abs(values).max())
        shown = np.maximum(values, 0.0) / largest if largest > 0 else np.zeros_like(values)
        words = f"gain {gain:+.2f}"
        return EncodedTile(to_jpeg(overlay(framed, shown), _TILE_PX), title, words, f"{title} over the image: {words}")

    tiles = []
    if card.picture is not None and card.own is not None:
        tiles.append(tile(METHODS.get(method).title, card.picture, card.own.gain))
    for name, values in card.control_pictures.items():
        tiles.append(tile(CONTROL_TITLES[name], values, card.controls[name].gain))
    return tiles


def _draw_numbers(card: "HonestCard") -> None:
    import pandas as pd

    gained = card.gained
    if card.own is None or gained is None:
        return
    rows = [
        ("Deletion (low)", card.own.deletion, gained.deletion),
        ("Insertion (higher)", card.own.insertion, gained.insertion),
        ("ROAD (higher)", card.own.road, gained.road),
    ]
    table = pd.DataFrame(rows, columns=["Good if", "Map", "Less controls"])
    number = st.column_config.NumberColumn(format="%.2f")
    controls.show_table(table, hide_index=True, column_config={"Map": number, "Less controls": number})
    lines = []
    if not math.isnan(card.other_class):
        lines.append(f"Like the map of {readable(card.other_class_name, 40)}: {card.other_class:.2f}.")
    if not math.isnan(card.flip):
        lines.append(f"Like that of the mirrored image: {card.flip:.2f}.")
    if card.outside:
        lines.append(f"Outside the retina: {card.outside[0]:.0%} of it, by area {card.outside[1]:.0%}.")
    for name, place in card.lesions.items():
        hit = "points at it" if place.pointing else "points elsewhere"
        lines.append(
            f"{readable(name, 40)}: {hit} (chance {place.pointing_chance:.0%}), {place.mass:.0%} of the relevance "
            f"(area {place.area:.0%}), overlap {place.iou:.2f} (chance {place.iou_chance:.2f})."
        )
    st.caption(plain(" ".join(lines), 1500))


def _draw_curve(card: "HonestCard", network: InsideNetwork) -> None:
    import pandas as pd

    from lib.figures.randomisation_chart import randomisation_figure

    titles = {stage.name: stage.name for stage in network.spec.stages}
    steps = [(titles.get(step.stage, step.stage), step.spearman, step.ssim) for step in card.randomisation]
    figure = randomisation_figure(steps, is_dark=controls.is_dark())
    data = pd.DataFrame(steps, columns=["drawn anew down to", "spearman", "ssim"])
    controls.show_figure(
        figure, key="randomisation", data=data,
        alt=f"How like the map stays as stages are drawn anew; mean rank correlation {card.likeness:.2f}",
    )  # fmt: skip
