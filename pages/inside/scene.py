"""What the views of "Look inside" look at: one network, one image and the class that is explained."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.builtin import CAT
from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.grading.grades import SEEN_SENTENCES, GradingOptions
from lib.grading.manifest import is_medical
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.training.strategies import STRATEGIES, trains_stages
from pages.common import controls, resources, state, weights_panel
from pages.common.image_choice import ChosenImage, choose_image
from pages.common.results import distinct_labels
from pages.common.text import plain, readable

if TYPE_CHECKING:
    from lib.evaluation.verdict import Verdict
    from lib.models.stages import StagedNetwork
    from lib.tracking import RunRecord

PREDICTED = -1

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
    is_ordinal: bool = False
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
        grader = resources.cached_grader(self.run_id).deciding(GradingOptions(by_thresholds=self.by_thresholds))
        return grader.answer(pixels, is_own=self.trained_on in versions)


@st.cache_data(ttl=5, max_entries=1, show_spinner=False)
def finished_runs() -> dict[str, str]:
    """Run id -> label of every finished run with a network, newest first."""
    from lib.tracking import list_runs

    runs = [
        run for run in list_runs() if run.state == "finished" and BACKBONES.may_know(str(run.config.get("backbone")))
    ]
    return distinct_labels(runs)


def tuned_runs() -> "list[RunRecord]":
    """The finished runs that trained stages of their network, newest first, those from random weights last."""
    found = [
        run for run in resources.run_records() if run.state == "finished" and trains_stages(_strategy_of(run))
    ]  # fmt: skip
    return sorted(found, key=lambda run: (not STRATEGIES.get(_strategy_of(run)).uses_pretrained, -run.created_s))


def _strategy_of(run: "RunRecord") -> str:
    return str(run.config.get("strategy"))


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
    chosen = controls.choose(
        "Network", labels, "run", key=_WIDGET, value=found,
        help="The backbone of the sidebar with its own classes, or the network of a finished training.",
    )  # fmt: skip
    if not chosen:
        return network_of_backbone(spec)
    thresholds = resources.cached_grader(chosen).manifest.get("thresholds")
    by_thresholds = controls.choose_rule(thresholds, key=f"inside_rule_{chosen}")
    return network_of_run(chosen, labels[chosen], by_thresholds=by_thresholds)


def _why_not(wanted: str) -> str:
    """Why a run of the link cannot be looked into."""
    from lib.tracking import get_run

    with suppress(UserError):
        run = get_run(wanted)
        if run.state == "finished":
            return f"The run {plain(run.label)} ({run.short_id}) uses no network"
        return f"The run {plain(run.label)} ({run.short_id}) is {run.state}"
    return f"There is no run {plain(wanted[:12])}"


def network_of_backbone(spec: BackboneSpec, *, is_random: bool = False) -> InsideNetwork:
    """A backbone as it was published; with random weights on request, and where its own are not at hand."""
    from lib.explain.class_names import pretrained_class_names

    is_random = is_random or not resources.weights_at_hand().get(spec.name, False)
    return InsideNetwork(
        key=f"{spec.name}:{'random' if is_random else 'pretrained'}",
        title=f"{spec.title} with random weights" if is_random else f"{spec.title}, pretrained on {spec.pretrained_on}",
        command=f"--backbone {spec.name}",
        spec=spec,
        class_names=pretrained_class_names(spec),
        inputs=InputTransform.of(spec),
        is_random=is_random,
    )


def network_of_run(run_id: str, label: str, *, by_thresholds: bool = False) -> InsideNetwork:
    """The network of a finished run; `by_thresholds`: its expected grade decides."""
    grader = resources.cached_grader(run_id)
    classifier, manifest = grader.classifier, grader.manifest
    strategy = str(manifest.get("strategy", ""))
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
        is_random=classifier.weights == "random" and not trains_stages(strategy),
        run_id=run_id,
        is_medical=is_medical(manifest),
        is_ordinal=bool(grader.is_ordinal),
        by_thresholds=by_thresholds,
        trained_on=str(facts.get("version") or facts.get("dataset_version") or ""),
    )


@dataclass(frozen=True)
class Scene:
    """What every view is drawn from. `image` is None while nothing is chosen, `target` where no class was named."""

    network: InsideNetwork
    image: ChosenImage | None
    target: int | None = None


def choose_scene(*, with_target: bool) -> Scene:
    """Draw the row of choices that all views share: network, image and, where a view explains one, the class."""
    notices = st.container()
    first, second, third, fourth = st.columns([3, 2, 2.2, 2.8], vertical_alignment="top")
    with first:
        network = choose_network(notices)
    with second:
        # A network of photographs is best met on a photograph; one that learned a data set, on that data set.
        opens_on = CAT if network.run_id is None and network.spec.pretrained_on == "ImageNet" else ""
        image = choose_image(
            key="inside", inputs=network.inputs, picker=third, opens_on="" if network.is_random else opens_on
        )
    target = None
    if with_target:
        with fourth:
            target = _choose_target(network)
    _say_what_it_is(network)
    return Scene(network, image, target)


def need_image(scene: Scene) -> ChosenImage | None:
    """The image of the scene; where there is none yet, says what to do and returns None."""
    if scene.image is None:
        controls.empty_state("Choose an image: upload one above, or take one of the samples or of the data set.")
    return scene.image


def choose_stage(network: InsideNetwork, *, key: str = "inside_stage") -> str:
    """Draw the choice of a stage that can be drawn; kept in the view as `stage`."""
    from lib.explain.network import drawn_stages

    stage = controls.choose_stage(network.spec.name, key=key)
    drawn = list(drawn_stages(network.load()))
    if stage not in drawn:
        st.warning(f"This run's network ends at {plain(network.spec.stage(drawn[-1]).label)}; showing that stage.")
        return drawn[-1]
    return stage


def _choose_target(network: InsideNetwork) -> int | None:
    """The class to explain; kept in the view as its number, since two ImageNet names occur twice."""
    wanted = state.current("target") or ""
    is_known = wanted.isdigit() and int(wanted) < len(network.class_names)
    st.session_state["inside_class"] = int(wanted) if is_known else PREDICTED
    if wanted and not is_known:
        state.settle("target", None)  # it belonged to another network

    def keep() -> None:
        chosen = st.session_state["inside_class"]
        state.remember("target", None if chosen == PREDICTED else str(chosen))

    chosen = st.selectbox(
        "Explain the class",
        [PREDICTED, *range(len(network.class_names))],
        format_func=lambda k: "Whichever is predicted" if k == PREDICTED else readable(network.class_names[k]),
        key="inside_class",
        on_change=keep,
        help="Grad-CAM shows which places speak for this class. Type to search.",
    )
    return None if chosen == PREDICTED else int(chosen)


def _say_what_it_is(network: InsideNetwork) -> None:
    if network.is_random:
        st.warning(
            f"These features are random: {network.spec.title} has learned nothing and its class names mean nothing. "
            "Its pretrained weights are not on this machine.",
            icon=":material/casino:",
        )
        weights_panel.offer_download(network.spec, key="inside_download")
    if network.is_medical:
        st.caption("Research and education only: not a medical device, not for diagnosis.")
