"""The same images under all selected runs: what each says of them, how surely, and where it looks."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from lib.grading.image_answers import (
    FILTERS,
    ImageFilter,
    SharedAnswers,
    choices_of,
    run_limits,
    shared_answers,
    why_not,
)
from lib.tracking.tested import TestedRun
from pages.common import controls, state
from pages.common.run_view import dataset_of_run
from pages.common.text import plain, readable
from pages.compare.image_pictures import Pictures, show_notes, show_without_pictures
from pages.compare.scene import Scene
from pages.compare.shared import key_of

_ANY, _ALL = "", "All classes"
_SHORT_ID = 8


def draw(scene: Scene) -> None:
    """Filters and the images that they leave, page by page or one large."""
    tested = scene.tested()
    if not tested:
        st.markdown("The images come with the predictions of a finished run; none of the selected runs has kept any.")
        return
    draw_images(tested)


def draw_images(tested: Sequence[TestedRun]) -> None:
    """The same of answers to any images."""
    limits = {one.run.run_id: run_limits(one.run, len(one.class_names)) for one in tested}
    has_limits = next(filter(None, limits.values()), None)
    is_expected = bool(has_limits) and state.current("rule") == "expected"  # as the switch below says
    shared = _shared(tested, limits, is_expected=is_expected)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        spec = _choose_filter(shared)
        chosen = _choose_runs(spec, shared)
        target = _choose_class(shared)
    for sentence in shared.said:
        st.caption(plain(sentence, 300))
    rows = spec.rows(shared, chosen)
    if target is not None:
        rows = rows[shared.targets[rows] == target]
    said, beside = st.columns([2, 1], gap="large")
    with beside:
        controls.choose_rule(has_limits, key="compare_images_rule")
        has_maps = _choose_maps()
    with said:
        found = spec.sentence(shared, chosen, rows)
        of_class = f" Only the class {shared.class_names[target]}." if target is not None else ""
        st.markdown(plain(f"{found}{of_class}", 400))
    dataset = dataset_of_run(shared.runs[0].tested.run.config)
    if dataset is None:
        show_without_pictures(shared, rows)
        return
    with said:
        show_notes(shared, has_maps=has_maps)
    Pictures(shared, dataset, has_maps, beside).show(rows)


def _shared(tested: Sequence[TestedRun], limits: Mapping[str, Any], *, is_expected: bool) -> SharedAnswers:
    """The answers by the rule that decides."""
    key = tuple((*key_of(one), tuple(one.class_names), str(one.run.config.get("dataset"))) for one in tested)
    return _cached_shared(key, is_expected, _tested=tested, _limits=limits if is_expected else {})


@st.cache_resource(max_entries=16, show_spinner=False)
def _cached_shared(
    key: tuple[Any, ...], is_expected: bool, *, _tested: Sequence[TestedRun], _limits: Mapping[str, Any]  # noqa: FBT001
) -> SharedAnswers:  # fmt: skip
    return shared_answers(_tested, _limits)


# What is looked at: all in the link, as `filter=only_right:1f2e3d4c`, `class=...`, `maps=off`.


def _choose_filter(shared: SharedAnswers) -> ImageFilter:
    reasons = {spec.name: why_not(spec, shared) for spec in FILTERS}
    offered = [name for name, reason in reasons.items() if not reason]
    wanted = (state.current("filter") or "").partition(":")[0]
    st.session_state["compare_images_filter"] = wanted if wanted in offered else offered[0]
    missing = " ".join(reason for reason in reasons.values() if reason)
    st.selectbox(
        "Show", offered, width=225, format_func=lambda name: FILTERS.get(name).title, key="compare_images_filter",
        help=missing or "Which of the images.",
        on_change=lambda: _remember(st.session_state["compare_images_filter"]),
    )  # fmt: skip
    if wanted and wanted not in offered:
        st.caption(plain(reasons.get(wanted) or "The link asks for images that there is no filter for."))
    return FILTERS.get(str(st.session_state["compare_images_filter"]))


def _choose_runs(spec: ImageFilter, shared: SharedAnswers) -> tuple[int, ...]:
    """The numbers of the runs that the filter asks for; none where it may be any."""
    asked = (state.current("filter") or "").split(":")
    wanted = asked[1:] if asked[0] == spec.name else []
    offered = choices_of(spec, shared)
    ids = [run.run_id[:_SHORT_ID] for run in shared.runs]
    labels = {_ANY: "any of them", **{own: run.label for own, run in zip(ids, shared.runs, strict=True)}}
    titles = ("Run",) if len(offered) == 1 else ("Frozen", "Fine-tuned")
    keys = [f"compare_images_run_{spec.name}_{place}" for place in range(len(offered))]

    def keep() -> None:
        _remember(":".join([spec.name, *(str(st.session_state[key]) for key in keys)]))

    for place, numbers in enumerate(offered):
        options = [*([_ANY] if spec.may_be_any and len(numbers) > 1 else []), *(ids[number] for number in numbers)]
        own = wanted[place] if place < len(wanted) else ""
        st.session_state[keys[place]] = own if own in options else options[0]
        st.selectbox(
            titles[place], options, key=keys[place], on_change=keep, width=185,
            format_func=lambda name: readable(labels.get(name, name), 60),
        )  # fmt: skip
    chosen = [str(st.session_state[key]) for key in keys]
    return tuple(ids.index(own) for own in chosen if own != _ANY)


def _choose_class(shared: SharedAnswers) -> int | None:
    names, key = shared.class_names, "compare_images_class"
    wanted = state.current("class")
    st.session_state[key] = names.index(wanted) if wanted in names else -1

    def keep() -> None:
        number = st.session_state[key]
        state.remember("class", None if number < 0 else names[number])
        state.settle("at", None)

    number = st.selectbox(
        "True class", [-1, *range(len(names))], key=key, on_change=keep, width=170,
        format_func=lambda number: _ALL if number < 0 else readable(names[number]),
    )  # fmt: skip
    return None if number < 0 else int(number)


def _choose_maps() -> bool:
    key = "compare_images_maps"
    st.session_state[key] = state.current("maps") != "off"
    st.toggle(
        "Maps", key=key, help="Grad-CAM of the class that each run answers, made when it is first looked at.",
        on_change=lambda: state.remember("maps", None if st.session_state[key] else "off"),
    )  # fmt: skip
    return bool(st.session_state[key])


def _remember(text: str) -> None:
    """Another filter: the image that was large need not be among its images."""
    state.remember("filter", None if text == "all" else text)
    state.settle("at", None)
