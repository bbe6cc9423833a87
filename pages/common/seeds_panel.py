"""Several seeds in one go: start, watch, stop and resume a group, and tell mean and standard deviation."""

import math
from collections.abc import Sequence

import streamlit as st

from lib.errors import UserError
from lib.evaluation.metric_table import METRICS
from lib.sweeps.seeds import GROUP_TAG, MAX_SEEDS, SeedSweep, Spread, make_plan
from lib.tracking import RunRecord
from lib.training.config import TrainConfig
from pages.common import clicks
from pages.common.errors import show_errors
from pages.common.text import count, plain, plain_message

_POLL_S = 2.0
_ERROR_KEY = "train_seeds_error"
_TITLES = {
    **{f"test_{key}": metric.title for key, metric in METRICS.items()},
    "test_accuracy": "Test accuracy",
    "test_referable_auroc": "Referable AUROC",
    "test_baseline_accuracy": "Accuracy of always the commonest class",
}


def draw_seeds(config: TrainConfig) -> None:
    """A popover that is drawn only when it is open."""
    box = st.popover("Several seeds", icon=":material/casino:", type="tertiary", key="train_seeds", on_change="rerun")
    if not box.open:
        return
    with box, show_errors("show the seeds"):
        st.caption("The same training with the seeds 0, 1, ... on one split: how much of a result is chance?")
        number = st.number_input("Seeds", 2, MAX_SEEDS, 3, key="train_num_seeds")
        st.button("Train with these seeds", key="train_seeds_start", on_click=_start, args=(config, int(number)))
        if message := st.session_state.pop(_ERROR_KEY, None):
            st.error(message, icon=":material/error:")
        plans = SeedSweep.newest_first()
        if plans:
            is_active = plans[0].read().is_active
            st.fragment(_draw_group, run_every=_POLL_S if is_active else None)(plans[0])


def _draw_group(plan: SeedSweep) -> None:
    with show_errors("show the seeds"):
        _draw_group_now(plan)


def _draw_group_now(plan: SeedSweep) -> None:
    state = plan.read()
    st.markdown(f"**Group {plan.group_id}**: {plain(state.state)}, {count(len(state.runs), 'run')} of {plan.num_seeds}")
    if state.is_active:
        st.progress(min(state.share, 1.0), plain(f"{state.step}: {state.what}"))
        is_off = state.state == "stopping"
        st.button("Stop", key="train_seeds_stop", disabled=is_off, on_click=plan.stop)
    elif state.state in ("stopped", "failed"):
        st.caption(plain_message(state.message))
        st.button("Resume", key="train_seeds_resume", on_click=_resume, args=(plan,))
    for spread in plan.spreads():
        st.markdown(spread_words(spread))


def spread_words(spread: Spread) -> str:
    """Mean and standard deviation of one metric, and each seed."""
    each = ", ".join(f"{value:.3f}" for value in spread.values)
    deviation = "" if math.isnan(spread.deviation) else f" ± {spread.deviation:.3f}"
    seeds = count(len(spread.values), "seed")
    return f"{_TITLES.get(spread.metric, spread.metric)} {spread.mean:.3f}{deviation} ({seeds}: {each})"


def show_selected_groups(runs: Sequence[RunRecord]) -> None:
    """On the results board: mean and standard deviation of every group that a selected run belongs to."""
    for group_id in dict.fromkeys(run.tags.get(GROUP_TAG, "") for run in runs):
        plan = (
            next((plan for plan in SeedSweep.newest_first() if plan.group_id == group_id), None) if group_id else None
        )
        if plan is not None:
            words = "; ".join(spread_words(spread) for spread in plan.spreads())
            st.caption(f"Group {group_id}, mean ± standard deviation over seeds: {words}.")


def _start(config: TrainConfig, num_seeds: int) -> None:
    if clicks.is_repeat("seeds"):
        return
    try:
        make_plan(config, num_seeds).start()
    except UserError as error:
        st.session_state[_ERROR_KEY] = plain_message(error)


def _resume(plan: SeedSweep) -> None:
    try:
        plan.start()
    except UserError as error:
        st.session_state[_ERROR_KEY] = plain_message(error)
