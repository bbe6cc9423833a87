"""Methods, stages or networks side by side: maps of one image for one question on one scale, with their difference."""

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from lib.explain.methods import METHODS, offered_methods
from lib.explain.targets import AT_OR_ABOVE, DIFFERENCE, EXPECTED, Target
from lib.progress import Progress, ignore_progress
from pages.common import background, controls, state
from pages.common.errors import show_errors
from pages.common.image_choice import ChosenImage
from pages.common.page_table import LINK_MARK
from pages.common.text import plain, plain_message, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside.attribution_choices import (
    BESIDE,
    NETWORKS_BESIDE,
    UNKNOWN,
    Wanted,
    choose_look,
    choose_maps,
    choose_target,
)
from pages.inside.honest import verdict_words
from pages.inside.scene import InsideNetwork, Scene, need_image

if TYPE_CHECKING:
    from lib.explain.attribution_map import AttributionMap

TILE_PX = 320
_CAVEAT = (
    "A map says what the answer leaned on, by one rule of many. It does not say that the answer is right, and methods "
    "that disagree are a reason to believe none of them."
)


def draw(scene: Scene) -> None:
    """The view."""
    image = need_image(scene)
    if image is None:
        return
    has_both = state.current("beside") == NETWORKS_BESIDE  # a method and a stage to choose beside the networks
    first, second, *others, last = st.columns([1.5, 3, 1.9, 1.9, 2.1] if has_both else [1.6, 3.8, 2.2, 2.4])
    with first:
        beside = controls.choose("Side by side", BESIDE, "beside", key="inside_beside", unknown=UNKNOWN)
    with second:
        wanted = choose_maps(beside, scene.network, others)
    with last:
        target = choose_target(scene.network, image)
    pictures, reading = st.columns([2.2, 1], gap="large")
    with reading:
        alpha, unit, options = choose_look([METHODS.get(name) for name in {one.method: None for one in wanted}])
        _say_what_does_not_fit(scene.network)
    wanted = [
        Wanted(one.title, one.network, one.method, one.stage, tuple(sorted(options.get(one.method, {}).items())))
        for one in wanted
    ]
    maps: dict[str, AttributionMap] = {}
    with pictures, show_errors("draw the maps"):
        if not wanted:
            controls.empty_state("Choose a method that fits this network.")
            return
        shown, waiting = st.container(), st.container()
        with waiting:
            maps = _gather(wanted, image, target, scene.network.class_names)
        if maps:
            with shown:
                _draw_maps(image, wanted[0].network, maps, alpha=alpha, unit=unit)
                _draw_verdicts([one for one in wanted if one.title in maps], image, target, scene.network.class_names)
    with reading:
        _draw_numbers(image, maps)


def _say_what_does_not_fit(network: InsideNetwork) -> None:
    reasons = {name: why for name, why in offered_methods(network.load()).items() if why}
    if reasons:
        with st.expander(f"Not for this network: {len(reasons)} of {len(METHODS)} methods"):
            for name, why in reasons.items():
                st.markdown(f":gray[**{METHODS.get(name).title}**: {plain(why, 400)}]")


# What is computed: quick maps at once, slow ones in the background.


@st.cache_resource(show_spinner=False)
def _kept() -> "background.Recent[AttributionMap]":
    return background.Recent(most=48)


def _gather(
    wanted: list[Wanted], image: ChosenImage, asked: Target, names: tuple[str, ...]
) -> "dict[str, AttributionMap]":
    """The maps that are there, by title; what takes many passes is begun, and watched until it is done."""
    found: dict[str, AttributionMap] = {}
    for one in wanted:
        target = _target_for(one.network, asked, names)
        key = (one.network.key, image.key, target, one.method, one.stage, one.options)
        known = _kept().get(key)
        if known is None and not METHODS.get(one.method).is_slow:
            with st.spinner("Looking inside …"), show_errors(f"draw {one.title}"):
                known = _compute(one, image, target)
                _kept().put(key, known)
        if known is None and METHODS.get(one.method).is_slow:
            _in_background(one, image, target, key)
            known = _kept().get(key)
        if known is not None:
            found[one.title] = known
    return found


def _target_for(network: InsideNetwork, target: Target, names: tuple[str, ...]) -> Target:
    """The same question of a network with other classes, by their names; its own answer where it lacks them."""
    if target.is_open or network.class_names == names:
        return target
    if target.kind == EXPECTED:
        return target if network.is_ordinal else Target()
    asked = [names[index] for index in (target.index, target.other)]
    if asked[0] not in network.class_names or (target.kind == DIFFERENCE and asked[1] not in network.class_names):
        return Target()
    index = network.class_names.index(asked[0])
    if target.kind == AT_OR_ABOVE:
        return Target(AT_OR_ABOVE, index) if network.is_ordinal and index else Target()
    other = network.class_names.index(asked[1]) if target.kind == DIFFERENCE else 0
    return Target(target.kind, index, other)


def _in_background(one: Wanted, image: ChosenImage, target: Target, key: tuple[Any, ...]) -> None:
    name = f"map:{hash(key)}"

    def work(progress: Progress) -> None:
        _kept().put(key, _compute(one, image, target, progress))

    task = background.find(name)
    if task is not None and task.is_over:
        if task.error:
            st.info(f"{plain(one.title)}: {plain_message(task.error)}")
            if st.button("Compute it", key=f"again_{name}", icon=":material/refresh:"):
                background.forget(name)
                st.rerun()
            return
        background.forget(name)
        if _kept().get(key) is not None:
            return
    background.start(name, f"{one.title}: many passes through the network", work)
    background.watch(name)


def _compute(one: Wanted, image: ChosenImage, target: Target, progress: Progress = ignore_progress) -> "AttributionMap":
    from lib.explain.attribution_map import attribute_image

    about = {"title": one.network.title, "backbone": one.network.spec.name, "run": one.network.run_id or ""}
    return attribute_image(
        image.pixels,
        one.network.load(),
        preprocessing=one.network.inputs,
        class_names=one.network.class_names,
        verdict=one.network.verdict(image.pixels, image.versions),
        target=target,
        method=one.method,
        stage=one.stage,
        options=dict(one.options),
        progress=progress,
        about=about | {"image": image.name},
    )


# What is shown.


def _draw_maps(
    image: ChosenImage, network: InsideNetwork, maps: "Mapping[str, AttributionMap]", *, alpha: float, unit: str
) -> None:
    # A map is never changed, so that its identity tells whether it was drawn before.
    key = tuple((title, id(one)) for title, one in maps.items())
    drawn = _tiles(key, image.key, network.key, alpha, unit, _maps=dict(maps), _image=image, _network=network)
    tiles, differences, note, _ = drawn
    draw_tiles(tiles, columns=len(tiles), least_px=150)
    if differences:
        st.markdown("**Difference**")
        draw_tiles(differences, columns=len(tiles), least_px=150)
    st.caption(plain(note, 400))


def _draw_verdicts(wanted: list[Wanted], image: ChosenImage, asked: Target, names: tuple[str, ...]) -> None:
    """The honest card of each map: its verdict, or where to have it measured."""
    links = []
    for one in wanted:
        target = _target_for(one.network, asked, names)
        words = verdict_words(one.network, image, method=one.method, stage=one.stage or "", target=target)
        place = {"method": one.method, "stage": one.stage, "ask": None if target.is_open else target.to_text()}
        href = state.page_link("look_inside", view="honest", run=one.network.run_id, **place)
        title = html.escape(readable(one.title, 60))
        links.append(f'<span>{title}: <a {LINK_MARK}="" href="{html.escape(href, quote=True)}">{words}</a></span>')
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:4px 24px">{"".join(links)}</div>')


@st.cache_resource(max_entries=24, show_spinner=False)
def _tiles(
    key: tuple[Any, ...],
    image_key: str,
    network_key: str,
    alpha: float,
    unit: str,
    *,
    _maps: "dict[str, AttributionMap]",
    _image: ChosenImage,
    _network: InsideNetwork,
) -> tuple[list[EncodedTile], list[EncodedTile], str, Any]:
    """Pictures of the maps, of their differences, how to read them; and the maps, kept so that no other takes an id."""
    from lib.explain.pictures import Tile
    from lib.explain.side_by_side import side_by_side

    framed = _network.inputs.framed(_image.pixels)
    shown = side_by_side(framed, _maps, unit=unit, alpha=alpha)
    height, width = framed.shape[:2]
    tiles = [Tile("Input", f"{width} × {height} pixels", framed), *shown.tiles]
    alts = ["The input image", *(f"{title}: {one.words}" for title, one in _maps.items())]
    pictures = [_encode(tile, alt) for tile, alt in zip(tiles, alts, strict=True)]
    differences = [_encode(tile, f"{tile.title}: {tile.caption}") for tile in shown.differences]
    return pictures, differences, shown.note, _maps


def _encode(tile: Any, alt: str) -> EncodedTile:
    from lib.explain.pictures import to_jpeg

    return EncodedTile(to_jpeg(tile.pixels, TILE_PX), tile.title, tile.caption, alt, name=tile.stage)


def _draw_numbers(image: ChosenImage, maps: "Mapping[str, AttributionMap]") -> None:
    """What each map is of, and the numbers to take away."""
    if not maps:
        return
    from lib.explain.attribution_map import maps_npz

    for title, one in maps.items():
        name = "" if title == one.method.title else f"**{plain(title)}**: "
        st.markdown(f"{name}{plain(one.words, 300)}")
    st.caption(_CAVEAT)
    with st.container(horizontal=True):
        st.download_button(
            "Raw maps (.npz)",
            lambda: maps_npz(dict(maps)),
            file_name="maps.npz",
            icon=":material/download:",
            on_click="ignore",
            help='The numbers of every map, and under "manifest" what they are.',
        )
        st.download_button(
            "Manifest (.json)",
            lambda: "".join(one.manifest_json() for one in maps.values()),
            file_name="maps.json",
            mime="application/json",
            icon=":material/description:",
            on_click="ignore",
            help="Method, stage, question, options, scale and versions of every map.",
        )
    st.caption(f"Image: {plain(image.name)}.")
