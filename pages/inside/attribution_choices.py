"""What the view "Attribution" is asked, all in the link: what stands side by side, of what, and how it is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
from pages.common import controls, state
from pages.common.image_choice import ChosenImage
from pages.common.text import plain, plain_message, readable
from pages.inside.networks import choose_networks
from pages.inside.scene import InsideNetwork

METHODS_BESIDE, STAGES_BESIDE, NETWORKS_BESIDE = "methods", "stages", "networks"
MAX_MAPS = 4
UNKNOWN = "Not for this network: {}."
BESIDE = {METHODS_BESIDE: "Methods", STAGES_BESIDE: "Stages", NETWORKS_BESIDE: "Networks"}
_KINDS = {
    PREDICTED: "Whichever is predicted",
    TRUE: "The true class",
    CLASS: "A class",
    DIFFERENCE: "One class rather than another",
    EXPECTED: "The expected grade",
    AT_OR_ABOVE: "A grade or above",
}
_DEFAULT_METHODS = (DEFAULT_METHOD, "layer_cam", "integrated_gradients")


@dataclass(frozen=True)
class Wanted:
    """One map to be drawn; `title` stands above it."""

    title: str
    network: InsideNetwork
    method: str
    stage: str | None
    options: tuple[tuple[str, Any], ...]


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


def choose_maps(beside: str, network: InsideNetwork, places: list[DeltaGenerator]) -> list[Wanted]:
    """Draw the choice of what stands side by side; the other choices that it needs in `places`."""
    from lib.explain.network import map_stage_names

    loaded = network.load()
    fitting = {name: METHODS.get(name).title for name, why in offered_methods(loaded).items() if not why}
    stages = map_stage_names(loaded)
    if beside == METHODS_BESIDE:
        default = [name for name in _DEFAULT_METHODS if name in fitting] or list(fitting)[:1]
        chosen = _several("methods", "Methods", fitting, default)
        with places[0]:
            stage = choose_stage(network, stages) if any(METHODS.get(name).is_at_stage for name in chosen) else None
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
        method = controls.choose("Method", offered, "method", key="inside_method", unknown=UNKNOWN)
    if beside == STAGES_BESIDE:
        titles = {name: network.spec.stage(name).label for name in stages}
        spread = list(dict.fromkeys([stages[0], stages[len(stages) // 2], stages[-1]]))
        chosen = _several("stages", "Stages", titles, spread)
        return [Wanted(network.spec.stage(name).title, network, method, name, ()) for name in chosen]
    networks = choose_networks(network)
    with places[-1]:
        stage = choose_stage(network, stages) if METHODS.get(method).is_at_stage else None
    return [Wanted(one.title, one, method, stage, ()) for one in networks]


def choose_stage(network: InsideNetwork, stages: tuple[str, ...]) -> str:
    """The stage of methods that look at one; the network's own where the view names none that has a map."""
    wanted, own = state.current_stage(), network.spec.cam_stage
    value = wanted if wanted in stages else own if own in stages else stages[-1]
    titles = {name: network.spec.stage(name).label for name in stages}
    return controls.choose("Stage", titles, "stage", key="inside_attribution_stage", value=value)


def choose_target(network: InsideNetwork, image: ChosenImage) -> Target:
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


def _class_box(
    key: str, numbers: range, index: int, names: tuple[str, ...], target_of: Callable[[int], Target]
) -> None:
    st.session_state[key] = index
    st.selectbox(
        "Class",
        numbers,
        format_func=lambda k: readable(names[k]),
        key=key,
        on_change=lambda: state.remember("ask", target_of(st.session_state[key]).to_text()),
        label_visibility="collapsed",
    )


def choose_look(methods: list[MethodSpec]) -> tuple[float, str, dict[str, dict[str, Any]]]:
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
        unit = controls.choose("Scale", units, "unit", key="inside_unit", unknown=UNKNOWN)
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
