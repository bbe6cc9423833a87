"""Below what moved: the channels that changed most, the strip before and after, and the concept test."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from lib.data.mask_overlay import mask_families
from lib.errors import UserError
from lib.evaluation.metric_table import ACCURACY
from lib.explain.concepts import ConceptTest
from lib.explain.drift import ChannelChange, Drift
from lib.explain.drift_reading import concept_method, concept_sentence, p_words
from lib.progress import Progress
from pages.common import background, controls, resources, state
from pages.common.text import plain, plain_message, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside.pictures import cached_explanation, cached_strip
from pages.inside.scene import InsideNetwork, Scene, network_of_backbone

if TYPE_CHECKING:
    from lib.explain.drift_measurement import DriftQuestion
    from lib.explain.units import UnitRequest
    from lib.grading.grader import Grader

_NUM_CHANNELS, _NUM_IMAGES = 3, 4
_THUMBNAIL_PX, _CROP_PX = 128, 128
_SOURCES = {"lesions": "Lesions that masks mark", "textures": "Brick, grass, gravel", "folder": "A folder of images"}


def draw_channels(found: Drift, question: "DriftQuestion", network: InsideNetwork, stage: str) -> None:
    """The channels of a stage whose answers to the images changed most, with what they answer to before and after."""
    names = [row.stage for row in found.rows]
    titles = {row.stage: f"{row.title} ({row.stage})" for row in found.rows}
    first, second = st.columns([1, 2.2], vertical_alignment="bottom")
    with first:
        controls.choose("Channels of the stage", titles, "stage", key="inside_moved_stage", value=stage)
    row = found.rows[names.index(stage)]
    with second:
        st.markdown(
            f"{row.num_alike} of {row.num_channels} channels order the {found.num_images} images nearly as before "
            "(correlation 0.9 or more)."
        )
    if not row.channels:
        st.info("No channel of this stage answers otherwise than before.", icon=":material/info:")
        return
    requests = _requests(found, network, stage)
    patches = _both_patches(requests)
    for column, word in zip(st.columns(2, gap="medium"), ("Before", "After"), strict=True):
        column.caption(word)
    for channel in row.channels[:_NUM_CHANNELS]:
        _draw_channel(channel, question, requests, patches)
    if requests and patches is None:
        _offer_patches(requests, stage)
    what = "The places with the largest activations" if patches else "The images with the largest pooled answer"
    st.caption(f"{what}, largest first; left before, right after. Chosen: the lowest correlation over the images.")


def _draw_channel(
    change: ChannelChange, question: "DriftQuestion", requests: "list[UnitRequest]", patches: Any
) -> None:
    st.markdown(f"**Channel {change.channel}**: correlation of its answers before and after {change.correlation:.2f}")
    columns = st.columns(2, gap="medium")
    for side, column, ids, word in zip(
        (0, 1), columns, (change.before, change.after), ("Before", "After"), strict=True
    ):
        with column:
            if patches:
                tiles = _patch_tiles(requests[side].key, change.channel, requests[side])
            else:
                tiles = _image_tiles(question, ids[:_NUM_IMAGES])
            tiles = [EncodedTile(one.content, "", one.caption, f"{word}: {one.alt}", link=one.link) for one in tiles]
            if tiles:
                draw_tiles(tiles, columns=_NUM_IMAGES, least_px=64, text_px=14)
            else:
                st.caption(f"{word}: it answers to none of these images.")


def _image_tiles(question: "DriftQuestion", ids: tuple[str, ...]) -> list[EncodedTile]:
    table, names = question.dataset.table, question.dataset.spec.class_names
    rows = {image_id: row for row, image_id in enumerate(table["image_id"])}
    tiles = []
    for image_id in ids:
        if image_id in rows:
            name = str(names[int(table["target"].iloc[rows[image_id]])])
            content = _thumbnail(question.dataset.name, question.dataset.version, image_id, rows[image_id], question)
            tiles.append(EncodedTile(content, "", name, f"{name}, image {image_id}", link=_image_link(image_id)))
    return tiles


@st.cache_data(max_entries=256, show_spinner=False)
def _thumbnail(name: str, version: str, image_id: str, row: int, _question: "DriftQuestion") -> bytes:
    import numpy as np

    from lib.explain.pictures import to_jpeg

    return to_jpeg(np.asarray(_question.dataset.pixels[row]), _THUMBNAIL_PX)


def _image_link(image_id: str) -> str:
    return state.page_link("look_inside", view="moved", image=image_id)


def _requests(found: Drift, network: InsideNetwork, stage: str) -> "list[UnitRequest]":
    """The indices of a stage's channels before and after; none where the start cannot be drawn by them."""
    if found.start.startswith("random") or not network.spec.stage(stage).has_places:
        return []
    return _kept_requests(found.run_id, found.dataset, found.dataset_version, network.spec.name, stage)


@st.cache_resource(max_entries=8, show_spinner=False)
def _kept_requests(run_id: str, dataset: str, version: str, backbone: str, stage: str) -> "list[UnitRequest]":
    # Kept, since a request is named by a hash of all weights.
    from lib.explain.units import UnitRequest

    grader, images = resources.cached_grader(run_id), resources.cached_version(dataset, version)
    networks = (resources.cached_network(backbone), grader.classifier)
    return [UnitRequest(images, one, stage, grader.inputs) for one in networks]


def _both_patches(requests: "list[UnitRequest]") -> bool | None:
    """Whether both indices are there; None where at least one is not."""
    return True if requests and all(one.path.is_file() for one in requests) else None


def _offer_patches(requests: "list[UnitRequest]", stage: str) -> None:
    task = f"patches {requests[0].key} {requests[1].key}"
    background.show_outcome(task, "The places are found.")
    if not background.is_measuring(task):
        st.button(
            f"Show the places in the images that the channels of {stage} answer to", icon=":material/crop_free:",
            key="inside_moved_patches", on_click=_find_patches, args=(task, requests),
        )  # fmt: skip
    background.watch(task)


def _find_patches(task: str, requests: "list[UnitRequest]") -> None:
    from lib.explain.units import build_index

    def work(progress: Progress) -> bool:
        for place, one in enumerate(requests):

            def report(done: int, total: int, what: str, *, place: int = place) -> None:
                progress(place * total + done, 2 * total, what)

            build_index(one, report)
        return True

    background.start(
        task, "Looking for what channels answered to before and after …", work,
        stopped="Stopped; of the two networks, one that was through by then is kept.",
    )  # fmt: skip


@st.cache_resource(max_entries=64, show_spinner=False)
def _patch_tiles(key: str, channel: int, _request: "UnitRequest") -> list[EncodedTile]:
    from lib.explain.pictures import to_jpeg
    from lib.explain.units import patch_picture

    index = _request.read()
    patches = index.patches(channel)[:_NUM_IMAGES] if index is not None else ()
    return [
        EncodedTile(
            to_jpeg(patch_picture(_request, one, _CROP_PX), _CROP_PX), "", one.class_name,
            f"{one.class_name}, activation {one.activation:.2g}, image {one.image_id}", link=_image_link(one.image_id),
        )
        for one in patches
    ]  # fmt: skip


# The strip


def draw_strips(scene: Scene, found: Drift) -> None:
    """The mean activation of each stage for the image, before and after."""
    image = scene.image
    if image is None:
        st.caption("Choose an image above to see its way through both networks.")
        return
    is_random = resources.cached_grader(found.run_id).classifier.weights == "random"
    published = network_of_backbone(scene.network.spec, is_random=is_random)
    # Both read the image alike: a frozen stage must look the same.
    before = replace(published, key=f"{published.key} as {scene.network.key}", inputs=scene.network.inputs)
    for network, word in ((before, "Before"), (scene.network, "After")):
        strip = cached_strip(network, image, cached_explanation(network, image, None), False)  # noqa: FBT003
        kept = {"", *(row.stage for row in found.rows)}
        tiles = [
            EncodedTile(tile.content, (tile.name or "input") if word == "Before" else "", "", tile.alt, name=tile.name)
            for tile in strip.tiles
            if tile.name in kept
        ]
        st.markdown(f"**{word}**: {plain(network.title)}")
        draw_tiles(tiles, columns=len(tiles), least_px=36, text_px=12)
    st.caption(
        f"{plain(image.name)}: mean activation of each stage, each map to its own largest value, so that only places "
        "can be compared, not strengths."
    )


# Concepts


def draw_concepts(found: Drift, network: InsideNetwork) -> None:
    """A fold with the concept test; nothing of it is computed while it is closed."""
    box = st.expander("Does the run's answer follow a concept?", key="inside_concepts", on_change="rerun")
    if not box.open:
        return
    with box:
        _draw_open(found, network)


def _draw_open(found: Drift, network: InsideNetwork) -> None:
    dataset = resources.cached_version(found.dataset, found.dataset_version)
    offered = {key: title for key, title in _SOURCES.items() if key != "lesions" or _has_lesions(dataset)}
    first, second, third = st.columns([2.4, 1.4, 1.6], vertical_alignment="bottom")
    with first:
        source = str(st.segmented_control("Concepts", list(offered), format_func=offered.__getitem__, required=True,
                                          default=next(iter(offered)), key="inside_concept_source"))  # fmt: skip
    with second:
        grader = resources.cached_grader(found.run_id)
        names = list(grader.class_names)
        last = len(names) - 1 if found.metric != ACCURACY.key else 0
        target = str(
            st.selectbox("Score of the class", names, index=last, format_func=readable, key="inside_concept_class")
        )
    with third:
        folder = st.text_input("Folder", key="inside_concept_folder", placeholder="a sub-folder for each concept",
                               disabled=source != "folder")  # fmt: skip
    asked = folder.strip() if source == "folder" else source
    if not asked:
        st.caption("Name a folder on this machine: one sub-folder of ten images or more for each concept.")
        return
    task = f"concepts {found.run_id} {target} {asked}"
    background.show_measurement_failure(task)
    try:
        path = _concept_path(found.run_id, found.dataset_version, asked, target, grader, dataset, found.run_label)
    except UserError as error:
        st.info(plain_message(error), icon=":material/info:")
        return
    test = background.kept_measurement(Path(path), ConceptTest.from_dict)
    if test is not None and not background.is_measuring(task):
        _draw_test(test)
        return
    if not background.is_measuring(task):
        arguments = ["drift", "--run", found.run_id, "--concepts", asked, "--target", target]
        st.button(
            "Test these concepts", icon=":material/science:", type="primary", key="inside_concept_test",
            on_click=background.start_measurement, args=(task, "Testing concepts …", arguments),
        )  # fmt: skip
        st.caption("Some minutes: directions of each concept against many random ones, at the last four stages.")
    background.watch(task)


def _has_lesions(dataset: Any) -> bool:
    return bool(dataset.has_masks and mask_families(dataset.spec.mask_names))


@st.cache_data(max_entries=16, show_spinner="Reading the images of the concepts …")
def _concept_path(
    run_id: str, version: str, asked: str, target: str, _grader: "Grader", _dataset: Any, _label: str
) -> str:
    from lib.grading.fine_tuned import concept_question

    return str(concept_question(_grader, _dataset, asked, label=_label, target=target).path)


def _draw_test(test: ConceptTest) -> None:
    st.markdown(f"**{plain(concept_sentence(test), 1200)}**")
    rows = [
        {
            "Concept": row.concept, "Stage": row.stage, "Score": round(row.score.value, 2),
            "95 %": f"{row.score.low:.2f} to {row.score.high:.2f}", "Random": round(row.random.value, 2),
            "p": p_words(row.p_value), "Told apart": round(row.separation.value, 2), "Images": row.num_images,
            "Shown": row.is_shown,
        }
        for row in test.rows
    ]  # fmt: skip
    controls.show_table(rows, hide_index=True)
    st.caption(plain(concept_method(test), 700))
