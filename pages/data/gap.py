"""How far the images are from what each network learned from, stage by stage, and what follows for a training."""

import streamlit as st

from lib.advisor.gap import DomainGap, consequence, kept_gap, method_words, reading
from lib.figures.gap_chart import gap_figure
from lib.models.backbone_spec import BackboneSpec
from lib.models.backbones import BACKBONES
from pages.common import background, controls, resources, state, weights_panel
from pages.common.text import plain
from pages.data.scene import Scene

_POLL_S = 2.0
_ALL = "all"


def draw(scene: Scene) -> None:
    """The chosen network's stages with their reading, then every network of the table."""
    _ = scene.split  # it is measured on training images, so there must be some
    name = state.current_backbone()
    specs = {spec.name: spec for spec in BACKBONES if spec.num_parameters}
    specs.setdefault(name, BACKBONES.get(name))
    at_hand = resources.weights_at_hand()
    found = {one: _kept(scene, one) for one in specs if at_hand.get(one)}
    ready = [one for one, gap in found.items() if gap is not None]
    for each in [*specs, _ALL]:
        background.show_measurement_failure(_task(scene, each))
    spec, gap = specs[name], found.get(name)
    if gap is not None:
        _draw_gap(gap)
    else:
        _offer(scene, spec, is_at_hand=bool(at_hand.get(name)))
    _draw_networks(scene, specs, found, at_hand)
    for each in (name, _ALL):
        if background.is_measuring(_task(scene, each)):
            _follow(scene, [one for one in found if one not in ready])


def _task(scene: Scene, backbone: str) -> str:
    return f"gap {scene.dataset.name} {backbone}"


def _kept(scene: Scene, backbone: str) -> DomainGap | None:
    path = kept_gap(scene.dataset.version, backbone, scene.split_seed)
    return background.kept_measurement(path, DomainGap.from_dict)


def _start(scene: Scene, backbone: str, title: str) -> None:
    words = ["datasets", "gap", scene.dataset.name, "--backbone", backbone, "--split-seed", str(scene.split_seed)]
    background.start_measurement(_task(scene, backbone), title, words)


@st.fragment(run_every=_POLL_S)
def _follow(scene: Scene, missing: list[str]) -> None:
    """Draw the page anew when another network has been measured."""
    if any(_kept(scene, one) is not None for one in missing):
        st.rerun(scope="app")


def _offer(scene: Scene, spec: BackboneSpec, *, is_at_hand: bool) -> None:
    """The button that measures the chosen network, or why it cannot be measured."""
    if not spec.has_weights:
        st.info(f"{plain(spec.title)} has no pretrained weights: it learned from nothing.", icon=":material/info:")
        return
    if not is_at_hand:
        st.info(
            f"{plain(spec.title)}: its weights are not on this machine, so what it learned from cannot be asked.",
            icon=":material/info:",
        )
        weights_panel.offer_download(spec, key="gap_download")
        return
    task = _task(scene, spec.name)
    if not background.is_measuring(task):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Measure the distance", icon=":material/straighten:", type="primary", key=f"gap_start_{spec.name}",
                on_click=_start, args=(scene, spec.name, f"Looking at the images with {spec.title} …"),
            )  # fmt: skip
            st.caption(
                f"At most 128 training images once through {plain(spec.title)}, and, the first time, 90 others that "
                "tell what a distance means. Nothing is trained, and test images are not looked at."
            )
    background.watch(task)


def _draw_gap(gap: DomainGap) -> None:
    picture, said = st.columns([2, 1], gap="large")
    with picture:
        figure = gap_figure(gap, is_dark=controls.is_dark())
        alt = (
            f"Line: distance from {gap.source_words} at each of {len(gap.stages)} stages, between photographs and noise"
        )
        controls.show_figure(figure, alt=alt, key="gap_stages")
    with said:
        if gap.distance is not None:
            st.metric("Distance, median over stages", f"{gap.distance:.2f}")
        st.markdown(f"**{plain(reading(gap), 900)}**")
        st.markdown(plain(consequence(gap), 900))
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("By stage", type="tertiary", icon=":material/table:"):
            _draw_stages(gap)
        with st.popover("How it is measured", type="tertiary", icon=":material/info:"):
            st.markdown(plain(method_words(gap), 1500))
        controls.copy_command(f"python -m lib datasets gap {gap.dataset} --backbone {gap.backbone}")
        controls.link_to("train_model", "Which strategy suits: Train model", icon=":material/model_training:")


def _draw_stages(gap: DomainGap) -> None:
    rows = [
        {
            "Stage": f"{number} {stage.title}", "In words": stage.short.format(source=gap.source_words),
            "Distance": stage.distance, "Mean shift": stage.shift, "Log variance ratio": stage.log_variance,
            "Photographs": stage.photographs, "Generated eyes": stage.eyes, "Noise": stage.noise,
        }
        for number, stage in enumerate(gap.stages, start=1)
    ]  # fmt: skip
    number = st.column_config.NumberColumn(format="%.2f")
    config = dict.fromkeys(list(rows[0])[2:], number) if rows else {}
    controls.show_table(rows, hide_index=True, column_config=config, alt="Distance and its parts, stage by stage")


def _draw_networks(
    scene: Scene, specs: dict[str, BackboneSpec], found: dict[str, DomainGap | None], at_hand: dict[str, bool]
) -> None:
    """Every network with what is known of it."""
    missing, task = [name for name, gap in found.items() if gap is None], _task(scene, _ALL)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Every network**", width="stretch")
        if missing and not background.is_measuring(task):
            st.button(
                "Measure all whose weights are here", icon=":material/straighten:", type="tertiary", key="gap_all",
                on_click=_start, args=(scene, _ALL, "Looking at the images with every network …"),
            )  # fmt: skip
    background.watch(task)
    rows: dict[str, dict[str, str]] = {"Distance": {}, "In words": {}}
    for name, spec in specs.items():
        gap, said = found.get(name), "Random weights only: it learned from nothing."
        if gap is not None:
            said = reading(gap)
        elif spec.has_weights:
            said = "Not measured yet." if at_hand.get(name) else "Its weights are not here: see Weights in the sidebar."
        rows["Distance"][spec.title] = "" if gap is None or gap.distance is None else f"{gap.distance:.2f}"
        rows["In words"][spec.title] = plain(said, 600)
    st.table(rows, border="horizontal", alt="Every network, and how far the images are from what it learned from")
