"""One image through up to three networks, stacked stage by stage: as pretrained, fine-tuned, from scratch."""

from typing import TYPE_CHECKING

import streamlit as st

from lib.models.backbones import BACKBONES
from lib.training.strategies import STRATEGIES
from pages.common import controls, resources, state
from pages.common.image_choice import ChosenImage
from pages.common.text import joined, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside.pictures import cached_explanation, cached_strip
from pages.inside.scene import InsideNetwork, Scene, finished_runs, need_image, network_of_backbone, network_of_run

if TYPE_CHECKING:
    from lib.explain.explanation import Explanation
    from lib.tracking import RunRecord

PRETRAINED, RANDOM = "pretrained", "random"
MAX_NETWORKS = 3
_KEY = "inside_networks"
_KINDS = {"cam": "Grad-CAM", "activation": "Mean activation"}


def draw(scene: Scene) -> None:
    """The view."""
    image = need_image(scene)
    if image is None:
        return
    first, second, third = st.columns([4.2, 2.3, 3], vertical_alignment="top")
    with first:
        networks = choose_networks(scene.network)
    with second:
        target = _choose_class(networks)
    with third:
        kind = st.segmented_control(
            "Maps",
            list(_KINDS),
            format_func=_KINDS.__getitem__,
            default="cam",
            required=True,
            key="inside_networks_maps",
        )
    if not networks:
        controls.empty_state("Choose one to three networks: as pretrained, with random weights, or of finished runs.")
        return
    found = [(network, *_explained(network, image, target)) for network in networks]
    above: list[str] = []
    for network, explanation, is_named in found:
        above = _draw_row(network, image, explanation, is_cam=kind == "cam", is_named=is_named, above=above)
    st.caption(plain(_reading(found, image), 900))


def choose_networks(current: InsideNetwork) -> list[InsideNetwork]:
    """Draw the choice of up to three networks, kept in the view as `networks`."""
    runs = finished_runs()
    backbone = state.current_backbone()
    spec = BACKBONES.get(backbone)
    labels = {PRETRAINED: f"{spec.title}, as pretrained", RANDOM: f"{spec.title}, random weights", **runs}
    if not resources.weights_at_hand().get(backbone, False):
        del labels[PRETRAINED]  # it would be the random one under another name
    asked = [part for part in (state.current("networks") or "").split(",") if part]
    wanted = [next((name for name in labels if name.startswith(part)), "") for part in asked]
    if missing := [part for part, name in zip(asked, wanted, strict=True) if not name]:
        st.warning(f"There is no network {plain(joined(missing), 80)} (any more) among those to compare.")
    chosen = list(dict.fromkeys(name for name in wanted if name))[:MAX_NETWORKS]
    if not asked:
        chosen = _default_networks(labels, current)
    st.session_state[_KEY] = chosen
    picked = st.multiselect(
        "Networks",
        list(labels),
        format_func=lambda name: readable(labels[name]),
        key=_KEY,
        max_selections=MAX_NETWORKS,
        on_change=lambda: state.remember("networks", ",".join(st.session_state[_KEY]) or None),
        help="Up to three, drawn under each other.",
    )
    return [
        network_of_backbone(spec, is_random=name == RANDOM)
        if name in (PRETRAINED, RANDOM)
        else network_of_run(name, labels[name])
        for name in picked
    ]


def _default_networks(labels: dict[str, str], current: InsideNetwork) -> list[str]:
    """As pretrained, the newest fine-tuned run of the data set, and one from scratch; where one lacks, what is next."""
    dataset, backbone = state.current_dataset(), state.current_backbone()
    records = [
        run for run in resources.run_records()
        if run.run_id in labels and (run.config.get("dataset"), run.config.get("backbone")) == (dataset, backbone)
    ]  # fmt: skip
    tuned = current.run_id or _newest(records, "all", "partial")
    scratch = _newest(records, "all", uses_pretrained=False)
    found = [PRETRAINED, tuned, scratch or RANDOM]
    return [name for name in dict.fromkeys(found) if name and name in labels]


def _newest(records: "list[RunRecord]", *trains: str, uses_pretrained: bool = True) -> str:
    for part in trains:
        for run in sorted(records, key=lambda run: -run.created_s):
            name = str(run.config.get("strategy"))
            strategy = STRATEGIES.get(name) if name in STRATEGIES else None
            if strategy and strategy.trains_backbone == part and strategy.uses_pretrained == uses_pretrained:
                return run.run_id
    return ""


def _choose_class(networks: list[InsideNetwork]) -> str:
    """The name of a class that at least one of the trained networks has; empty for what each of them answers."""
    names = list(dict.fromkeys(name for network in networks if network.run_id for name in network.class_names))
    titles = {"": "Each one's answer", **{name: name for name in names if name}}
    return controls.choose("Explain the class", titles, "class", key="inside_networks_class")


def _explained(network: InsideNetwork, image: ChosenImage, target: str) -> "tuple[Explanation, bool]":
    """The explanation of the class by that name where the network knows it, else of its own answer."""
    is_named = target in network.class_names
    return cached_explanation(network, image, network.class_names.index(target) if is_named else None), is_named


def _draw_row(
    network: InsideNetwork,
    image: ChosenImage,
    explanation: "Explanation",
    *,
    is_cam: bool,
    is_named: bool,
    above: list[str],
) -> list[str]:
    """A network's answer and its strip, the stages named where they differ from those `above`; returns their names."""
    from lib.explain.explanation import describe_probability

    is_cam = is_cam and bool(explanation.cams)
    name, score = plain(explanation.target_name), describe_probability(explanation.score)
    if explanation.is_refused and not is_named:
        words = "turns the image away"
    elif explanation.is_predicted:
        words = f"answers **{name}** ({score})"
    else:
        words = f"gives {name} {score}; it answers {plain(explanation.top_classes(1)[0][0])}"
    about = "" if is_cam or not explanation.notice else ", so mean activation is shown"
    st.markdown(f"**{plain(network.title)}** {words}{about}")
    sheet = cached_strip(network, image, explanation, is_cam)
    names = [tile.name or "input" for tile in sheet.tiles]
    tiles = [
        EncodedTile(
            tile.content, name if names != above else "", "", tile.alt, name=tile.name, link=_link(network, tile.name)
        )
        for name, tile in zip(names, sheet.tiles, strict=True)
    ]  # fmt: skip
    draw_tiles(tiles, columns=len(tiles), least_px=36, text_px=12)
    return names


def _link(network: InsideNetwork, stage: str) -> str:
    """A click on a stage shows it in large, through that network."""
    return state.page_link("look_inside", view="stages", stage=stage, run=network.run_id) if stage else ""


def _reading(found: "list[tuple[InsideNetwork, Explanation, bool]]", image: ChosenImage) -> str:
    """What was explained of what, and which of the networks are right where the label is known."""
    lines = [f"{image.name}, each map to its own largest value."]
    if image.true_class:
        trained = [(network, explanation) for network, explanation, _ in found if network.run_id]
        right = [
            network.title
            for network, explanation in trained
            if explanation.answer is not None and explanation.class_names[explanation.answer] == image.true_class
        ]
        lines.append(f"Its label: {image.true_class}.")
        if trained:
            lines.append(f"Right: {joined(right) or 'none of the trained ones'}.")
    return " ".join(lines)
