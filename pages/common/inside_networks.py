"""The networks that can be looked into: the pretrained backbone of the sidebar, or the one of a finished run."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.errors import UserError
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.training.strategies import STRATEGIES
from pages.common import resources, state
from pages.common.text import plain, readable

if TYPE_CHECKING:
    from lib.models.stages import StagedNetwork

_WIDGET = "inside_network"


@dataclass(frozen=True)
class InsideNetwork:
    """One network to look into, with what belongs to it; `load` builds it through the bounded caches."""

    key: str
    title: str
    command: str  # how the command line names it
    spec: BackboneSpec
    class_names: tuple[str, ...]
    preprocessing: Any
    is_random: bool
    run_id: str | None = None
    crop_policy: str = "center_square"
    is_medical: bool = False

    def load(self) -> "StagedNetwork":
        """The network itself, shared by all sessions: read only."""
        if self.run_id:
            return resources.cached_bundle(self.run_id)[0]
        return resources.cached_network(self.spec.name, "random" if self.is_random else "pretrained")


@st.cache_data(ttl=5, max_entries=1, show_spinner=False)
def finished_runs() -> dict[str, str]:
    """Run id -> label of every finished run with a network, newest first."""
    from lib.tracking import list_runs

    return {
        run.run_id: f"{run.label} ({run.short_id})"
        for run in list_runs()
        if run.state == "finished" and run.config.get("backbone") in BACKBONES.names
    }


def choose_network(notices: DeltaGenerator) -> InsideNetwork:
    """Draw the choice between the sidebar's backbone and the finished runs; kept in the view as `run`."""
    spec = BACKBONES.get(state.current_backbone())
    labels = {"": f"{spec.title}, as pretrained", **finished_runs()}
    wanted = state.current_run() or ""
    found = next((run for run in labels if run and wanted and run.startswith(wanted)), "")
    if wanted and not found:
        notices.warning(f"{_why_not(wanted)}; showing the pretrained backbone.")
    state.remember("run", found or None)
    st.session_state[_WIDGET] = found
    chosen = st.selectbox(
        "Network",
        list(labels),
        format_func=lambda run: readable(labels.get(run, run)),
        key=_WIDGET,
        on_change=lambda: state.remember("run", st.session_state[_WIDGET] or None),
        help="The backbone of the sidebar with its own classes, or the network of a finished training.",
    )
    return _of_run(chosen, labels[chosen]) if chosen else _of_backbone(spec)


def _why_not(wanted: str) -> str:
    """Why a run of the link cannot be looked into."""
    from lib.tracking import get_run

    with suppress(UserError):
        run = get_run(wanted)
        if run.state == "finished":
            return f"The run {plain(run.label)} ({run.short_id}) uses no network"
        return f"The run {plain(run.label)} ({run.short_id}) is {run.state}"
    return f"There is no run {plain(wanted[:12])}"


def _of_backbone(spec: BackboneSpec) -> InsideNetwork:
    from lib.explain.class_names import pretrained_class_names

    is_random = not resources.weights_at_hand().get(spec.name, False)
    return InsideNetwork(
        key=f"{spec.name}:{'random' if is_random else 'pretrained'}",
        title=f"{spec.title} with random weights" if is_random else f"{spec.title}, pretrained on {spec.pretrained_on}",
        command=f"--backbone {spec.name}",
        spec=spec,
        class_names=pretrained_class_names(spec),
        preprocessing=spec,
        is_random=is_random,
    )


def _of_run(run_id: str, label: str) -> InsideNetwork:
    classifier, manifest = resources.cached_bundle(run_id)
    preprocessing: Mapping[str, Any] = manifest["preprocessing"]
    class_names = manifest.get("class_names") or manifest.get("classes") or ()
    strategy = str(manifest.get("strategy", ""))
    is_backbone_trained = strategy in STRATEGIES and STRATEGIES.get(strategy).trains_backbone != "none"
    dataset = manifest.get("dataset")
    facts = {**manifest, **dataset} if isinstance(dataset, dict) else manifest
    return InsideNetwork(
        key=f"run:{run_id}",
        title=label,
        command=f"--run {run_id[:8]}",
        spec=classifier.spec,
        class_names=tuple(str(name) for name in class_names),
        preprocessing=preprocessing,
        # Trained from scratch, a network starts from random weights but shows what it learned.
        is_random=classifier.weights == "random" and not is_backbone_trained,
        run_id=run_id,
        crop_policy=str(preprocessing.get("crop_policy", "center_square")),
        is_medical=bool(facts.get("is_medical")),
    )
