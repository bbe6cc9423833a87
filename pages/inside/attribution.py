"""Methods, stages or networks side by side: maps of one image for one question on one scale, with their difference."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.errors import UserError
from lib.explain.method_spec import MethodSpec, Option
from lib.explain.methods import DEFAULT_METHOD, METHODS, offered_methods
from lib.explain.targets import (
    AT_OR_ABOVE,
    CLASS,
    DIFFERENCE,
    EXPECTED,
    PREDICTED,
    TRUE,
    Target,
    find_class,
    parse_target,
)
from lib.progress import Progress
from pages.common import background, controls, state
from pages.common.errors import show_errors
from pages.common.image_choice import ChosenImage
from pages.common.text import plain, plain_message, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside.networks import choose_networks
from pages.inside.scene import InsideNetwork, Scene, need_image

if TYPE_CHECKING:
    from lib.explain.attribution_map import AttributionMap

METHODS_BESIDE, STAGES_BESIDE, NETWORKS_BESIDE = "methods", "stages", "networks"
MAX_MAPS = 4
TILE_PX = 320
_BESIDE = {METHODS_BESIDE: "Methods", STAGES_BESIDE: "Stages", NETWORKS_BESIDE: "Networks"}
_KINDS = {
    PREDICTED: "Whichever is predicted",
    TRUE: "The true class",
    CLASS: "A class",
    DIFFERENCE: "One class rather than another",
    EXPECTED: "The expected grade",
    AT_OR_ABOVE: "A grade or above",
}
_DEFAULT_METHODS = (DEFAULT_METHOD, "layer_cam", "integrated_gradients")
_CAVEAT = (
    "A map says what the answer leaned on, by one rule of many. It does not say that the answer is right, and methods "
    "that disagree are a reason to believe none of them."
)


@dataclass(frozen=True)
class Wanted:
    """One map to be drawn; `title` stands above it."""

    title: str
    network: InsideNetwork
    method: str
    stage: str | None
    options: tuple[tuple[str, Any], ...]


def draw(scene: Scene) -> None:
    """The view."""
    image = need_image(scene)
    if image is None:
        return
    has_both = state.current("beside") == NETWORKS_BESIDE  # a method and a stage to choose beside the networks
    first, second, *others, last = st.columns([1.5, 3, 1.9, 1.9, 2.1] if has_both else [1.6, 3.8, 2.2, 2.4])
    with first:
        beside = _one("beside", "Side by side", _BESIDE)
    with second:
        wanted = _choose_maps(beside, scene.network, others)
    with last:
        target = _choose_target(scene.network, image)
    pictures, reading = st.columns([2.2, 1], gap="large")
    with reading:
        alpha, unit, options = _choose_look([METHODS.get(name) for name in {one.method: None for one in wanted}])
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
    with reading:
        _draw_numbers(image, maps)


# What is chosen, kept in the link.


def _several(key: str, label: str, titles: Mapping[str, str], default: list[str], *, most: int = MAX_MAPS) -> list[str]:
    """Some of many, kept in the view under `key`, comma between them."""
    name = f"inside_{key}"
    asked = [part for part in (state.current(key) or "").split(",") if part]
    if missing := [part for part in asked if part not in titles]:
        st.warning(f"Not for this network: {plain(', '.join(missing), 80)}.")
    st.session_state[name] = [part for part in asked if part in titles][:most] if asked else default
    st.multiselect(
        label,
        list(titles),
        format_func=lambda one: readable(titles[one]),
        key=name,
        max_selections=most,
        on_change=lambda: state.remember(key, ",".join(st.session_state[name]) or None),
    )
    return list(st.session_state[name])


def _choose_maps(beside: str, network: InsideNetwork, places: list[DeltaGenerator]) -> list[Wanted]:
    """Draw the choice of what stands side by side; the other choices that it needs in `places`."""
    from lib.explain.network import map_stage_names

    loaded = network.load()
    fitting = {name: METHODS.get(name).title for name, why in offered_methods(loaded).items() if not why}
    stages = map_stage_names(loaded)
    if beside == METHODS_BESIDE:
        default = [name for name in _DEFAULT_METHODS if name in fitting] or list(fitting)[:1]
        chosen = _several("methods", "Methods", fitting, default)
        with places[0]:
            stage = _choose_stage(network, stages) if any(METHODS.get(name).is_at_stage for name in chosen) else None
        return [
            Wanted(fitting[name], network, name, stage if METHODS.get(name).is_at_stage else None, ())
            for name in chosen
        ]
    at_stage = {name: title for name, title in fitting.items() if METHODS.get(name).is_at_stage}
    offered = at_stage if beside == STAGES_BESIDE else fitting
    if not offered:
        st.info("No method of stages fits this network: it has no maps.")
        return []
    with places[0]:
        method = _one("method", "Method", offered)
    if beside == STAGES_BESIDE:
        titles = {name: network.spec.stage(name).label for name in stages}
        spread = list(dict.fromkeys([stages[0], stages[len(stages) // 2], stages[-1]]))
        chosen = _several("stages", "Stages", titles, spread)
        return [Wanted(network.spec.stage(name).title, network, method, name, ()) for name in chosen]
    networks = choose_networks(network)
    with places[-1]:
        stage = _choose_stage(network, stages) if METHODS.get(method).is_at_stage else None
    return [Wanted(one.title, one, method, stage, ()) for one in networks]


def _one(key: str, label: str, titles: Mapping[str, str]) -> str:
    name = f"inside_{key}"
    given = state.current(key)
    if given and given not in titles:
        st.warning(f"Not for this network: {plain(given, 40)}.")
    st.session_state[name] = given if given in titles else next(iter(titles))
    st.selectbox(
        label,
        list(titles),
        format_func=lambda one: readable(titles[one]),
        key=name,
        on_change=lambda: state.remember(key, st.session_state[name]),
    )
    return str(st.session_state[name])


def _choose_stage(network: InsideNetwork, stages: tuple[str, ...]) -> str:
    """The stage of methods that look at one; the network's own where the view names none that has a map."""
    key, wanted = "inside_attribution_stage", state.current_stage()
    own = network.spec.cam_stage if network.spec.cam_stage in stages else stages[-1]
    st.session_state[key] = wanted if wanted in stages else own
    st.selectbox(
        "Stage",
        stages,
        format_func=lambda name: network.spec.stage(name).label,
        key=key,
        on_change=lambda: state.remember("stage", st.session_state[key]),
    )
    return str(st.session_state[key])


def _choose_target(network: InsideNetwork, image: ChosenImage) -> Target:
    """What is explained, kept in the view as `ask`."""
    names, is_ordinal = network.class_names, network.is_ordinal
    try:
        target = parse_target(state.current("ask") or PREDICTED, names, is_ordinal=is_ordinal)
    except UserError as error:
        st.warning(plain_message(str(error)))
        target = Target()
    offered = [
        kind
        for kind in _KINDS
        if (kind != TRUE or image.true_class in names)
        and (kind not in (EXPECTED, AT_OR_ABOVE) or is_ordinal)
        and (kind != DIFFERENCE or len(names) > 1)
    ]
    kind = target.kind if target.kind in offered else PREDICTED
    st.session_state["inside_ask_kind"] = kind

    def keep_kind() -> None:
        first = {CLASS: "0", DIFFERENCE: "0 - 1", AT_OR_ABOVE: ">=1"}
        chosen = st.session_state["inside_ask_kind"]
        state.remember("ask", None if chosen == PREDICTED else first.get(chosen, chosen))

    st.selectbox("Explain", offered, format_func=_KINDS.__getitem__, key="inside_ask_kind", on_change=keep_kind)
    if kind == PREDICTED:
        return Target()
    if kind in (CLASS, AT_OR_ABOVE):
        numbers = range(1 if kind == AT_OR_ABOVE else 0, len(names))
        _class_box("inside_ask_first", numbers, target.index, names, lambda index: Target(kind, index))
    if kind == DIFFERENCE:
        left, right = st.columns(2)
        everyone = range(len(names))
        with left:
            _class_box("inside_ask_first", everyone, target.index, names, lambda index: _pair(index, target.other))
        with right:
            _class_box("inside_ask_other", everyone, target.other, names, lambda index: _pair(target.index, index))
    if kind == TRUE:
        return Target(CLASS, find_class(image.true_class, names))
    return target


def _pair(first: int, second: int) -> Target:
    """A difference; of a class to itself, which is none, to another one."""
    return Target(DIFFERENCE, first, second if second != first else (first + 1) % 2 if first < 2 else 0)


def _class_box(key: str, numbers: range, index: int, names: tuple[str, ...], target_of: Any) -> None:
    st.session_state[key] = index
    st.selectbox(
        "Class",
        numbers,
        format_func=lambda k: readable(names[k]),
        key=key,
        on_change=lambda: state.remember("ask", target_of(st.session_state[key]).to_text()),
        label_visibility="collapsed",
    )


def _choose_look(methods: list[MethodSpec]) -> tuple[float, str, dict[str, dict[str, Any]]]:
    """Opacity, unit of the common scale, and the options of the chosen methods."""
    given = state.current("opacity")
    start = float(given) if given and given.replace(".", "", 1).isdigit() and float(given) <= 1 else 0.5
    st.session_state["inside_opacity"] = start
    alpha = st.slider(
        "Opacity of the maps",
        0.0,
        1.0,
        step=0.05,
        key="inside_opacity",
        on_change=lambda: state.remember("opacity", f"{st.session_state['inside_opacity']:g}"),
    )
    with st.popover("More settings", icon=":material/tune:"):
        units = {
            "auto": "Whatever means the same in all maps",
            "raw": "Units of the answer",
            "own": "Each map's own full colour",
            "share": "Multiples of each map's mean",
        }
        unit = _one("unit", "Scale", units)
        options = {method.name: {one.name: _draw_option(method, one) for one in method.options} for method in methods}
    return alpha, unit, options


def _draw_option(method: MethodSpec, option: Option) -> Any:
    """One option as a widget, kept in the view's `options` as "method.option:value"."""
    key, name = f"inside_option_{method.name}_{option.name}", f"{method.name}.{option.name}"
    kept = _kept_options()
    try:
        value = option.read(kept.get(name, option.default))
    except UserError as error:
        st.warning(plain_message(str(error)))
        value = option.default
    st.session_state[key] = value

    def keep() -> None:
        now = _kept_options() | {name: str(st.session_state[key])}
        if st.session_state[key] == option.default:
            now.pop(name)
        state.remember("options", ",".join(f"{one}:{text}" for one, text in sorted(now.items())) or None)

    label = f"{method.title}: {option.title[:1].lower()}{option.title[1:]}"
    if option.choices:
        return st.selectbox(label, option.choices, key=key, on_change=keep, help=option.help)
    kind = type(option.default)
    return st.number_input(label, kind(option.minimum), kind(option.maximum), key=key, on_change=keep, help=option.help)


def _kept_options() -> dict[str, str]:
    parts = (part.partition(":") for part in (state.current("options") or "").split(",") if ":" in part)
    return {name: value for name, _, value in parts}


def _say_what_does_not_fit(network: InsideNetwork) -> None:
    reasons = {name: why for name, why in offered_methods(network.load()).items() if why}
    if reasons:
        with st.expander(f"Not for this network: {len(reasons)} of {len(METHODS)} methods"):
            for name, why in reasons.items():
                st.markdown(f":gray[**{METHODS.get(name).title}**: {plain(why, 400)}]")


# What is computed: quick maps at once, slow ones in the background.


class _Kept:
    """The last maps of all sessions."""

    def __init__(self, most: int = 48) -> None:
        self._maps: OrderedDict[tuple[Any, ...], AttributionMap] = OrderedDict()
        self._most, self._lock = most, Lock()

    def get(self, key: tuple[Any, ...]) -> "AttributionMap | None":
        with self._lock:
            return self._maps.get(key)

    def put(self, key: tuple[Any, ...], found: "AttributionMap") -> None:
        with self._lock:
            self._maps[key] = found
            while len(self._maps) > self._most:
                self._maps.popitem(last=False)


@st.cache_resource(show_spinner=False)
def _kept() -> _Kept:
    return _Kept()


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


def _compute(one: Wanted, image: ChosenImage, target: Target, progress: Progress | None = None) -> "AttributionMap":
    from lib.explain.attribution_map import attribute_image
    from lib.progress import ignore_progress

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
        progress=progress or ignore_progress,
        about=about | {"image": image.name},
    )


# What is shown.


def _draw_maps(
    image: ChosenImage, network: InsideNetwork, maps: "Mapping[str, AttributionMap]", *, alpha: float, unit: str
) -> None:
    from lib.explain.pictures import Tile
    from lib.explain.side_by_side import side_by_side

    framed = network.inputs.framed(image.pixels)
    shown = side_by_side(framed, maps, unit=unit, alpha=alpha)
    height, width = framed.shape[:2]
    tiles = [Tile("Input", f"{width} × {height} pixels", framed), *shown.tiles]
    alts = ["The input image", *(f"{title}: {one.words}" for title, one in maps.items())]
    draw_tiles([_encode(tile, alt) for tile, alt in zip(tiles, alts, strict=True)], columns=len(tiles), least_px=150)
    if shown.differences:
        st.markdown("**Difference**")
        differences = [_encode(tile, f"{tile.title}: {tile.caption}") for tile in shown.differences]
        draw_tiles(differences, columns=len(tiles), least_px=150)
    st.caption(plain(shown.note, 400))


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
