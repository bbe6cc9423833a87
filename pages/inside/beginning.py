"""From the beginning: what a kernel does to an image, a convolution by hand, a network's filters, and no network."""

import html
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lib.data.input_transform import InputTransform
from lib.data.retina_measures import FEATURE_NAMES
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from pages.common import controls, resources, state
from pages.common.image_choice import ChosenImage
from pages.common.text import plain, plain_message, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.inside.pictures import Shown
from pages.inside.scene import InsideNetwork, Scene, need_image

if TYPE_CHECKING:
    from lib.data.retina_measures import FundusTrace
    from lib.explain.kernels import Kernel, PatchSteps

PARTS = {
    "kernels": "One kernel",
    "by_hand": "Convolution by hand",
    "filters": "Filters of a layer",
    "no_network": "Without a network",
}
_OWN = "own"
_PICTURE_PX, _TILE_PX, _BENCH_PX = 384, 160, 120
_SMALL_PX, _PATCH = 48, 7  # the image that is walked over by hand, and the patch of it
_MAX_FILTERS = 12
_NUM_WEIGHTS = 8
_REFERENCE_IMAGES = 60  # from which the spread of a measure is taken


def draw(scene: Scene) -> None:
    """The view."""
    chosen = controls.choose("Step", PARTS, "part", key="inside_part", is_segmented=True, label_visibility="collapsed")
    image = need_image(scene)
    if image is None:
        return
    if chosen == "kernels":
        _draw_kernels(image)
    elif chosen == "by_hand":
        _draw_by_hand(image)
    elif chosen == "filters":
        _draw_filters(scene.network, image)
    else:
        _draw_without_network(scene, image)


# One kernel


def _draw_kernels(image: ChosenImage) -> None:
    from lib.explain.kernels import KERNELS

    kernel = _choose_kernel()
    effect = _effect(image.key, kernel.text, image, kernel)
    left, right, side = st.columns([1, 1, 1.1], gap="medium")
    with left:
        draw_tiles([_grey_tile(image)], columns=1)
    with right:
        draw_tiles([effect], columns=1)
    with side:
        st.html(_grid(kernel.matrix, digits=2, size_px=44))
        st.markdown(kernel.about or "Your own nine numbers.")
        st.caption(
            "At every place the nine weights are multiplied with the brightness under them and added up. A network "
            "learns such weights instead of being given them."
        )
        if kernel.name == _OWN:
            _draw_own(kernel)
    bench = [
        _bench_tile(image.key, one.name, image, one, is_chosen=one.name == kernel.name) for one in KERNELS.values()
    ]
    draw_tiles(bench, columns=len(bench), least_px=72, text_px=14)
    if kernel.name != _OWN:
        st.button(
            "Change the nine numbers",
            icon=":material/edit:",
            type="tertiary",
            on_click=lambda: state.remember("kernel", kernel.text),
        )


def _choose_kernel() -> "Kernel":
    from lib.explain.kernels import KERNELS, parse_kernel

    wanted = state.current("kernel") or "sobel_left"
    try:
        return parse_kernel(wanted)
    except UserError as error:
        st.warning(plain_message(error))
        return KERNELS["sobel_left"]


def _draw_own(kernel: "Kernel") -> None:
    st.session_state["inside_own_kernel"] = kernel.text
    st.text_input(
        "Nine weights, row by row",
        key="inside_own_kernel",
        on_change=lambda: state.remember("kernel", st.session_state["inside_own_kernel"]),
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _effect(image_key: str, kernel_text: str, _image: ChosenImage, _kernel: "Kernel") -> EncodedTile:
    return _filtered(_image, _kernel, _PICTURE_PX, title=_kernel.title)


@st.cache_resource(max_entries=128, show_spinner=False)
def _bench(image_key: str, kernel_name: str, _image: ChosenImage, _kernel: "Kernel") -> EncodedTile:
    return _filtered(_image, _kernel, _BENCH_PX, title=_kernel.title)


def _bench_tile(key: str, name: str, image: ChosenImage, kernel: "Kernel", *, is_chosen: bool) -> EncodedTile:
    tile = _bench(key, name, image, kernel)
    link = state.page_link("look_inside", kernel=name)
    return EncodedTile(tile.content, kernel.title, "", tile.alt, is_marked=is_chosen, link=link)


def _filtered(image: ChosenImage, kernel: "Kernel", side_px: int, *, title: str) -> EncodedTile:
    from lib.explain.kernels import filter_image
    from lib.explain.pictures import signed_picture, to_jpeg

    answer = filter_image(_brightness(image, side_px), kernel)
    if kernel.is_signed:
        largest = float(np.percentile(np.abs(answer), 99)) or 1.0
        pixels = signed_picture(answer, side_px, largest=largest)
        scale = f"blue is -{largest:.2g} or less, white 0, red {largest:.2g} or more"
    else:
        pixels = np.rint(255 * np.clip(answer, 0, 1)).astype(np.uint8)[..., None].repeat(3, axis=2)
        scale = "brightness, cut at black and white"
    return EncodedTile(to_jpeg(pixels, side_px), title, scale, f"{title} applied to {image.name}: {scale}")


def _brightness(image: ChosenImage, side_px: int) -> np.ndarray:
    """The brightness of the image at that size, in 0..1."""
    from PIL import Image

    from lib.explain.kernels import grey

    small = Image.fromarray(image.pixels).resize((side_px, side_px), Image.Resampling.LANCZOS)
    return grey(np.asarray(small))


def _grey_tile(image: ChosenImage) -> EncodedTile:
    from lib.explain.pictures import to_jpeg

    pixels = np.rint(255 * _brightness(image, _PICTURE_PX)).astype(np.uint8)[..., None].repeat(3, axis=2)
    return EncodedTile(to_jpeg(pixels, _PICTURE_PX), "The image", "its brightness", f"Brightness of {image.name}")


# Convolution by hand


def _draw_by_hand(image: ChosenImage) -> None:
    kernel = _choose_kernel()
    steps, place = _steps(image.key, kernel.text, image, kernel)
    _walk(steps, _patch_picture(image, place))
    st.caption(
        f"The image at {_SMALL_PX} × {_SMALL_PX} pixels; the framed {_PATCH} × {_PATCH} are where it varies most, as "
        f"brightness from 0 to 255. Kernel: {kernel.title}, chosen under “{PARTS['kernels']}”."
    )


@st.fragment
def _walk(steps: "PatchSteps", picture: str) -> None:
    num_steps = steps.side**2
    step = (
        int(st.slider("Step", 1, num_steps, 1, key="inside_step", help="One window of the patch after the other.")) - 1
    )
    row, column, products = steps.window(step)
    shown = np.where(np.arange(num_steps).reshape(steps.side, -1) <= step, steps.convolved, np.nan)
    is_last = step == num_steps - 1
    sum_words = f"{products.sum():.0f}"
    grids = [
        ("Image", picture),
        ("Patch", _grid(steps.patch, window=(row, column, 3))),
        ("× kernel", _grid(steps.kernel.matrix, digits=2)),
        (f"= {sum_words}", _grid(shown, window=(row, column, 1))),
        ("ReLU", _grid(np.where(np.isnan(shown), np.nan, np.maximum(shown, 0)))),
    ]
    grids.append(("Pooled", _grid(steps.pooled if is_last else np.full_like(steps.pooled, np.nan))))
    cells = "".join(
        f"<div><div style='margin-bottom:6px;font-weight:600'>{title}</div>{grid}</div>" for title, grid in grids
    )
    st.html(f"<div style='display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start;font-size:15px'>{cells}</div>")
    terms = " + ".join(
        f"({value:.0f} × {weight:.3g})"
        for value, weight in zip(
            steps.patch[row : row + 3, column : column + 3].ravel(), steps.kernel.matrix.ravel(), strict=True
        )
        if weight
    )
    st.markdown(plain(f"{terms} = {sum_words}", 600))
    st.caption(
        "ReLU turns what is below 0 into 0. Pooling keeps the largest of each 2 × 2, "
        + ("seen on the right." if is_last else "at the last step.")
    )


@st.cache_resource(max_entries=32, show_spinner=False)
def _steps(
    image_key: str, kernel_text: str, _image: ChosenImage, _kernel: "Kernel"
) -> tuple["PatchSteps", tuple[int, int]]:
    from lib.explain.kernels import PatchSteps, busiest_patch

    small = np.rint(255 * _brightness(_image, _SMALL_PX))
    row, column = busiest_patch(small, _PATCH)
    return PatchSteps(small[row : row + _PATCH, column : column + _PATCH], _kernel), (row, column)


def _patch_picture(image: ChosenImage, place: tuple[int, int]) -> str:
    from lib.explain.pictures import enlarge_cells, to_png

    pixels = np.rint(255 * _brightness(image, _SMALL_PX)).astype(np.uint8)[..., None].repeat(3, axis=2)
    zoom = 5
    large = enlarge_cells(pixels, zoom * _SMALL_PX).copy()
    top, left = (zoom * index for index in place)
    size = zoom * _PATCH
    for edge in range(2):
        for rows, columns in (
            ([top + edge, top + size - 1 - edge], slice(left, left + size)),
            (slice(top, top + size), [left + edge, left + size - 1 - edge]),
        ):
            large[rows, columns] = (249, 115, 22)
    tile = EncodedTile(to_png(large), "", "", f"{image.name} in {_SMALL_PX} × {_SMALL_PX} pixels, a patch framed")
    alt = html.escape(tile.alt, quote=True)
    return f'<img src="{tile.address}" alt="{alt}" style="width:110px;border-radius:4px">'


def _grid(values: np.ndarray, *, digits: int = 0, window: tuple[int, int, int] | None = None, size_px: int = 27) -> str:
    """Numbers as a table; a window (row, column, side) is framed, places without a number stay empty."""
    rows = []
    for r, line in enumerate(values):
        cells = []
        for c, value in enumerate(line):
            is_in = window is not None and 0 <= r - window[0] < window[2] and 0 <= c - window[1] < window[2]
            colour = "background:color-mix(in srgb,#F97316 35%,transparent);" if is_in else ""
            text = (
                "" if np.isnan(value) else f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
            )
            text = {"-0": "0", "": ""}.get(text, text)
            cells.append(
                f"<td style='width:{size_px}px;height:{size_px * 4 // 5}px;text-align:center;padding:0;{colour}"
                f"border:1px solid color-mix(in srgb,currentColor 22%,transparent)'>{text}</td>"
            )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    style = "border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums"
    return f"<table style='{style}'>{''.join(rows)}</table>"


# Filters of a layer


def _draw_filters(network: InsideNetwork, image: ChosenImage) -> None:
    from lib.explain.filters import convolution_layers

    layers = {layer.path: layer for layer in convolution_layers(network.load())}
    if not layers:
        controls.empty_state(f"{plain(network.title)} has no convolutions.")
        return
    chosen = controls.choose(
        "Convolution", {path: layer.title for path, layer in layers.items()}, "layer", key="inside_layer",
        unknown="There is no convolution {} in this network; showing the first one.",
        help="Every convolution of the network, in its order; the filters with the strongest response come first.",
    )  # fmt: skip
    shown = _filters(network.key, image.key, chosen, network, image)
    draw_tiles(shown.tiles, columns=shown.columns, least_px=56, text_px=14)
    st.caption(plain(shown.note, 600))


@st.cache_resource(max_entries=24, show_spinner="Running the layer …")
def _filters(network_key: str, image_key: str, path: str, _network: InsideNetwork, _image: ChosenImage) -> Shown:
    from lib.explain.filters import filter_responses
    from lib.explain.network import make_batch
    from lib.explain.pictures import enlarge_cells, signed_picture, to_png

    network = _network.load()
    found = filter_responses(network, make_batch(_image.pixels, network, _network.inputs), path)
    order = found.strongest(_MAX_FILTERS)
    largest = float(np.abs(found.responses[order]).max())
    is_colour = found.layer.num_inputs == 3
    tiles = []
    for index in order:
        part, channel = found.shown_slice(index)
        if is_colour:
            picture = enlarge_cells(np.rint(255 * found.colours(index)).astype(np.uint8), _TILE_PX)
            read = ""
        elif found.layer.kernel == (1, 1):
            picture = signed_picture(_as_square(found.weights[index, :, 0, 0]), _TILE_PX)
            read = f"{found.layer.num_inputs} weights"
        else:
            picture = signed_picture(part, _TILE_PX)
            read = f"input channel {channel}"
        response = signed_picture(found.responses[index], _TILE_PX, largest=largest)
        strength = float(np.abs(found.responses[index]).mean())
        tiles.append(EncodedTile(to_png(picture), f"Filter {index}", read, f"Filter {index} of {path} {read}".strip()))
        words = f"mean {strength:.2g}"
        tiles.append(EncodedTile(to_png(response), "Response", words, f"Response of filter {index} of {path}: {words}"))
    how = (
        "as colours, mid grey is zero" if is_colour
        else "its weights over the input channels, row by row" if found.layer.kernel == (1, 1)
        else "for the input channel with the largest weights"
    )  # fmt: skip
    note = (
        f"The {len(order)} of {found.layer.num_filters} filters of {path} with the strongest response to this image. "
        f"Left the filter ({how}), each to its own largest weight; right what it answers, all on one scale: blue is "
        f"-{largest:.2g}, white 0, red {largest:.2g}, before normalisation and ReLU."
    )
    if _network.is_random:
        note += " They are random: nothing was learned."
    return Shown(tuple(tiles), 8, note)


def _as_square(weights: np.ndarray) -> np.ndarray:
    """A vector as a square, row by row, the rest zero."""
    side = int(np.ceil(np.sqrt(len(weights))))
    return np.pad(weights, (0, side * side - len(weights))).reshape(side, side)


# Without a network


def _draw_without_network(scene: Scene, image: ChosenImage) -> None:
    dataset = state.current_dataset()
    spec = resources.find_spec(dataset)
    is_eye = (
        "retina" in image.name
        or "fundus" in image.name.lower()
        or (bool(image.versions) and resources.is_fundus(dataset))
    )
    if not is_eye:
        st.info(
            "These filters were made by hand for fundus photographs. On this image they run as well, and find vessels "
            "and lesions where there are none: rules that were not learned do not move to another domain.",
            icon=":material/info:",
        )
    route = _route(image.key, image)
    draw_tiles(route.tiles, columns=route.columns, least_px=96, text_px=14)
    st.caption(route.note)
    numbers = _trace(image.key, image)[1].measures
    run = _handcrafted_run(dataset)
    if run is None or spec is None:
        _draw_numbers(numbers)
        st.caption(
            "Train the strategy “Hand-made features + SVM” on a fundus data set to see the SVM's weights on them."
        )
        if spec is not None and resources.is_fundus(dataset):
            controls.button_to("train_model", "Train it", icon=":material/model_training:")
        return
    _draw_weights(run, numbers)


@st.cache_resource(max_entries=12, show_spinner="Measuring the image …")
def _trace(image_key: str, _image: ChosenImage) -> "tuple[np.ndarray, FundusTrace]":
    """The picture as the strategy of hand-made features takes it, and what is found in it."""
    from lib.data.retina_measures import trace_fundus

    batch = InputTransform.of(BACKBONES.get("handcrafted")).batch(_image.pixels[None])
    rgb = batch[0].permute(1, 2, 0).numpy()
    return np.rint(255 * rgb).astype(np.uint8), trace_fundus(rgb)


@st.cache_resource(max_entries=12, show_spinner=False)
def _route(image_key: str, _image: ChosenImage) -> Shown:
    from lib.explain.pictures import to_jpeg

    pixels, trace = _trace(image_key, _image)
    enhanced = np.rint(255 * trace.enhanced).astype(np.uint8)[..., None].repeat(3, axis=2)
    relative = np.rint(255 * np.clip(0.5 + trace.relative / 2, 0, 1)).astype(np.uint8)[..., None].repeat(3, axis=2)

    def marked(where: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
        picture = enhanced // 2 + 64
        picture[where] = colour
        return picture

    pictures = [
        ("Image", f"{len(pixels)} × {len(pixels)} pixels", pixels),
        ("Preprocessing", "green, even light", relative),
        ("Contrast", "CLAHE", enhanced),
        ("Vessels", f"{trace.vessels.mean():.1%} of it", marked(trace.vessels, (0, 158, 115))),
        ("Red lesions", f"{trace.red.mean():.2%} of it", marked(trace.red, (213, 94, 0))),
        ("Bright lesions", f"{trace.bright.mean():.2%} of it", marked(trace.bright, (240, 228, 66))),
    ]
    tiles = [
        EncodedTile(to_jpeg(np.ascontiguousarray(picture), 224), title, words, f"{title} of {_image.name}: {words}")
        for title, words, picture in pictures
    ]
    note = (
        "No training: the green channel evened out, its contrast raised, long dark ridges taken for vessels, and dark "
        f"or bright spots for lesions. {len(FEATURE_NAMES)} numbers are read from these pictures."
    )
    return Shown(tuple(tiles), len(tiles), note)


def _handcrafted_run(dataset: str | None) -> str | None:
    """The newest finished run of hand-made features on the data set."""
    runs = [
        run for run in resources.run_records()
        if run.state == "finished" and run.config.get("strategy") == "handcrafted_features"
        and run.config.get("dataset") == dataset
    ]  # fmt: skip
    return max(runs, key=lambda run: run.created_s).run_id if runs else None


def _draw_numbers(numbers: np.ndarray) -> None:
    import pandas as pd

    with st.expander(f"The {len(numbers)} numbers of this image"):
        controls.show_table(pd.DataFrame({"Measure": FEATURE_NAMES, "Value": numbers}), hide_index=True)


def _draw_weights(run_id: str, numbers: np.ndarray) -> None:
    import pandas as pd

    grader = resources.cached_grader(run_id)
    weights = grader.classifier.head.weight.detach().cpu().numpy()
    names = grader.class_names
    choices = range(len(names)) if len(weights) > 1 else [1]
    chosen = st.selectbox(
        "Weights of the SVM for", list(choices), index=len(choices) - 1, format_func=lambda k: readable(names[k]),
        key=f"inside_svm_{run_id}",
    )  # fmt: skip
    spread, mean = _spread(run_id, str(grader.manifest.get("dataset", {}).get("name", "")))
    row = weights[chosen if len(weights) > 1 else 0] * spread
    order = np.argsort(-np.abs(row))[:_NUM_WEIGHTS]
    value = (numbers - mean) / np.where(spread > 0, spread, 1.0)
    table = pd.DataFrame(
        {
            "Measure": [FEATURE_NAMES[index] for index in order],
            "Weight": row[order],
            "This image, in deviations": value[order],
            "Speaks for the class by": (row * value)[order],
        }
    )
    st.markdown(f"**The {len(order)} measures with the largest weights for {plain(names[chosen])}**, largest first.")
    number = st.column_config.NumberColumn(format="%.2f")
    controls.show_table(table, hide_index=True, column_config=dict.fromkeys(table.columns[1:], number))
    controls.download_csv(table, key=f"svm_weights_{run_id[:8]}")
    st.caption(
        f"Weights per standard deviation of a measure; mean and deviation from {_REFERENCE_IMAGES} images of the data "
        "set at most, evenly taken. A linear SVM adds the products up."
    )


@st.cache_resource(max_entries=4, show_spinner="Measuring images of the data set, once …")
def _spread(run_id: str, dataset: str) -> tuple[np.ndarray, np.ndarray]:
    from lib.data.retina_measures import measure_fundus

    inputs = InputTransform.of(BACKBONES.get("handcrafted"))
    summary = resources.find_summary(dataset)
    if summary is None:
        raise UserError(f"The data set {dataset!r} of the run is gone, so the spread of its measures is not known.")
    pixels = resources.cached_dataset(summary.name, summary.version).pixels
    rows = np.unique(np.linspace(0, len(pixels) - 1, _REFERENCE_IMAGES).astype(int))
    measured = np.stack([measure_fundus(image) for image in inputs.batch(pixels[rows]).permute(0, 2, 3, 1).numpy()])
    return measured.std(axis=0), measured.mean(axis=0)
