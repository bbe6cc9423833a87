"""The sidebar of every page: which data set, which backbone, which machine, what is running."""

from collections.abc import Callable
from contextlib import nullcontext

import streamlit as st

from lib.errors import UserError
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.weights import default_backbone, fallback_sentence
from lib.settings import DEFAULT_DATASET, DEMO_DATASET, FALLBACK_BACKBONE
from pages.common import cache_panel, machine, resources, state, weights_panel
from pages.common.controls import link_to
from pages.common.errors import show_errors
from pages.common.page_table import PAGES
from pages.common.text import plain, plain_message, readable

_POLL_S = 3
_NO_BACKBONE = "sidebar_no_backbone"  # the one of a link that the table does not have, until another is chosen


def draw() -> None:
    """Draw all of it, inside `st.sidebar`."""
    with st.container(gap="xsmall"):
        for page in PAGES:
            link_to(page.name, page.title, icon=page.icon, width="stretch")
    _choose_dataset()
    _choose_backbone()
    _status()
    weights_panel.draw_sidebar()
    cache_panel.draw()


def _choose_dataset() -> None:
    summaries = {summary.name: summary for summary in resources.dataset_summaries()}
    if not summaries:
        st.caption("No data set yet: the start page makes the first one.")
        return
    wanted = state.current_dataset()
    if wanted is None:
        own = [name for name in summaries if name != DEMO_DATASET]
        wanted = DEFAULT_DATASET if DEFAULT_DATASET in summaries else [*own, DEMO_DATASET][0]
        state.settle("dataset", wanted)
    if wanted not in summaries:
        # No other one is shown instead: whoever presses Start next must not train on a data set that nobody chose.
        st.warning(f"There is no data set {plain(wanted)} (any more). Choose another one.")
    titles = {name: summary.title or name for name, summary in summaries.items()}
    _select("Data set", titles, "dataset", wanted if wanted in titles else None, state.choose_dataset)
    if wanted in summaries and (caveat := summaries[wanted].split_caveat):
        st.caption(f":material/warning: {plain(caveat, 300)}")


def _choose_backbone() -> None:
    wanted = state.current_backbone()
    if problem := _why_not(wanted):
        st.session_state[_NO_BACKBONE] = problem
        wanted = default_backbone()
    if problem := st.session_state.get(_NO_BACKBONE):
        st.warning(f"{problem}; showing {BACKBONES.get(wanted).title}.")
    state.settle("backbone", wanted)
    at_hand = resources.weights_at_hand()
    offered = [*BACKBONES, *([] if wanted in BACKBONES.names else [BACKBONES.get(wanted)])]
    titles = {spec.name: _backbone_title(spec, is_at_hand=at_hand.get(spec.name, False)) for spec in offered}
    _select("Backbone", titles, "backbone", wanted, _choose)
    if wanted == FALLBACK_BACKBONE and (sentence := fallback_sentence()):
        st.caption(f":material/warning: {sentence}")
    if not at_hand.get(wanted):
        spec = BACKBONES.get(wanted)
        if not spec.has_weights:
            st.caption(f"{spec.title} has no pretrained weights: it is there to be trained from scratch.")
            return
        st.caption(
            f":material/warning: The pretrained weights of {spec.title} are not on this machine; until they are, only "
            "random weights work."
        )
        weights_panel.offer_download(spec, key="sidebar_download")


def _why_not(backbone: str) -> str:
    """Why a backbone of the link cannot be used; "" if it can."""
    if not BACKBONES.may_know(backbone):
        return f"There is no backbone {plain(backbone)}"
    try:
        with st.spinner("Looking at the network, once …") if backbone not in BACKBONES.names else nullcontext():
            BACKBONES.get(backbone)
    except UserError as error:
        return plain_message(error).rstrip(".")
    return ""


def _backbone_title(spec: BackboneSpec, *, is_at_hand: bool) -> str:
    if is_at_hand:
        return spec.title
    return f"{spec.title} (weights not at hand)" if spec.has_weights else f"{spec.title} (random weights only)"


def _choose(backbone: str) -> None:
    state.remember("backbone", backbone)
    st.session_state.pop(_NO_BACKBONE, None)


def _select(
    label: str, titles: dict[str, str], view_key: str, value: str | None, choose: Callable[[str], None]
) -> None:
    key = f"sidebar_{view_key}"
    st.session_state[key] = value
    st.selectbox(
        label,
        list(titles),
        format_func=lambda name: readable(titles.get(name, name)),
        key=key,
        placeholder="None",
        on_change=lambda: choose(st.session_state[key]),
    )


@st.fragment(run_every=_POLL_S)
def _status() -> None:
    """The lines that change by themselves: running jobs and, on the very first start, the machine."""
    # The machine is measured (some seconds of a core) from the first tick on, so that the first page comes up before.
    is_tick = st.session_state.get("sidebar_drawn_run") == st.session_state.get("frame_run")
    st.session_state["sidebar_drawn_run"] = st.session_state.get("frame_run")
    if is_tick:
        machine.warm_up()
    with show_errors("show the running trainings"):
        for run in machine.running_jobs():
            word = {"queued": "Waiting", "stopping": "Stopping"}.get(run.state, "Training")
            title = (run.name or run.run_id[:8]).split(" · ")[0]  # the strategy: all that fits here
            link_to("train_model", f"{word}: {plain(title)}", icon=":material/progress_activity:", run=run.run_id)
    st.caption(machine.device_line(may_measure=is_tick))
