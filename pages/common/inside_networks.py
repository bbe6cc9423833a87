"""The networks that can be looked into: the pretrained backbone of the sidebar, or the one of a finished run."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.grading.bundle import is_medical
from lib.grading.grades import SEEN_SENTENCES
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.training.strategies import STRATEGIES
from pages.common import controls, resources, state
from pages.common.results import distinct_labels
from pages.common.text import plain, readable
from pages.common.timm_search import draw_search

if TYPE_CHECKING:
    from lib.evaluation.verdict import Verdict
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
    inputs: InputTransform
    is_random: bool
    run_id: str | None = None
    is_medical: bool = False
    by_thresholds: bool = False
    trained_on: str = ""  # the version of the data set that a run was trained on

    def load(self) -> "StagedNetwork":
        """The network itself, shared by all sessions: read only."""
        if self.run_id:
            return resources.cached_grader(self.run_id).classifier
        return resources.cached_network(self.spec.name, "random" if self.is_random else "pretrained")

    def seen_sentence(self, image_id: str) -> str:
        """What it means that a run's classifier has seen this very file in its training; empty for a new one."""
        return SEEN_SENTENCES.get(resources.cached_grader(self.run_id).seen.role(image_id), "") if self.run_id else ""

    def verdict(self, pixels: np.ndarray, versions: Sequence[str]) -> "Verdict | None":
        """What a run's classifier says of a square, as the page "Grade images" does; a network as published says none.

        An image of the data set that the run was trained on, of which `versions` are known, is not turned away; any
        other has to pass the run's gate.
        """
        if not self.run_id:
            return None
        grader = resources.cached_grader(self.run_id).deciding(by_thresholds=self.by_thresholds)
        return grader.answer(pixels, is_own=self.trained_on in versions)


@st.cache_data(ttl=5, max_entries=1, show_spinner=False)
def finished_runs() -> dict[str, str]:
    """Run id -> label of every finished run with a network, newest first."""
    from lib.tracking import list_runs

    runs = [
        run for run in list_runs() if run.state == "finished" and BACKBONES.may_know(str(run.config.get("backbone")))
    ]
    return distinct_labels(runs)


def choose_network(notices: DeltaGenerator) -> InsideNetwork:
    """Draw the choice between the sidebar's backbone and the finished runs; kept in the view as `run`."""
    spec = BACKBONES.get(state.current_backbone())
    labels = {"": f"{spec.title}, as pretrained", **finished_runs()}
    wanted = state.current_run() or ""
    found = next((run for run in labels if run and wanted and run.startswith(wanted)), "")
    if wanted and not found:
        notices.warning(f"{_why_not(wanted)}; showing the pretrained backbone.")
    if found:  # else the link stays as it is, and so does the warning, until somebody chooses
        state.settle("run", found)
    st.session_state[_WIDGET] = found
    chosen = st.selectbox(
        "Network",
        list(labels),
        format_func=lambda run: readable(labels.get(run, run)),
        key=_WIDGET,
        on_change=lambda: state.remember("run", st.session_state[_WIDGET] or None),
        help="The backbone of the sidebar with its own classes, or the network of a finished training.",
    )
    draw_search("inside_search", closes_run=True)
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
        inputs=InputTransform.of(spec),
        is_random=is_random,
    )


def _of_run(run_id: str, label: str) -> InsideNetwork:
    grader = resources.cached_grader(run_id)
    classifier, manifest = grader.classifier, grader.manifest
    by_thresholds = controls.choose_rule(manifest.get("thresholds"), key=f"inside_rule_{run_id}")
    strategy = str(manifest.get("strategy", ""))
    is_backbone_trained = strategy in STRATEGIES and STRATEGIES.get(strategy).trains_backbone != "none"
    dataset = manifest.get("dataset")
    facts = {**manifest, **dataset} if isinstance(dataset, dict) else manifest
    return InsideNetwork(
        key=f"run:{run_id}:{by_thresholds}",
        title=label,
        command=f"--run {run_id[:8]}" + (" --by-thresholds" if by_thresholds else ""),
        spec=classifier.spec,
        class_names=grader.class_names,
        inputs=grader.inputs,
        # Trained from scratch, a network starts from random weights but shows what it learned.
        is_random=classifier.weights == "random" and not is_backbone_trained,
        run_id=run_id,
        is_medical=is_medical(manifest),
        by_thresholds=by_thresholds,
        trained_on=str(facts.get("version") or facts.get("dataset_version") or ""),
    )
