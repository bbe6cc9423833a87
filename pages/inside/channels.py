"""All channels of one stage for the image, strongest first, one of them large; and the filters of the first layer."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from lib.errors import UserError
from pages.common import controls, state
from pages.common.image_choice import ChosenImage
from pages.common.text import count, plain
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside.pictures import cached_filters
from pages.inside.scene import InsideNetwork, Scene, choose_stage, need_image

if TYPE_CHECKING:
    from lib.explain.channels import ChannelMaps

CHANNELS, FILTERS = "Channels of the stage", "First-layer filters"
PER_PAGE, COLUMNS = 24, 8
_TILE_PX, _LARGE_PX = 128, 384
_SPOKEN_OF = "inside_channel_of"  # the stage and the channel of the view when it was last drawn


def draw(scene: Scene) -> None:
    """The view."""
    network, image = scene.network, need_image(scene)
    if image is None:
        return
    first, second, third = st.columns([4.4, 3.6, 2], vertical_alignment="bottom")
    with first:
        chosen = st.segmented_control(
            "What to look at", [CHANNELS, FILTERS], default=CHANNELS, required=True, key="inside_detail"
        )
    if chosen == FILTERS:
        shown = cached_filters(network)
        draw_tiles(shown.tiles, columns=shown.columns, least_px=56)
        st.caption(plain(shown.note, 500))
        return
    with second:
        try:
            stage = choose_stage(network)
        except UserError as error:  # no stage can be drawn: hand-made features
            controls.empty_state(plain(error, 400))
            return
    with third:
        is_bare = st.toggle(
            "Bare cells", key="inside_bare", help="The map alone, all channels on one scale, not over the image."
        )
    found = cached_maps(network, image, stage)
    channel = choose_channel(len(found.maps), lambda: int(found.order[0]), stage)
    grid, large = st.columns([2.1, 1], gap="medium")
    with grid:
        _draw_grid(network, image, found, channel, is_bare=is_bare)
    with large:
        _draw_large(network, image, found, channel, is_bare=is_bare)


def choose_channel(num_channels: int, find_default: Callable[[], int], stage: str) -> int:
    """The channel of the link; where it names none of the stage, says so in a sentence and gives the default."""
    wanted, before = state.current("channel"), st.session_state.get(_SPOKEN_OF)
    if before is not None and before[0] != stage and before[1] == wanted:
        wanted = None  # the number belonged to another stage, where it meant another channel
        state.settle("channel", None)
    st.session_state[_SPOKEN_OF] = (stage, wanted)
    if wanted and wanted.isdecimal() and len(wanted) < 9 and int(wanted) < num_channels:
        return int(wanted)
    default = find_default()
    if wanted is None:
        return default
    st.warning(
        f"There is no channel {plain(wanted[:12])} in {plain(stage)}, which has {num_channels:,}: showing {default}."
    )
    return default


def _draw_large(
    network: InsideNetwork, image: ChosenImage, found: "ChannelMaps", channel: int, *, is_bare: bool
) -> None:
    facts = found.facts(channel)
    label = network.spec.stage(found.stage).label
    alt = f"Channel {channel} of {label} over {image.name}: {facts.describe()}"
    draw_tiles([EncodedTile(_large(network, image, found, channel, is_bare), "", "", alt)], columns=1)
    st.markdown(f"**Channel {channel}.** {plain(facts.describe(), 300)}")
    controls.button_to(
        "look_inside", "What it looks for", icon=":material/image_search:", view="units", channel=str(channel),
        stage=found.stage, image=state.current("image"), run=state.current("run"),
    )  # fmt: skip


def _draw_grid(
    network: InsideNetwork, image: ChosenImage, found: "ChannelMaps", channel: int, *, is_bare: bool
) -> None:
    num_pages = -(-len(found.maps) // PER_PAGE)
    key = f"inside_channels_{network.key}_{image.key}_{found.stage}_{channel}"
    own = (found.facts(channel).rank - 1) // PER_PAGE + 1
    number = min(int(st.session_state.get(key) or own), num_pages)
    tiles = [
        EncodedTile(
            content, str(one), caption, alt, is_marked=one == channel,
            link=state.page_link("look_inside", channel=str(one)),
        )
        for one, content, caption, alt in _page(network, image, found, number, is_bare)
    ]  # fmt: skip
    draw_tiles(tiles, columns=COLUMNS, least_px=52, text_px=14)
    if num_pages > 1:
        st.pagination(num_pages, default=number, key=key)
    first = (number - 1) * PER_PAGE
    st.caption(plain(_about(network, found, first, len(tiles), is_bare=is_bare), 600))


def _about(network: InsideNetwork, found: "ChannelMaps", first: int, num: int, *, is_bare: bool) -> str:
    from lib.explain.explanation import describe_cells

    label, cells = network.spec.stage(found.stage).label, describe_cells(found.maps.shape[1:])
    silent = f" {count(found.num_silent, 'channel')} of them are silent in this image." if found.num_silent else ""
    if is_bare:
        scale = f"All on one scale, up to {found.largest:.2g}."
    elif found.is_signed:
        scale = "Each to its own largest value: red positive, blue negative, grey zero."
    else:
        scale = "Each to its own largest value: yellow answers most, grey not at all."
    return (
        f"{first + 1} to {first + num} of {len(found.maps):,} channels of {label}, {cells}, by mean magnitude (under "
        f"each). {scale}{silent} A click shows one large."
    )


def cached_maps(network: InsideNetwork, image: ChosenImage, stage: str) -> "ChannelMaps":
    """All channels of a stage for an image; kept for the last few of all sessions."""
    return _maps(network.key, image.key, stage, network, image)


@st.cache_resource(max_entries=6, show_spinner="Looking at all channels …")
def _maps(network_key: str, image_key: str, stage: str, _network: InsideNetwork, _image: ChosenImage) -> "ChannelMaps":
    from lib.explain.channels import channel_maps

    return channel_maps(_network.load(), _image.pixels, _network.inputs, stage)


def _page(
    network: InsideNetwork,
    image: ChosenImage,
    found: "ChannelMaps",
    number: int,
    is_bare: bool,  # noqa: FBT001
) -> tuple[tuple[int, bytes, str, str], ...]:
    return _encoded_page(network.key, image.key, found.stage, number, is_bare, found, network)


@st.cache_resource(max_entries=64, show_spinner=False)
def _encoded_page(
    network_key: str,
    image_key: str,
    stage: str,
    number: int,
    is_bare: bool,  # noqa: FBT001
    _found: "ChannelMaps",
    _network: InsideNetwork,
) -> tuple[tuple[int, bytes, str, str], ...]:
    """Of each channel of a page: its number, its picture, the caption and the alternative text."""
    from lib.explain.pictures import to_jpeg, to_png

    label = _network.spec.stage(stage).label
    tiles = []
    for channel in _found.page(number, PER_PAGE):
        facts = _found.facts(channel)
        picture = to_png(_found.cells(channel, _TILE_PX)) if is_bare else to_jpeg(_found.over_image(channel, _TILE_PX))
        caption = "silent" if facts.is_silent else f"{facts.strength:.2g}"
        tiles.append((channel, picture, caption, f"Channel {channel} of {label}: {facts.describe()}"))
    return tuple(tiles)


def _large(
    network: InsideNetwork,
    image: ChosenImage,
    found: "ChannelMaps",
    channel: int,
    is_bare: bool,  # noqa: FBT001
) -> bytes:
    return _encoded_large(network.key, image.key, found.stage, channel, is_bare, found)


@st.cache_resource(max_entries=64, show_spinner=False)
def _encoded_large(
    network_key: str,
    image_key: str,
    stage: str,
    channel: int,
    is_bare: bool,  # noqa: FBT001
    _found: "ChannelMaps",
) -> bytes:
    from lib.explain.pictures import to_jpeg, to_png

    if is_bare:
        return to_png(_found.cells(channel, _LARGE_PX))
    return to_jpeg(_found.over_image(channel, _LARGE_PX))
