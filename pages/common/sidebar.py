"""The sidebar of every page: which data set, which backbone, which machine, what is running."""

import logging
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import streamlit as st
from filelock import FileLock, Timeout

from lib import disk_cache, quota, settings
from lib.atomic import read_json
from lib.errors import UserError
from lib.jobs import active_runs
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.weights import default_backbone, fallback_sentence
from lib.progress import size_words
from lib.settings import DEFAULT_DATASET, DEMO_DATASET, FALLBACK_BACKBONE
from lib.tracking.store import load_mlflow, sqlite_path
from pages.common import resources, state, weights_panel
from pages.common.controls import choose, link_to
from pages.common.errors import show_errors
from pages.common.page_table import PAGES
from pages.common.text import plain, plain_message

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
    draw_cache()


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
    value = wanted if wanted in titles else None
    choose("Data set", titles, "dataset", key="sidebar_dataset", value=value, keep=state.choose_dataset)
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
    choose("Backbone", titles, "backbone", key="sidebar_backbone", value=wanted, keep=_choose)
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


@st.fragment(run_every=_POLL_S)
def _status() -> None:
    """The lines that change by themselves: running jobs and, on the very first start, the machine."""
    # The machine is measured (some seconds of a core) from the first tick on, so that the first page comes up before.
    is_tick = st.session_state.get("sidebar_drawn_run") == st.session_state.get("frame_run")
    st.session_state["sidebar_drawn_run"] = st.session_state.get("frame_run")
    if is_tick:
        warm_up()
    with show_errors("show the running trainings"):
        for run in active_runs():
            word = {"queued": "Waiting", "stopping": "Stopping"}.get(run.state, "Training")
            title = (run.name or run.run_id[:8]).split(" · ")[0]  # the strategy: all that fits here
            link_to("train_model", f"{word}: {plain(title)}", icon=":material/progress_activity:", run=run.run_id)
    st.caption(device_line(may_measure=is_tick))


def draw_cache() -> None:
    """One line with a popover; above it a word where what a person allowed is nearly used."""
    _warn_of_quota()
    found = _cache_usage()
    words = size_words
    label = f"Cache: {words(found.used_bytes)} of {words(found.limit_bytes)}"
    with st.popover(label, icon=":material/database:", type="tertiary", key="cache_panel"):
        st.markdown(
            "Features, activations and preprocessed images are kept so that a second training starts at once. Above "
            "the limit, what was used least recently goes first; what a training is using stays."
        )
        st.caption(f"The disk has {words(found.free_bytes)} free.")
        limit = st.number_input(
            "Limit in GiB", 0.1, 100_000.0, value=round(found.limit_bytes / 2**30, 2), step=1.0, key="cache_limit"
        )
        if abs(limit - found.limit_bytes / 2**30) > 0.01:
            with show_errors("set the limit"):
                disk_cache.set_cache_limit(limit)
                _cache_usage.clear()
                st.rerun()
        if st.checkbox("Clear everything that is not in use", key="cache_sure") and st.button(
            "Clear now", icon=":material/delete:", key="cache_clear"
        ):
            with show_errors("clear the cache"):
                freed, num_kept = disk_cache.clear()
                _cache_usage.clear()
                st.markdown(f"Cleared {words(freed)}" + (f"; {num_kept} in use stayed." if num_kept else "."))


def _warn_of_quota() -> None:
    """Say that the room which a person allowed is nearly used; nothing where there is no quota."""
    if quota.quota_bytes() is not None and (found := _room()).share >= quota.NEAR:
        st.caption(f":material/hard_drive: {found.words} used.")
        link_to("explore_data", "See what takes room", icon=":material/arrow_forward:", tab="storage")


@st.cache_data(ttl=30, max_entries=1, show_spinner=False)
def _room() -> quota.Room:
    return quota.room()


@st.cache_data(ttl=5, max_entries=1, show_spinner=False)
def _cache_usage() -> disk_cache.Usage:
    return disk_cache.usage()


_logger = logging.getLogger("transferscope.pages")
_probe_lock = threading.Lock()
_probes: dict[Path, threading.Thread] = {}
_PROBE_TIMEOUT_S = 180
_WARM_UP = "import mlflow"


def device_line(*, may_measure: bool) -> str:
    """The sidebar's sentence on the device; starts the measurement (`doctor`, in a process of its own) if it may."""
    report = _machine_report(may_measure=may_measure)
    if report is None:
        return "Device: being measured …"
    if "error" in report:
        return "Device: unknown (run `python -m lib doctor`)"
    words = [str(report.get("device", "cpu")).upper(), str(report.get("dtype", ""))]
    cores = report.get("num_cores")
    if cores:
        words.append(f"{cores} cores")
    return "Device: " + " · ".join(word for word in words if word)


def warm_up() -> None:
    """Import MLflow in the background where a server keeps the runs: seconds that the board then does not wait."""
    if sqlite_path(settings.tracking_uri()) is not None:
        return  # read without MLflow
    with _probe_lock:
        if "mlflow" not in sys.modules and not any(thread.name == _WARM_UP for thread in threading.enumerate()):
            threading.Thread(target=load_mlflow, name=_WARM_UP, daemon=True).start()


def _machine_report(*, may_measure: bool) -> dict[str, Any] | None:
    """What `doctor` wrote; None while it is still measuring."""
    file = settings.cache_dir() / "doctor.json"
    if file.exists():
        try:
            return dict(read_json(file))
        except ValueError:
            file.unlink(missing_ok=True)  # of an older or a newer program: measured again
    if not may_measure and file not in _probes:
        return None
    with _probe_lock:
        if file not in _probes:
            _probes[file] = threading.Thread(target=_probe, args=(file,), daemon=True)
            _probes[file].start()
        is_over = not _probes[file].is_alive()
    return {"error": "the measurement ended without a report"} if is_over and not file.exists() else None


def _probe(file: Path) -> None:
    """Let `doctor` measure, once for all servers that share this home; a failure is logged, not repeated."""
    try:
        with FileLock(f"{file}.lock", timeout=_PROBE_TIMEOUT_S):
            if file.exists():
                return
            done = subprocess.run(
                [sys.executable, "-m", "lib", "doctor", "--json", "--no-trial"],
                cwd=settings.PROJECT_ROOT,
                capture_output=True,
                text=True,
                timeout=_PROBE_TIMEOUT_S,
            )
        if done.returncode != 0:
            _logger.warning("doctor failed: %s", done.stderr[-2000:])
    except (OSError, subprocess.SubprocessError, Timeout) as error:
        _logger.warning("doctor gave no report: %s", error)
