"""The images of a data set as points, near to those that a stage of the network answers alike, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.errors import UserError
from lib.explain.image_map import METHODS, PCA, ImageMap, MapQuestion, StageMap
from lib.explain.image_map_reading import method_words, point_table, reading, stage_sentence, stage_separations
from lib.features.stage_outputs import StagedSource
from lib.figures.data_charts import SPLIT_TITLES
from lib.figures.image_map_chart import (
    COLOURS,
    MAX_COLOURED,
    OF_A_RUN,
    PointColours,
    drawn_order,
    image_map_figure,
    point_colours,
    separation_figure,
)
from lib.models.backbones import BACKBONES
from pages.common import background, controls, resources, state, weights_panel
from pages.common.text import count, joined, plain, plain_message, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.data.scene import Scene

if TYPE_CHECKING:
    from lib.explain.class_separation import Separation
    from lib.tracking.tested import TestedRun

_POLL_S = 2.0
_PER_PAGE, _COLUMNS, _SIDE_PX = 36, 12, 160
_MANY_POINTS = 10_000  # a stage of 20,000 takes UMAP and t-SNE over a minute of processor time
_MOST_NAMED_POINTS = 5_000  # with more, a point says its class alone: names of all would make the page slow
_BUTTONS = ["select2d", "lasso2d", "zoom2d", "pan2d", "resetScale2d", "toImage"]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What is ready of a question, with what can be said of each stage."""

    found: ImageMap
    separations: "list[Separation | None]"
    names: list[str]  # of the points, where they are few enough


def draw(scene: Scene) -> None:
    """Method and colour, the map of a stage, how far classes lie apart there, and the images that are selected."""
    spec = BACKBONES.get(state.current_backbone())
    if spec.has_weights and not resources.weights_at_hand().get(spec.name, False):
        st.info(
            f"The pretrained weights of {plain(spec.title)} are not on this machine, so there is nothing to place the "
            "images by. Choose another backbone in the sidebar, or fetch them.", icon=":material/info:",
        )  # fmt: skip
        weights_panel.offer_download(spec, key="map_download")
        return
    left, middle, right = st.columns([2.6, 2.4, 4.2], gap="medium")
    with left:
        method = controls.choose("Place the images by", METHODS, "method", key="map_method", is_segmented=True)
    with middle:
        runs, by = _choose_colour(scene)
    tested = None
    if by in OF_A_RUN:  # beside the slider, so that no row grows
        beside, right = right.columns([1, 1.3], gap="medium")
        with beside:
            run_id = controls.choose_run(runs, key="map_run", is_known=True)
        tested, by = (_tested(run_id), by) if run_id else (None, "class")
    question = _question(scene.dataset.name, scene.dataset.version, spec.name, method)
    try:
        question.check()
    except UserError as error:
        st.info(plain_message(error), icon=":material/info:")
        return
    ready = tuple(stage.name for stage in question.stages if question.is_ready(stage.name))
    _offer(question, ready)
    if ready:
        drawn = _drawn(question.name, scene.dataset.version, ready, scene.split_seed, question, scene)
        _draw_map(scene, question, drawn, by, tested, slider=right)


@st.cache_resource(max_entries=16, show_spinner=False)
def _question(dataset: str, version: str, backbone: str, method: str) -> MapQuestion:
    spec = BACKBONES.get(backbone)
    source = StagedSource.published(spec, "pretrained" if spec.has_weights else "random")
    return MapQuestion(resources.cached_dataset(dataset, version), source, method)


@st.cache_resource(max_entries=4, show_spinner=False)
def _drawn(
    name: str, version: str, ready: tuple[str, ...], split_seed: int, _question: MapQuestion, _scene: Scene
) -> _Drawn:
    found, dataset = _question.read(), _question.dataset
    names = dataset.table["path"].iloc[found.rows].astype(str).tolist() if len(found.rows) <= _MOST_NAMED_POINTS else []
    return _Drawn(found, stage_separations(_question, found, _scene.parts), names)


# What is made, and what it takes


def _task(question: MapQuestion) -> str:
    return f"map {question.name}"


def _offer(question: MapQuestion, ready: Sequence[str]) -> None:
    """The button that makes the maps, the work with its Stop, or what went wrong."""
    task, dataset, spec = _task(question), question.dataset, question.source.spec
    background.show_measurement_failure(task)
    if len(ready) == len(question.stages):
        return
    arguments = ["datasets", "map", dataset.name, "--backbone", spec.name, "--method", question.method]
    if not background.is_measuring(task):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Map the images" if not ready else "Map the other stages", icon=":material/scatter_plot:",
                type="primary", key=f"map_start_{question.name}", on_click=background.start_measurement,
                args=(task, f"Mapping the images of {dataset.spec.title} by {METHODS[question.method]} …", arguments),
            )  # fmt: skip
            num_points, num_images = len(question.rows), dataset.num_images
            share = f" of {num_images:,}, of each class its share," if num_points < num_images else ""
            slow = question.method != PCA and num_points > _MANY_POINTS
            st.caption(
                f"{count(num_points, 'image')}{share} once through {plain(spec.title)}, unless that was done before, "
                f"then a map for each of its {len(question.stages)} stages, the last one first. "
                + (f"{METHODS[question.method]} takes a minute or more a stage with so many. " if slow else "")
                + "What is made is kept."
            )
    background.watch(task)
    if background.is_measuring(task):
        _follow(question, len(ready))


@st.fragment(run_every=_POLL_S)
def _follow(question: MapQuestion, num_ready: int) -> None:
    """Draw the page anew when another stage has become ready."""
    if sum(question.is_ready(stage.name) for stage in question.stages) > num_ready:
        st.rerun(scope="app")


# Colours


def _choose_colour(scene: Scene) -> tuple[dict[str, str], str]:
    """What the colour says, kept in the link, and the finished runs whose answers it could show: id -> label."""
    runs = {one.run_id: one.label for one in resources.scored_results(scene.dataset.name)}
    titles = {name: title for name, title in COLOURS.items() if runs or name not in OF_A_RUN}
    return runs, controls.choose("Colour", titles, "colour", key="map_colour")


@st.cache_resource(max_entries=8, show_spinner="Reading the answers …")
def _tested(run_id: str) -> "TestedRun":
    from lib.tracking import get_run
    from lib.tracking.tested import read_tested

    run = get_run(run_id)
    return read_tested(run, run.label)


def _colours(scene: Scene, found: ImageMap, by: str, tested: "TestedRun | None") -> PointColours:
    names = tested.class_names if tested is not None and by == "prediction" else scene.dataset.class_names
    chosen: list[str] = []
    if by in ("class", "prediction") and len(names) > MAX_COLOURED and not scene.dataset.spec.is_ordinal:
        wanted = (state.current("coloured") or "").split("|")
        key = f"map_coloured_{scene.dataset.name}_{by}"
        st.session_state[key] = [name for name in wanted if name in names][:MAX_COLOURED]
        chosen = st.multiselect(
            "Classes in colour", names, key=key, max_selections=MAX_COLOURED, format_func=readable,
            placeholder="The most frequent ones", help=f"At most {MAX_COLOURED} of {len(names)} have a colour.",
            on_change=lambda: state.remember("coloured", "|".join(st.session_state[key]) or None),
        )  # fmt: skip
    return point_colours(by, scene.dataset, found.rows, scene.parts, tested=tested, chosen=chosen)


# The picture


def _draw_map(
    scene: Scene,
    question: MapQuestion,
    drawn: _Drawn,
    by: str,
    tested: "TestedRun | None",
    *,
    slider: DeltaGenerator,
) -> None:
    found = drawn.found
    titles = {one.stage.name: one.stage.label for one in found.stages}
    wanted, heads = state.current_stage(), question.source.spec.feature_stage
    stage = wanted if wanted in titles else heads if heads in titles else next(reversed(titles))
    if len(titles) > 1:
        with slider:
            stage = _slide(titles, stage)
    number = list(titles).index(stage)
    picture, said = st.columns([2, 1], gap="large")
    with picture:
        colours = _colours(scene, found, by, tested)
        _draw_points(question, drawn, found.stages[number], colours, by)
        _draw_method(scene, question, found, found.stages[number])
    with said:
        _draw_reading(question, drawn, number)
    _draw_selected(scene, question, found, colours)


def _slide(titles: dict[str, str], value: str) -> str:
    """The stages from generic to specific, side by side."""
    key = f"map_stage_{hash(tuple(titles))}"
    st.session_state[key] = value
    return str(
        st.select_slider(
            "Stage, from generic to specific", list(titles), key=key, format_func=lambda name: titles.get(name, name),
            on_change=lambda: state.remember("stage", st.session_state[key]),
        )
    )  # fmt: skip


def _draw_points(question: MapQuestion, drawn: _Drawn, one: StageMap, colours: PointColours, by: str) -> None:
    """The map; a selection is kept while stages and colours change, so that images can be followed."""
    kept = _kept(question)
    view = f"{question.name} {one.stage.name} {by} {hash(tuple(group.title for group in colours.groups))}"
    if kept["view"] != view:
        kept.update(view=view, base=kept["points"])
    order = [points for _, points in drawn_order(colours)]
    key = f"map_points_{abs(hash(view))}_{kept['times']}"

    def selected() -> None:
        chosen = st.session_state[key].selection.points
        found = [order[point["curve_number"]][point["point_index"]] for point in chosen]
        kept["points"] = np.unique(np.array(found, dtype=np.int64)) if found else None

    figure = image_map_figure(
        one.points, colours, is_dark=controls.is_dark(), names=drawn.names, selected=kept["base"]
    )  # fmt: skip
    number = count(len(one.points), "image")
    alt = (
        f"Scatter plot: {number} placed by {METHODS[question.method]} at {one.stage.title}, coloured by {colours.title}"
    )
    config = {"displaylogo": False, "displayModeBar": True, "modeBarButtons": [_BUTTONS],
              "toImageButtonOptions": {"filename": f"transferscope_map_{one.stage.name}", "scale": 2}}  # fmt: skip
    st.plotly_chart(
        figure, theme=None, key=key, alt=alt, config=config, on_select=selected,
        selection_mode=("points", "box", "lasso"),
    )  # fmt: skip
    if colours.note:
        st.caption(plain(colours.note, 400))


def _draw_reading(question: MapQuestion, drawn: _Drawn, number: int) -> None:
    found, separations = drawn.found, drawn.separations
    one, apart = found.stages[number], separations[number]
    if apart is not None:
        st.markdown(f"**{plain(one.stage.title)}**: {plain(stage_sentence(apart), 400)}")
        figure = separation_figure(
            [each.stage.title for each in found.stages], separations, is_dark=controls.is_dark(), current=number
        )  # fmt: skip
        st.plotly_chart(
            figure, theme=None, key="map_curve", config={"displayModeBar": False},
            alt="Line: how many of an image's nearest are of its own class, stage by stage",
        )  # fmt: skip
    st.markdown(plain(reading(found, separations), 900))


def _draw_method(scene: Scene, question: MapQuestion, found: ImageMap, one: StageMap) -> None:
    """What is drawn of how much, and what to take away."""
    dataset, said = question.dataset, []
    if len(found.rows) < dataset.num_images:
        said.append(f"{len(found.rows):,} of {dataset.num_images:,} images are drawn, of each class its share.")
    if question.method == PCA and one.spread is not None:
        said.append(f"The two axes hold {100 * one.spread:.0f} % of the spread of {one.stage.num_channels:,} numbers.")
    if one.is_flat:
        said.append("This stage answers the same to every image: they lie in one place.")
    if dataset.spec.is_medical:
        said.append("Medical images: for research and education only.")
    if said:
        st.caption(" ".join(said))
    with st.container(horizontal=True):
        with st.popover("How it is made", icon=":material/info:", type="tertiary"):
            st.markdown(plain(method_words(question), 1200))
        controls.download_csv(
            lambda: point_table(question, found, scene.parts), key=f"map_{dataset.name}", label="Points as CSV"
        )
        words = ["python -m lib datasets map", dataset.name, "--backbone", question.source.spec.name]
        controls.copy_command(" ".join([*words, "--method", question.method, "--out map.csv"]))


# What is selected


def _kept(question: MapQuestion) -> dict[str, Any]:
    """The selection of this session: `points` now, `base` what the chart began with, of which `view` it was."""
    key = f"map_selection_{question.dataset.name}_{question.dataset.content_version}"
    empty = {"points": None, "base": None, "view": "", "times": 0}
    return dict.setdefault(st.session_state.setdefault("map_selections", {}), key, empty)


def _draw_selected(scene: Scene, question: MapQuestion, found: ImageMap, colours: PointColours) -> None:
    kept, dataset = _kept(question), scene.dataset
    points = kept["points"]
    if points is None or not len(points):
        st.caption("Draw a box or a lasso round points, or click on one, to see their images here.")
        return

    def clear() -> None:
        kept.update(points=None, base=None, times=kept["times"] + 1)

    rows = found.rows[points]
    names, per_class = np.unique(dataset.class_labels[rows].astype(str), return_counts=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        of_class = _counts([(str(names[number]), int(per_class[number])) for number in np.argsort(-per_class)])
        others = "" if colours.title == "Class" else f" {colours.title}: {_counts(colours.counts(points))}."
        st.markdown(f"**{count(len(rows), 'image')} selected**: {of_class}.{others}", width="stretch")
        st.button("Clear", icon=":material/close:", type="tertiary", key="map_clear", on_click=clear)
        controls.download_csv(
            lambda: dataset.table.iloc[rows][["image_id", "path"]].assign(class_name=dataset.class_labels[rows]),
            key=f"map_selected_{dataset.name}", label="List as CSV",
        )  # fmt: skip
    num_pages = -(-len(rows) // _PER_PAGE)
    key = f"map_page_{len(rows)}_{int(points[0])}"
    page = min(int(st.session_state.get(key) or 1), num_pages)
    tiles = []
    for row in rows[(page - 1) * _PER_PAGE :][:_PER_PAGE]:
        record = dataset.table.iloc[int(row)]
        part = SPLIT_TITLES.get(scene.parts[row], str(scene.parts[row])).lower()
        named = ", ".join(filter(None, (dataset.class_of(int(row)), part)))
        words = f"{named}: {record['path']}; opens Look inside"
        link = state.page_link("look_inside", view="stages", image=str(record["image_id"]))
        content = resources.cached_thumbnail(dataset.name, dataset.version, int(row), _SIDE_PX)
        tiles.append(EncodedTile(content, "", "", readable(words), link=link))
    draw_tiles(tiles, columns=_COLUMNS, least_px=72)
    if num_pages > 1:
        st.pagination(num_pages, default=page, key=key)


def _counts(found: Sequence[tuple[str, int]], *, most: int = 6) -> str:
    """Numbers of each name, the first ones by name."""
    known = [(name, number) for name, number in found if number]
    said = [f"{number:,} {plain(name, 40)}" for name, number in known[:most]]
    rest = sum(number for _, number in known[most:])
    return joined([*said, f"{rest:,} of {count(len(known) - most, 'other', 'others')}"] if rest else said)
