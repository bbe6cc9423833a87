"""What one channel looks for: the images it answers to most, what of one reaches it, and a picture made for it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from lib.data.dataset import Dataset
from lib.errors import UserError
from pages.common import background, controls, resources, state
from pages.common.errors import show_errors
from pages.common.text import count, plain
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside.channels import cached_maps, choose_channel
from pages.inside.scene import InsideNetwork, Scene, choose_stage

if TYPE_CHECKING:
    from lib.explain.feature_visualization import Making, MakingRequest
    from lib.explain.units import UnitRequest
    from lib.models.receptive_field import ReceptiveField

COLUMNS = 8
_CROP_PX, _LARGE_PX = 160, 384
_MAX_SEED = 999_999


def draw(scene: Scene) -> None:
    """The view."""
    network = scene.network
    first, second, third = st.columns([3, 1.7, 4.8], vertical_alignment="bottom")
    with first:
        try:
            stage = choose_stage(network)
        except UserError as error:  # no stage can be drawn: hand-made features
            controls.empty_state(plain(error, 400))
            return
    spec = network.spec.stage(stage)
    channel = choose_channel(spec.num_channels, lambda: _strongest(scene, stage), stage)
    with second:
        channel = _choose_number(channel, spec.num_channels)
    with third:
        titles = {name: title for name, (title, _) in PARTS.items()}
        part = controls.choose("Shown by", titles, "part", key="inside_unit_part", is_segmented=True)
    with show_errors(f"show {PARTS[part][0]}"):
        PARTS[part][1](scene, stage, channel)


def _strongest(scene: Scene, stage: str) -> int:
    """The channel to begin with: the strongest one for the image, if there is an image."""
    if scene.image is None:
        return 0
    return int(cached_maps(scene.network, scene.image, stage).order[0])


def _choose_number(channel: int, num_channels: int) -> int:
    st.session_state["inside_channel"] = channel
    st.number_input(
        "Channel",
        0,
        num_channels - 1,
        key="inside_channel",
        on_change=lambda: state.remember("channel", str(st.session_state["inside_channel"])),
        help=f"One of {num_channels:,}. The view Channels shows them all for one image: a click there leads here.",
    )
    return channel


def _draw_images(scene: Scene, stage: str, channel: int) -> None:
    """The images of the data set that the channel answers to most."""
    name = state.current_dataset()
    summary = resources.find_summary(name)
    if name and summary is None:
        controls.say_gone(name)
        return
    if summary is None or not summary.num_images:
        controls.empty_state(
            "Choose a data set in the sidebar: its images are looked through for those that the channel answers to.",
            button="Explore data", page="explore_data",
        )  # fmt: skip
        return
    dataset = resources.cached_dataset(summary.name, summary.version)
    request = _request(scene.network, dataset, stage)
    task = f"units_{request.key}"
    background.show_outcome(task, "The images have been looked through; every channel of this stage is shown at once.")
    if not request.path.is_file():
        _offer_index(request, dataset, task)
        return
    try:
        shown = _patches(request.key, channel, request)
    except LookupError:  # damaged
        request.path.unlink(missing_ok=True)
        _offer_index(request, dataset, task)
        return
    grid, reading = st.columns([2.4, 1], gap="large")
    with grid:
        _draw_patches(dataset, shown)
    with reading:
        _draw_reading(scene.network, request, channel, shown)


def _offer_index(request: "UnitRequest", dataset: Dataset, task: str) -> None:
    from lib.explain.units import build_index

    if background.is_measuring(task):
        background.watch(task)
        return
    with st.container(border=True):
        st.markdown(
            f"Nobody has looked through **{plain(dataset.spec.title)}** for this stage yet. One pass over its "
            f"{count(dataset.num_images, 'image')} finds, for every channel, those it answers to most; it is kept."
        )
        if st.button(f"Look through {count(dataset.num_images, 'image')}", icon=":material/search:", type="primary"):
            background.start(
                task, "Looking for what each channel answers to", lambda tell: bool(build_index(request, tell))
            )
            st.rerun()


def _draw_patches(dataset: Dataset, shown: "_Patches") -> None:
    if not shown.tiles:
        st.info("This channel answers to none of these images: a ReLU keeps it at zero everywhere.")
        return
    tiles = [
        EncodedTile(content, name, caption, f"{name}: {caption}, image {image_id}", link=_image_link(image_id))
        for content, name, caption, image_id in shown.tiles
    ]
    draw_tiles(tiles, columns=COLUMNS, least_px=52, text_px=14)


def _image_link(image_id: str) -> str:
    return state.page_link("look_inside", view="channels", image=image_id)


def _draw_reading(network: InsideNetwork, request: "UnitRequest", channel: int, shown: "_Patches") -> None:
    label = network.spec.stage(request.stage).label
    st.markdown(f"**Channel {channel} of {plain(label)}.** {plain(shown.classes, 300)}")
    st.caption(
        f"The largest activations (under each), one place an image: {request.field.describe()}. {shown.how_cut} "
        "A click shows the channel over the whole image."
    )
    with st.container(horizontal=True):
        others = [one for one in shown.most_active if one != channel][:6]
        for one in others:
            controls.button_to(
                "look_inside", str(one), view="units", channel=str(one), stage=request.stage,
                run=state.current("run"), image=state.current("image"),
            )  # fmt: skip
    st.caption("The channels of this stage with the largest activations in these images.")
    with st.container(horizontal=True):
        st.download_button(
            "Sheet as PNG", lambda: _sheet(request, channel, network), icon=":material/download:", on_click="ignore",
            file_name=f"unit_{network.spec.name}_{request.stage}_{channel}.png", mime="image/png",
        )  # fmt: skip
        _draw_command(f"--dataset {request.dataset.name}", network, request.stage, channel)


def _draw_command(options: str, network: InsideNetwork, stage: str, channel: int) -> None:
    command = network.command.removesuffix(" --by-thresholds")
    controls.copy_command(f"python -m lib unit {command} --stage {stage} --channel {channel} {options} --out unit.png")


def _draw_pixels(scene: Scene, stage: str, channel: int) -> None:
    """The largest place of the channel in the image, passed back to the pixels."""
    from lib.explain.projection import WARNING, why_no_projection

    if scene.image is None:
        controls.empty_state("Choose an image: upload one above, or take one of the samples or of the data set.")
        return
    if reason := why_no_projection(scene.network.load()):
        st.info(
            f"The way back to the pixels is not offered for this network. {plain(reason, 400)}", icon=":material/info:"
        )
        return
    st.warning(WARNING, icon=":material/warning:")
    found = cached_maps(scene.network, scene.image, stage)
    if found.facts(channel).high == 0:
        st.info(f"Channel {channel} is silent in this image: there is nothing to pass back. Choose another image.")
        return
    tiles, note = _projections(scene.network.key, scene.image.key, stage, channel, scene)
    draw_tiles(tiles, columns=len(tiles))
    st.caption(plain(note, 500))


def _draw_made(scene: Scene, stage: str, channel: int) -> None:
    """A picture made for the channel, and how it came about."""
    from lib.explain.feature_visualization import MakingRequest, maximize

    network = scene.network
    left, right = st.columns([1.6, 1], gap="large")
    with right:
        seed = int(
            st.number_input("Seed of the noise", 0, _MAX_SEED, key="inside_seed", help="Another seed, another picture.")
        )
    digest, _ = _identity(network.key, stage, network)
    request = MakingRequest(network.load(), stage, channel, network.inputs, seed, digest=digest)
    task = f"making_{request.key}"
    background.show_outcome(task, "The picture is made and kept.")
    made = _made(request.key, request) if request.path.is_file() else None
    frame = 0
    if made is not None:
        with right:
            frame = st.select_slider(
                "Step", range(len(made.steps)), value=len(made.steps) - 1, key=f"inside_frame_{request.key}",
                format_func=lambda one: str(made.steps[one]),
            )  # fmt: skip
            st.markdown(plain(made.describe(), 300))
    with left:
        if made is not None:
            _draw_making(made, request.key, frame, f"Channel {channel} of {network.spec.stage(stage).label}")
        elif background.is_measuring(task):
            background.watch(task)
        else:
            st.markdown(
                f"From noise, step by step, a picture that channel {channel} answers to as strongly as possible. It "
                f"takes {request.num_steps} passes through the network and back."
            )
            if st.button("Make the picture", icon=":material/auto_awesome:", type="primary"):
                title = f"Making a picture for channel {channel}"
                background.start(task, title, lambda tell: bool(maximize(request, tell)))
                st.rerun()
    with right:
        st.caption(
            "Gradient ascent on the channel's mean activation, in waves as strong as those of photographs; the picture "
            "is moved a little at each step, and rough contrasts cost something. What it shows is one thing that "
            "drives the channel, not all that does, and nothing that must occur in an image."
        )
        _draw_command(f"--maximize --seed {seed}", network, stage, channel)


def _draw_making(made: "Making", key: str, frame: int, title: str) -> None:
    after, activation = f"After {made.steps[frame]} steps", f"mean activation {made.activations[frame]:.2g}"
    tiles = [
        EncodedTile(_animation(key, made), "As it was made", "", f"{title}: from noise to picture"),
        EncodedTile(_frame(key, frame, made), after, activation, f"{title}, {after.lower()}: {activation}"),
    ]
    draw_tiles(tiles, columns=2)


PARTS: dict[str, tuple[str, Callable[[Scene, str, int], None]]] = {
    "images": ("Top images", _draw_images),
    "pixels": ("Back to pixels", _draw_pixels),
    "made": ("Made from noise", _draw_made),
}


class _Patches:
    """The encoded patches of a channel (picture, class, activation, image_id), and what is said of them."""

    def __init__(self, request: "UnitRequest", channel: int) -> None:
        from lib.explain.pictures import to_jpeg
        from lib.explain.units import describe_classes, is_small_place, patch_picture

        index = request.read()
        if index is None:
            raise LookupError
        patches = index.patches(channel)
        tiles = []
        for patch in patches:
            content = to_jpeg(patch_picture(request, patch, _CROP_PX))
            tiles.append((content, patch.class_name, f"{patch.activation:.3g}", patch.image_id))
        self.tiles = tuple(tiles)
        self.classes = describe_classes(patches, request.dataset)
        self.most_active = index.most_active(8)
        is_edged = any(is_small_place(patch) for patch in patches)
        is_faded = any(patch.seen != patch.window for patch in patches)
        self.how_cut = " ".join(
            [
                *(["A white edge marks the place itself."] if is_edged else []),
                *(["What it does not see is faded."] if is_faded else []),
            ]
        )


@st.cache_resource(max_entries=64, show_spinner="Cutting out the places …")
def _patches(request_key: str, channel: int, _request: "UnitRequest") -> _Patches:
    return _Patches(_request, channel)


def _request(network: InsideNetwork, dataset: Dataset, stage: str) -> "UnitRequest":
    from lib.explain.units import UnitRequest

    digest, field = _identity(network.key, stage, network)
    return UnitRequest(dataset, network.load(), stage, network.inputs, digest=digest, known_field=field)


@st.cache_resource(max_entries=64, show_spinner=False)
def _identity(network_key: str, stage: str, _network: InsideNetwork) -> "tuple[str, ReceptiveField]":
    """What takes time to find out of a stage: a hash of the weights up to it, and what a place of it sees."""
    from lib.explain.units import network_digest
    from lib.models.receptive_field import receptive_field

    network = _network.load()
    return network_digest(network, stage), receptive_field(network, stage, _network.inputs.size_px)


def _sheet(request: "UnitRequest", channel: int, network: InsideNetwork) -> bytes:
    from lib.explain.units import build_index, unit_sheet

    return unit_sheet(build_index(request), channel, title=f"Channel {channel} of {request.stage}, {network.title}")


@st.cache_resource(max_entries=16, show_spinner="Passing it back to the pixels …")
def _projections(
    network_key: str, image_key: str, stage: str, channel: int, _scene: Scene
) -> tuple[list[EncodedTile], str]:
    """The image with what the place sees, and its projections."""
    from lib.explain.pictures import enlarge_cells, to_jpeg, to_png
    from lib.explain.projection import PROJECTIONS, project_back, seen_in, seen_of

    network, image = _scene.network, _scene.image
    assert image is not None  # noqa: S101 (asked before)
    loaded = network.load()
    found = {
        kind: project_back(loaded, image.pixels, network.inputs, stage=stage, channel=channel, kind=kind)
        for kind in PROJECTIONS
    }
    first = next(iter(found.values()))
    framed = network.inputs.framed(image.pixels)
    tiles = [EncodedTile(to_jpeg(seen_in(framed, first)), "The image", "edged: what the place sees", plain(image.name))]
    if max(first.crop.shape) < max(first.picture.shape):
        seen = enlarge_cells(seen_of(framed, first), _LARGE_PX)
        tiles.append(EncodedTile(to_jpeg(seen), "What the place sees", "", f"A part of {plain(image.name)}"))
    for kind, one in found.items():
        alt = f"{PROJECTIONS[kind]} of channel {channel}"
        content = to_png(enlarge_cells(one.crop, _LARGE_PX))
        tiles.append(EncodedTile(content, PROJECTIONS[kind], "mid grey is nothing", alt))
    row, column = first.place
    label = network.spec.stage(stage).label
    note = (
        f"Channel {channel} of {label} answers most, with {first.activation:.3g}, in row {row + 1}, column "
        f"{column + 1} of its map. That one number is passed back through the network: deconvolution lets each ReLU "
        "pass what is positive of what comes back, guided back-propagation also only where the ReLU was open."
    )
    return tiles, note


@st.cache_resource(max_entries=8, show_spinner=False)
def _made(request_key: str, _request: "MakingRequest") -> "Making | None":
    return _request.read()


@st.cache_resource(max_entries=8, show_spinner="Putting the frames together …")
def _animation(key: str, _made: "Making") -> bytes:
    from lib.explain.feature_visualization import animated_picture

    return animated_picture(_made)


@st.cache_resource(max_entries=64, show_spinner=False)
def _frame(key: str, frame: int, _made: "Making") -> bytes:
    from lib.explain.pictures import to_jpeg

    return to_jpeg(_made.frames[frame], _LARGE_PX)
