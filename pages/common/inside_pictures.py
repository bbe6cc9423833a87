"""The pictures of the page "Look inside", computed once and kept as small encoded tiles."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.grading.grades import SEEN_SENTENCES
from lib.grading.manifest import is_medical
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.training.strategies import STRATEGIES
from pages.common import controls, resources, state
from pages.common.image_choice import ChosenImage
from pages.common.results import distinct_labels
from pages.common.text import plain, readable
from pages.common.tiles import EncodedTile
from pages.common.weights_panel import draw_search

if TYPE_CHECKING:
    from lib.evaluation.verdict import Verdict
    from lib.models.stages import StagedNetwork

if TYPE_CHECKING:
    from lib.explain.explanation import Explanation
    from lib.explain.pictures import Tile


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


STRIP_PX, CLOSE_PX, CHANNEL_PX = 192, 384, 128
NUM_CHANNELS, MAX_FILTERS = 16, 64


@dataclass(frozen=True)
class Shown:
    """Tiles, in how many columns, and the sentence under them."""

    tiles: tuple[EncodedTile, ...]
    columns: int
    note: str


def cached_explanation(network: InsideNetwork, image: ChosenImage, target: int | None) -> "Explanation":
    """Explain the image; kept for the last images of all sessions."""
    return _explanation(network.key, image.key, target, network, image)


@st.cache_resource(max_entries=24, show_spinner="Looking inside …")
def _explanation(
    network_key: str, image_key: str, target: int | None, _network: InsideNetwork, _image: ChosenImage
) -> "Explanation":
    # cache_resource, not cache_data: an explanation is never changed, so that no copy of its arrays is needed.
    from lib.explain.explanation import explain

    return explain(
        _image.pixels,
        _network.load(),
        preprocessing=_network.inputs,
        class_names=_network.class_names,
        target=target,
        verdict=_network.verdict(_image.pixels, _image.versions),
    )


def cached_strip(network: InsideNetwork, image: ChosenImage, explanation: "Explanation", is_cam: bool) -> Shown:  # noqa: FBT001
    """The strip "input, stem, ..., last stage"."""
    return _strip(network.key, image.key, explanation.target, is_cam, network, explanation)


@st.cache_resource(max_entries=48, show_spinner=False)
def _strip(
    network_key: str,
    image_key: str,
    target: int,
    is_cam: bool,  # noqa: FBT001
    _network: InsideNetwork,
    _explanation: "Explanation",
) -> Shown:
    from lib.explain.explanation import describe_maps, map_tiles
    from lib.explain.pictures import balanced_columns

    tiles = map_tiles(_explanation, is_cam=is_cam)
    encoded = tuple(_encode(tile, STRIP_PX, _alt(tile, _network, _explanation, is_cam=is_cam)) for tile in tiles)
    return Shown(encoded, balanced_columns(len(tiles)), describe_maps(_explanation, is_cam=is_cam))


def sheet_bytes(network: InsideNetwork, explanation: "Explanation", is_cam: bool) -> bytes:  # noqa: FBT001
    """The strip as a PNG file with all its texts."""
    from lib.explain.explanation import describe_maps, map_tiles
    from lib.explain.pictures import sheet_png

    notes = [describe_maps(explanation, is_cam=is_cam), explanation.notice]
    if network.is_random:
        notes.append("The weights are random: nothing was learned.")
    if network.is_medical:
        notes.append("Research and education only.")
    tiles = map_tiles(explanation, is_cam=is_cam)
    return sheet_png(tiles, title=f"{_method(is_cam=is_cam)}, {network.title}", notes=notes)


def close_up(
    network: InsideNetwork,
    explanation: "Explanation",
    stage: str,
    is_cam: bool,  # noqa: FBT001
) -> Shown:
    """The input and one stage's map side by side, with everything that must be known to read it."""
    from lib.explain.explanation import describe_cells, map_tiles

    tiles = map_tiles(explanation, is_cam=is_cam, stages=[stage])
    spec = network.spec.stage(stage)
    shape = explanation.activations[stage].shape
    words = [f"{_method(is_cam=is_cam)} at {spec.label}, {describe_cells(shape)}"]
    if is_cam and explanation.cams:
        words.append(explanation.describe_target())
        if explanation.cams[stage].raw_max[0] <= 0:
            words.append("Nothing at this stage speaks for the class")
    note = ". ".join(words) + "."
    return Shown(tuple(_encode(tile, CLOSE_PX, note) for tile in tiles), 2, note)


def cached_channels(network: InsideNetwork, image: ChosenImage, stage: str) -> Shown:
    """The strongest channels of one stage."""
    return _channels(network.key, image.key, stage, network, image)


@st.cache_resource(max_entries=24, show_spinner=False)
def _channels(network_key: str, image_key: str, stage: str, _network: InsideNetwork, _image: ChosenImage) -> Shown:
    from lib.explain.attribution import stage_activations, top_channels
    from lib.explain.explanation import describe_cells
    from lib.explain.network import make_batch
    from lib.explain.pictures import magnitude_picture, signed_picture, to_png

    network = _network.load()
    maps = stage_activations(network, make_batch(_image.pixels, network, _network.inputs), stage)
    order = top_channels(maps, NUM_CHANNELS)
    largest = float(np.abs(maps[order]).max())
    is_signed = bool((maps < 0).any())
    label = _network.spec.stage(stage).label
    tiles = []
    for channel in order:
        values = maps[channel]
        picture = (
            signed_picture(values, CHANNEL_PX, largest=largest)
            if is_signed
            else magnitude_picture(values, CHANNEL_PX, high=largest)
        )
        mean = float(np.abs(values).mean())
        alt = f"Channel {channel} of {label}: {describe_cells(values.shape)}, mean magnitude {mean:.2g}"
        tiles.append(EncodedTile(to_png(picture), f"{channel}", f"mean {mean:.2g}", alt))
    scale = f"blue is -{largest:.2g}, white 0, red {largest:.2g}" if is_signed else f"violet is 0, yellow {largest:.2g}"
    note = (
        f"The {len(order)} of {len(maps)} channels of {label} with the largest mean magnitude in this image, "
        f"{describe_cells(maps.shape[1:])}, all on one scale: {scale}."
    )
    return Shown(tuple(tiles), 8, note)


def cached_filters(network: InsideNetwork) -> Shown:
    """The first convolution's weights as colours."""
    return _filters(network.key, network)


@st.cache_resource(max_entries=8, show_spinner=False)
def _filters(network_key: str, _network: InsideNetwork) -> Shown:
    from lib.explain.attribution import first_layer_filters
    from lib.explain.pictures import enlarge_cells, to_png

    filters = first_layer_filters(_network.load())
    pixels = np.rint(filters[:MAX_FILTERS] * 255).astype(np.uint8)
    side = filters.shape[1]
    num_zero = int((filters == 0.5).all(axis=(1, 2, 3)).sum())
    tiles = tuple(
        EncodedTile(
            to_png(enlarge_cells(one, side * 8)), f"{index}", "", f"First-layer filter {index}, {side} × {side}"
        )
        for index, one in enumerate(pixels)
    )
    note = (
        f"{len(tiles)} of {len(filters)} filters of the first convolution, {side} × {side} weights for red, green and "
        "blue; each scaled to its own largest weight, mid grey is zero. "
        + (f"{num_zero} of them are zero throughout: they do nothing. " if num_zero else "")
        + ("They are random." if _network.is_random else "Edges and colour contrasts: what every image is made of.")
    )
    return Shown(tiles, 16, note)


def _encode(tile: "Tile", side_px: int, alt: str) -> EncodedTile:
    from lib.explain.pictures import to_jpeg

    return EncodedTile(to_jpeg(tile.pixels, side_px), tile.title, tile.caption, alt, name=tile.stage)


def _alt(tile: "Tile", network: InsideNetwork, explanation: "Explanation", *, is_cam: bool) -> str:
    if not tile.stage:
        return "The input image"
    about = f", {explanation.describe_target()}" if is_cam else ""
    return (
        f"{_method(is_cam=is_cam)} at {network.spec.stage(tile.stage).label} of {network.title}: {tile.caption}{about}"
    )


def _method(*, is_cam: bool) -> str:
    return "Grad-CAM" if is_cam else "Mean activation"
