"""Score against the number of training images: a series of runs started with one button, watched and drawn."""

from collections.abc import Mapping, Sequence

import streamlit as st

from lib.errors import UserError
from lib.figures.cost_charts import MAX_RUNS, size_figure, size_table
from lib.sweeps.sizes import (
    DEFAULT_SHARES,
    SERIES_WORDS,
    SizeSweep,
    read_series,
    series_of_run,
    series_of_runs,
    series_words,
    share_key,
)
from lib.tracking import RunRecord
from lib.tracking.tested import TestedRun
from pages.common import clicks, controls, resources, state
from pages.common.errors import show_errors
from pages.common.results import short_labels
from pages.common.text import count, plain, plain_message, readable
from pages.compare.scene import Scene, tested_run
from pages.compare.shared import estimate_of

_POLL_S = 2.0
_SHARES = " and ".join((", ".join(map(share_key, DEFAULT_SHARES[:-1])), share_key(DEFAULT_SHARES[-1])))


def draw(scene: Scene) -> None:
    """The series of the selected runs, and a button for those that have none."""
    controls.show_kept_error("compare_size")
    finished = [run for run in scene.runs if run.state == "finished"]
    if not finished:
        st.markdown("Select a finished run: it is trained again with fewer images, to see what more would be worth.")
        return
    plans = series_of_runs(finished)
    if plans:
        with st.container(horizontal=True):
            scene.choose_metric()
        with show_errors("draw the sizes"):
            _draw_series(scene, plans)
        for plan in plans:
            is_active = plan.read().is_active
            st.fragment(_draw_progress, run_every=_POLL_S if is_active else None)(plan, was_active=is_active)
    belongs = {run_id for plan in plans for run_id in plan.read().runs.values()}
    if waiting := [run for run in finished if run.run_id not in belongs]:
        _offer(waiting, scene.labels)


def _draw_series(scene: Scene, plans: list[SizeSweep]) -> None:
    records = {run.run_id: run for run in resources.run_records()}
    named = {plan.series_id: records[run_id] for plan in plans for run_id in plan.read().runs.values()
             if run_id in records}  # fmt: skip
    labels = short_labels([named[plan.series_id] for plan in plans if plan.series_id in named])
    metric = scene.metric

    def read(run_id: str, label: str) -> TestedRun | None:
        return tested_run(records[run_id], label) if run_id in records else None

    found = [
        read_series(plan, labels[named[plan.series_id].run_id], read, lambda one: estimate_of(one, metric))
        for plan in plans
        if plan.series_id in named
    ]
    series = [one for one in found if one is not None]
    if not series:
        st.markdown("No size has finished yet.")
        return
    title = f"{metric.title} on the same test images, against the number of training images"
    figure = size_figure(series, title=title, is_dark=controls.is_dark())
    controls.show_figure(
        figure,
        alt=readable(f"Line chart: {title}. {series_words(series, metric)}", 600),
        key="sizes",
        data=size_table(series),
    )
    st.caption(SERIES_WORDS)
    if len(series) > MAX_RUNS:
        st.caption(f"The first {MAX_RUNS} of {len(series)} series are drawn; the data hold all.")


def _draw_progress(plan: SizeSweep, *, was_active: bool) -> None:
    """How far a series is, with what can be done about it."""
    state_now = plan.read()
    if was_active and not state_now.is_active:
        resources.forget_results()
        st.rerun()
    if state_now.state == "finished":
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        done = f"{count(len(plan.sizes()), 'size')} of {len(plan.shares)}"
        st.markdown(f"Series {plan.series_id}: {plain(state_now.state)}, {done}", width="content")
        if state_now.is_active:
            st.button("Stop", key=f"compare_size_stop_{plan.series_id}", disabled=state_now.state == "stopping",
                      on_click=plan.stop)  # fmt: skip
        elif state_now.state in ("stopped", "failed", "new"):
            st.button("Resume", key=f"compare_size_resume_{plan.series_id}", on_click=_resume, args=(plan,))
    if state_now.is_active:
        st.progress(min(state_now.share, 1.0), plain(f"{state_now.step}: {state_now.what}"))
    elif state_now.message:
        st.caption(plain_message(state_now.message))


def _offer(waiting: Sequence[RunRecord], labels: Mapping[str, str]) -> None:
    """One button, for the run that is chosen of those without a series."""
    by_id = {run.run_id: run for run in waiting}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        run_id = next(iter(by_id))
        if len(by_id) > 1:
            run_id = st.selectbox("Run", list(by_id), format_func=lambda one: readable(labels[one]),
                                  key="compare_size_run", width=300) or run_id  # fmt: skip
        key = f"compare_size_start_{run_id[:12]}"
        st.button(f"Train it with {_SHARES} of the images", key=key, icon=":material/stacked_line_chart:",
                  on_click=_start, args=(run_id,))  # fmt: skip
        controls.copy_command(f"python -m lib sizes start {run_id[:8]}")
    st.markdown(
        plain(f"{labels[run_id]}: what would more images be worth? In the background, on the same test images.", 200)
    )


def _start(run_id: str) -> None:
    if clicks.is_repeat(f"sizes {run_id}"):
        return
    with controls.keep_error("compare_size", "start the series"):
        series_of_run(run_id).start()
        state.settle("tab", "size")


def _resume(plan: SizeSweep) -> None:
    try:
        plan.start()
    except UserError as error:
        st.session_state["kept_error_compare_size"] = plain_message(error)
