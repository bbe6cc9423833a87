"""Choosing the one image that a page looks at: from the data set, from the samples, uploaded, or by a camera."""

import dataclasses
import hashlib
import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.builtin import Sample, drawn_samples, photographs
from lib.data.dataset import Dataset
from lib.data.input_transform import InputTransform
from lib.errors import BadImage
from lib.models.seen_images import image_id_of
from lib.settings import MAX_FILE_BYTES
from pages.common import controls, resources, state
from pages.common.state import CAMERA, SAMPLE, UPLOAD
from pages.common.text import plain, plain_message, readable
from pages.common.tiles import EncodedTile, draw_tiles

UPLOAD_TYPES = ["jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff", "heic", "heif", "dcm", "dicom"]
_COLUMNS, _PER_PAGE, _THUMBNAIL_PX, _CHOICE_PX = 6, 24, 128, 560
_OPENED_ON = "image_opened_on"  # the sample that a page opened on by itself, until somebody chooses


@dataclass(frozen=True, eq=False)
class ChosenImage:
    """An image to explain; `key` identifies its content in caches, `path` is what the command line would be given,
    where the image is of no data set (else its name there, `dataset`, and `image_id`).
    """

    key: str
    name: str
    pixels: np.ndarray[Any, np.dtype[np.uint8]]  # (S, S, 3)
    path: str
    true_class: str = ""
    notices: tuple[str, ...] = ()
    is_linkable: bool = True
    image_id: str = ""  # by its file's content, as data sets and classifiers know it
    versions: tuple[str, ...] = ()  # of the data set that it is from; none for samples and uploads
    dataset: str = ""  # that it is from

    @property
    def arguments(self) -> str:
        """What names it on the command line, as a shell takes it: originals may be gone or known by pseudonyms."""
        return shlex.join(["--dataset", self.dataset, "--image", self.image_id] if self.dataset else [self.path])


def choose_image(*, key: str, picker: DeltaGenerator, inputs: InputTransform, opens_on: str = "") -> ChosenImage | None:
    """Draw where the image comes from here, and which one it is in `picker`; None while nothing is chosen.

    A file is decoded as `inputs` says, that is, as the chosen network's own data set was. `opens_on` is the sample that
    is shown before anybody has chosen, by default the data set's first image.
    The choice is the view's `image`: an image_id of the data set, "sample:" and a file name, or "upload" or "camera"
    (whose picture a link cannot carry).
    """
    dataset = current_dataset()
    samples = {
        sample.name: sample
        for sample in (*photographs(), *drawn_samples())
        if sample.path.suffix.lower()[1:] in UPLOAD_TYPES
    }
    _open_on(opens_on if opens_on in samples else "")
    kinds = {"dataset": "Data set", "sample": "Samples", "upload": "Upload one", "camera": "Camera"}
    offered = [name for name in kinds if {"dataset": dataset is not None, "sample": bool(samples)}.get(name, True)]
    wanted = state.current_image() or ""
    kind = wanted if wanted in (UPLOAD, CAMERA) else "sample" if wanted.startswith(SAMPLE) else "dataset"
    kind = kind if kind in offered else offered[0]
    first = f"{SAMPLE}{next(iter(samples))}" if samples else None
    starts = {"dataset": None, "sample": first, "upload": UPLOAD, "camera": CAMERA}
    controls.choose(
        "Image from", {name: kinds[name] for name in offered}, "image", key=f"{key}_kind", value=kind,
        keep=lambda name: _remember(starts[name]),
    )  # fmt: skip
    with picker:
        if kind == "dataset" and dataset is not None:
            return _from_dataset(dataset, key)
        if kind == "sample":
            return _from_samples(samples, key, inputs)
        return _from_camera(key, inputs) if kind == "camera" else _from_upload(key, inputs)


def _open_on(sample: str) -> None:
    """Show a sample where nothing is chosen yet, and let it go where it is not what the page opens on any more."""
    opened, current = st.session_state.get(_OPENED_ON), state.current_image()
    if current is None and opened is None and sample:
        st.session_state[_OPENED_ON] = sample
        state.settle("image", f"{SAMPLE}{sample}")
    elif opened and current == f"{SAMPLE}{opened}":
        if not sample:
            st.session_state[_OPENED_ON] = ""
            state.settle("image", None)
    elif current is not None:
        st.session_state[_OPENED_ON] = ""  # a link or a person chose


def _remember(image: str | None) -> None:
    """A person chose an image."""
    st.session_state[_OPENED_ON] = ""
    state.remember("image", image)


def current_dataset() -> Dataset | None:
    """The data set of the view, where it is there and has images."""
    summary = resources.find_summary(state.current_dataset())
    return resources.cached_dataset(summary.name, summary.version) if summary and summary.num_images else None


def _from_dataset(dataset: Dataset, key: str) -> ChosenImage:
    table = dataset.table
    wanted = state.current_image()
    found = np.flatnonzero(table["image_id"].to_numpy() == wanted) if wanted else np.array([], dtype=int)
    if wanted and not len(found):
        st.warning(f"There is no image {plain(wanted)} in this data set; showing the first one.")
    row = int(found[0]) if len(found) else 0
    if len(found) or not wanted:  # else the link stays as it is, and so does the warning, until somebody chooses
        state.settle("image", str(table["image_id"].iloc[row]))
    path = str(table["path"].iloc[row])
    with st.container(gap="xxsmall"):
        st.caption("Image")
        box = st.popover(
            readable(path.rpartition("/")[2], 40), icon=":material/grid_view:", key=f"{key}_images",
            on_change="rerun", width="stretch",
        )  # fmt: skip
    if box.open:
        with box:
            _thumbnails(dataset, row, key)
    return ChosenImage(
        key=f"{dataset.name}:{dataset.version}:{row}",
        name=path,
        pixels=np.array(dataset.pixels[row]),
        path=path,
        true_class=dataset.class_of(row),
        image_id=str(table["image_id"].iloc[row]),
        versions=tuple(dataset.versions),
        dataset=dataset.name,
    )


def _thumbnails(dataset: Dataset, row: int, key: str) -> None:
    """All images of a class, page by page, each a link to itself; the class of the present one first."""
    targets = dataset.table["target"].to_numpy()
    present = max(0, int(targets[row]))  # an image without a label is among none
    chosen = st.selectbox(
        "Class", range(dataset.spec.num_classes), index=present, key=f"{key}_class_{dataset.name}_{present}",
        format_func=lambda target: readable(dataset.class_names[target]),
    )  # fmt: skip
    rows = np.flatnonzero(targets == chosen)
    num_pages = max(1, -(-len(rows) // _PER_PAGE))
    pager = f"{key}_page_{dataset.name}_{chosen}"
    first = int(np.flatnonzero(rows == row)[0]) // _PER_PAGE + 1 if row in rows else 1
    page = min(int(st.session_state.get(pager) or first), num_pages)
    tiles = [_thumbnail(dataset, int(one), is_marked=one == row) for one in rows[(page - 1) * _PER_PAGE :][:_PER_PAGE]]
    with st.container(width=_CHOICE_PX):
        draw_tiles(tiles, columns=_COLUMNS, least_px=64)
        if num_pages > 1:
            st.pagination(num_pages, default=page, key=pager)


def _thumbnail(dataset: Dataset, row: int, *, is_marked: bool) -> EncodedTile:
    record = dataset.table.iloc[row]
    content = resources.cached_thumbnail(dataset.name, dataset.version, row, _THUMBNAIL_PX)
    alt = readable(f"{dataset.class_of(row)}: {record['path']}")
    link = state.page_link("look_inside", image=str(record["image_id"]))
    return EncodedTile(content, "", "", alt, is_marked=is_marked, link=link)


def _from_samples(samples: dict[str, Sample], key: str, inputs: InputTransform) -> ChosenImage:
    wanted = (state.current_image() or "").removeprefix(SAMPLE)
    name = wanted if wanted in samples else next(iter(samples))
    if wanted and wanted != name:
        st.warning(f"There is no sample {plain(wanted)}; showing {plain(name)}.")
    state.settle("image", f"{SAMPLE}{name}")
    controls.choose(
        "Sample", {name: sample.label for name, sample in samples.items()}, "image", key=f"{key}_sample", value=name,
        keep=lambda name: _remember(f"{SAMPLE}{name}"),
        help="The photographs come with scikit-image, the other images with this program.",
    )  # fmt: skip
    sample = samples[name]
    path = str(sample.path) if sample.credit else f"data/samples/{name}"
    return _decoded(sample.path.read_bytes(), sample.label, inputs, path)


def _from_upload(key: str, inputs: InputTransform) -> ChosenImage | None:
    state.settle("image", UPLOAD)
    upload = st.file_uploader(
        "One image",
        type=UPLOAD_TYPES,
        key=f"{key}_upload",
        max_upload_size=MAX_FILE_BYTES // 2**20,
        help="It is decoded on this machine and not stored.",
    )
    return None if upload is None else _sent(upload.getvalue(), upload.name, inputs)


def _from_camera(key: str, inputs: InputTransform) -> ChosenImage | None:
    state.settle("image", CAMERA)
    taken = st.camera_input(
        "Take a picture", key=f"{key}_camera", help="It is decoded on the machine of this program and not stored."
    )
    if taken is None:
        st.caption(
            "No camera offered? Browsers give none to a page of another machine without https: upload a photograph "
            "instead."
        )
        return None
    return _sent(taken.getvalue(), "camera.jpg", inputs)


def _sent(data: bytes, name: str, inputs: InputTransform) -> ChosenImage | None:
    """A picture that came from the browser; None, and a sentence, where it cannot be read."""
    try:
        image = _decoded(data, name, inputs, name)
    except BadImage as error:
        st.error(f"{plain(name)}: {plain_message(error)}", icon=":material/broken_image:")
        return None
    return dataclasses.replace(image, is_linkable=False)


def _decoded(data: bytes, name: str, inputs: InputTransform, path: str) -> ChosenImage:
    digest, how = hashlib.sha256(data).hexdigest(), inputs.decoding_key
    pixels, notices = _decode(digest, how, data, inputs)
    return ChosenImage(f"{digest}:{how}", name, pixels, path, notices=notices, image_id=image_id_of(digest))


@st.cache_data(max_entries=16, show_spinner="Decoding the image …")
def _decode(
    digest: str, how: str, _data: bytes, _inputs: InputTransform
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], tuple[str, ...]]:
    decoded = _inputs.decode(_data)
    return decoded.pixels, decoded.notices
