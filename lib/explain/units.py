"""Which images of a data set a channel answers to most, and where in them: an index of all channels of one stage.

One pass over the images keeps, for each channel, the places with the largest activations, one place an image (Zeiler
and Fergus 2014, arXiv:1311.2901; Zhou et al. 2015, arXiv:1412.6856). Each place is shown as the piece of the image that
it sees: the receptive field of the stage.
"""

import dataclasses
import hashlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lib.atomic import digest_of
from lib.data.dataset import takes_part
from lib.data.input_transform import InputTransform
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import UserError
from lib.explain.network import as_map, check_drawn_stage, evaluation_view
from lib.explain.pictures import TILE_PX, PixelArray, Tile, sheet_png
from lib.models.receptive_field import ReceptiveField, receptive_field
from lib.models.stages import StagedNetwork
from lib.progress import Progress, ignore_progress

NUM_PATCHES = 24
WHAT = "Looking through the images"
_BATCH = 16
_FORMAT = 2
_GREY, _FADED = 127, 0.6


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Patch:
    """A place that a channel answers to, in image `row` of the data set; `place` is its row and column on the map.

    Boxes are top, left, bottom and right as shares of the side that the network sees: `seen` is what the place sees of
    the image; `window` a square as large as the receptive field around it, moved inside the image, or all of the image
    where that is smaller; `cell` is the place itself.
    """

    row: int
    place: tuple[int, int]
    activation: float
    seen: Box
    window: Box
    cell: Box
    image_id: str = ""
    class_name: str = ""


@dataclass(frozen=True, eq=False)
class UnitRequest:
    """The index of one stage of a network over a data set; `inputs` is whatever `InputTransform.of` reads.

    `dataset` has `pixels` (N, S, S, 3), `table` (image_id, target), `class_names` and `version`. Whoever asks again and
    again may hand in what takes time: `digest` is `network_digest`, `known_field` the stage's receptive field.
    """

    dataset: Any
    network: StagedNetwork
    stage: str
    inputs: Any
    num_patches: int = NUM_PATCHES
    digest: str = ""
    known_field: ReceptiveField | None = None

    @cached_property
    def transform(self) -> InputTransform:
        """How stored pixels become the network's input."""
        return InputTransform.of(self.inputs)

    @cached_property
    def key(self) -> str:
        """The cache's name for the index: a hash of everything that it depends on."""
        described = {
            "format": _FORMAT,
            "dataset": getattr(self.dataset, "content_version", self.dataset.version),
            "network": self.digest or network_digest(self.network, self.stage),
            "inputs": repr(self.transform),
            "patches": self.num_patches,
            "versions": [importlib.metadata.version(package) for package in ("torch", "torchvision", "timm")],
        }
        return digest_of(described)

    @property
    def path(self) -> Path:
        """Where the index is kept."""
        return entry_path("units", self.key)

    @cached_property
    def field(self) -> ReceptiveField:
        """What one place of the stage sees."""
        return self.known_field or receptive_field(self.network, self.stage, self.transform.size_px)

    def read(self) -> "UnitIndex | None":
        """The index, if it was made before and its file is whole; raises UserError for a stage that cannot be drawn."""
        check_drawn_stage(self.network, self.stage)
        try:
            num_channels = len(np.load(self.path, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError, OSError, TypeError):
            return None
        entries = read_entry(self.path, num_channels, is_mapped=False)
        return None if entries is None else UnitIndex(self, np.asarray(entries))


@dataclass(frozen=True, eq=False)
class UnitIndex:
    """The largest activations of each channel, largest first, (C, K, 7): activation, mean over the map, image, row and
    column of the place, rows and columns of the map; -inf where there are fewer images.

    Of equal activations, as where ReLU6 ends at 6, the larger mean comes first.
    """

    request: UnitRequest
    entries: np.ndarray

    @property
    def num_channels(self) -> int:
        """How many channels there are."""
        return len(self.entries)

    def patches(self, channel: int) -> tuple[Patch, ...]:
        """The places of a channel, largest first; those that stay at exactly 0, which a ReLU silences, are left out,
        and so are those of excluded images.

        Raises:
            UserError: unknown channel.
        """
        found = self.entries[check_channel(channel, self.num_channels, self.request.stage)]
        table, names = self.request.dataset.table, self.request.dataset.class_names
        counts = takes_part(self.request.dataset)
        patches = []
        for activation, _, *numbers in found[np.isfinite(found[:, 0]) & (found[:, 0] != 0)].tolist():
            row, i, j, height, width = (int(number) for number in numbers)
            if not counts[row]:
                continue
            record = table.iloc[row]
            seen, window = self._boxes(i, j)
            cell = (i / height, j / width, (i + 1) / height, (j + 1) / width)
            name = str(names[int(record["target"])])
            patches.append(Patch(row, (i, j), activation, seen, window, cell, str(record["image_id"]), name))
        return tuple(patches)

    def _boxes(self, row: int, column: int) -> tuple[Box, Box]:
        field, side = self.request.field, self.request.transform.size_px
        top, left, bottom, right = (edge / side for edge in field.box(row, column))
        window: Box = (0.0, 0.0, 1.0, 1.0)
        if field.is_local and field.size_px < side:
            size = field.size_px
            starts = (field.start_px + place * field.stride_px for place in (row, column))
            up, start = (min(max(first, 0), side - size) for first in starts)
            window = (up / side, start / side, (up + size) / side, (start + size) / side)
        return (top, left, bottom, right), window

    def most_active(self, num: int) -> list[int]:
        """The channels with the largest activation, largest first: where to begin to look."""
        return np.lexsort((-self.entries[:, 0, 1], -self.entries[:, 0, 0]))[:num].tolist()


def check_channel(channel: int, num_channels: int, stage: str) -> int:
    """The channel as a plain number; raises UserError if the stage has none of that number."""
    index = int(channel)
    if not 0 <= index < num_channels:
        raise UserError(f"The stage {stage!r} has no channel {index}: choose 0 to {num_channels - 1}.")
    return index


def network_digest(network: StagedNetwork, stage: str) -> str:
    """A hash of the stages up to `stage`: their layers and all their weights and statistics."""
    names = [spec.name for spec in network.stage_specs]
    last = names.index(stage) + 1
    behind = tuple(f"stages.{name}." for name in names[last:])
    steps = getattr(network, "stages", None)
    layers = [repr(steps[name]) for name in names[:last]] if steps is not None else [repr(network)]
    digest = hashlib.sha256("\n".join([stage, *layers]).encode())
    for name, tensor in cast(nn.Module, network).state_dict().items():
        if not name.startswith((*behind, "head.")):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def build_index(request: UnitRequest, progress: Progress = ignore_progress) -> UnitIndex:
    """The index of a request, from the cache or by one pass over the images; memory does not grow with their number.

    Args:
        request: what to index.
        progress: called after each batch; it may raise Stopped, and nothing is left behind.

    Raises:
        UserError: unknown stage, one that cannot be drawn, or a data set without images.
    """
    if (found := request.read()) is not None:
        return found
    if not len(request.dataset.pixels):
        raise UserError("This data set has no images, so there is nothing to look for.")
    entries = _largest(request, progress)
    for _ in write_entry(request.path, iter([entries]), len(entries)):
        pass
    return UnitIndex(request, entries)


def _largest(request: UnitRequest, progress: Progress) -> np.ndarray:
    """The entries of an index."""
    best: np.ndarray | None = None
    total = len(request.dataset.pixels)
    progress(0, total, WHAT)
    for first, values, means, places, shape in _places(request):
        num_images, num_channels = values.shape
        new = np.empty((num_channels, num_images, 7))
        new[..., 0], new[..., 1] = values.T, means.T
        new[..., 2] = np.arange(first, first + num_images)
        new[..., 3], new[..., 4] = np.divmod(places.T, shape[1])
        new[..., 5], new[..., 6] = shape
        joined = new if best is None else np.concatenate([best, new], axis=1)
        # Stable, and images come in order: what is equal in both stays as it came.
        order = np.lexsort((-joined[..., 1], -joined[..., 0]), axis=1)[:, : request.num_patches]
        best = np.take_along_axis(joined, order[..., None], axis=1)
        progress(first + num_images, total, WHAT)
    assert best is not None  # noqa: S101 (there are images)
    return best


def _places(
    request: UnitRequest,
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]]:
    """Of each batch: its first row; each channel's largest activation, mean and place (n, C); the map's shape."""
    spec = check_drawn_stage(request.network, request.stage)
    parameter = next(cast(nn.Module, request.network).parameters(), torch.empty(0))
    pixels = request.dataset.pixels
    with evaluation_view(request.network) as view:
        pass  # what is entered below is this view, so that no batch makes another
    for first in range(0, len(pixels), _BATCH):
        squares = np.asarray(pixels[first : first + _BATCH])
        batch = request.transform.batch(squares, device=parameter.device, dtype=parameter.dtype)
        with evaluation_view(view), torch.no_grad():
            maps = as_map(view.forward_until(batch, request.stage), spec).float()
            maps = maps.nan_to_num(nan=-torch.inf)
            values, means = maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))
            # Of several places that reach the same, as where ReLU6 ends at 6, the one in the middle of them.
            around = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
            around = around.masked_fill(maps != values[..., None, None], -torch.inf)
            places = around.flatten(2).argmax(dim=2)
        shape = int(maps.shape[2]), int(maps.shape[3])
        yield first, values.cpu().numpy(), means.cpu().numpy(), places.cpu().numpy(), shape


def patch_picture(request: UnitRequest, patch: Patch, side_px: int = TILE_PX) -> PixelArray:
    """A patch (side_px, side_px, 3) from the data set's own pixels; see `cut_patch`."""
    return cut_patch(request.transform.framed(np.asarray(request.dataset.pixels[patch.row])), patch, side_px)


def cut_patch(framed: PixelArray, patch: Patch, side_px: int = TILE_PX) -> PixelArray:
    """The window of a patch, cut out of the square (S, S, 3) that the network sees and brought to `side_px`.

    What the place does not see of it, since its field is cut off by the image's edge, fades into grey. Where the place
    is much smaller than what it sees, it is edged in white.
    """
    from PIL import Image

    side = len(framed)
    top, left, bottom, right = (round(edge * side) for edge in patch.window)
    bottom, right = max(bottom, top + 1), max(right, left + 1)
    shown = framed[top:bottom, left:right].astype(np.float32)
    up, start, down, end = (round(edge * side) for edge in patch.seen)
    is_seen = np.zeros(shown.shape[:2], dtype=bool)
    is_seen[max(up - top, 0) : max(down, up + 1) - top, max(start - left, 0) : max(end, start + 1) - left] = True
    shown[~is_seen] += (_GREY - shown[~is_seen]) * _FADED
    # Few pixels stay squares: smoothed, they would look like a photograph out of focus.
    method = Image.Resampling.NEAREST if 3 * len(shown) <= side_px else Image.Resampling.BICUBIC
    picture = Image.fromarray(np.rint(shown).astype(np.uint8)).resize((side_px, side_px), method)
    canvas = np.array(picture)
    if is_small_place(patch):
        scale = side_px / (patch.window[2] - patch.window[0])
        low = (patch.window[0], patch.window[1]) * 2
        draw_edge(canvas, [round((edge - first) * scale) for edge, first in zip(patch.cell, low, strict=True)], 1)
    return canvas


def is_small_place(patch: Patch) -> bool:
    """Whether the place is much smaller than its window, so that it is edged in pictures."""
    return 3 * (patch.cell[2] - patch.cell[0]) <= patch.window[2] - patch.window[0]


def draw_edge(canvas: PixelArray, cell: Sequence[int], width: int) -> None:
    """A white line with a dark one outside, around a box (top, left, bottom, right) inside the canvas."""
    top, left, bottom, right = (min(max(edge, 0), len(canvas)) for edge in cell)
    for grown, level in ((2 * width, 0), (width, 255)):
        frame = np.zeros(canvas.shape[:2], dtype=bool)
        frame[max(top - grown, 0) : bottom + grown, max(left - grown, 0) : right + grown] = True
        frame[top:bottom, left:right] = False
        canvas[frame] = level


def describe_classes(patches: Sequence[Patch], dataset: Any) -> str:
    """What the images of the patches are labelled, in words, beside the share of that class in the data set."""
    if not patches:
        return "This channel answers to none of these images."
    name, num = Counter(patch.class_name for patch in patches).most_common(1)[0]
    target = [str(one) for one in dataset.class_names].index(name)
    share = float((np.asarray(dataset.table["target"]) == target)[takes_part(dataset)].mean())
    return f"{num} of these {len(patches)} images are labelled {name}, as {share:.0%} of the data set are."


def describe_unit(index: UnitIndex, channel: int) -> dict[str, Any]:
    """What is known of a channel, ready for JSON: its patches, their classes in words, and what a place sees."""
    patches = index.patches(channel)
    return {
        "stage": index.request.stage,
        "channel": int(channel),
        "classes": describe_classes(patches, index.request.dataset),
        "receptive_field": dataclasses.asdict(index.request.field),
        "patches": [dataclasses.asdict(patch) for patch in patches],
    }


def unit_sheet(index: UnitIndex, channel: int, *, title: str = "", more: Sequence[Tile] = ()) -> bytes:
    """The patches of a channel, and `more` pictures behind them, as a PNG file with classes and activations.

    Raises:
        UserError: unknown channel, or one that answers to none of the images while there is nothing else to draw.
    """
    request, patches = index.request, index.patches(channel)
    tiles = [
        Tile(patch.class_name, f"activation {patch.activation:.3g}", patch_picture(request, patch)) for patch in patches
    ] + list(more)
    if not tiles:
        raise UserError(f"Channel {channel} of {request.stage!r} answers to none of these images: nothing to draw.")
    words = [describe_classes(patches, request.dataset), f"At {request.stage} {request.field.describe()}."]
    return sheet_png(tiles, title=title or f"Channel {channel} of {request.stage}", notes=words)
