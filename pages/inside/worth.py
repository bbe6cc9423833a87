"""What each stage is worth: the strip of one image, and under its tiles the curve that a data set measures."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from lib.errors import UserError
from lib.explain.stage_probes import StageQuestion
from lib.explain.stage_reading import cut_sentence, method, peak, reading
from lib.explain.stage_worth import StageWorth
from lib.features.stage_outputs import StagedSource
from lib.figures.stage_curve import StageTile, curve_html
from pages.common import background, controls, resources, state
from pages.common.errors import show_errors
from pages.common.page_table import update_address
from pages.common.results import short_labels
from pages.common.text import plain, plain_message, readable
from pages.inside.pictures import cached_explanation, cached_strip
from pages.inside.scene import InsideNetwork, Scene, tuned_runs

if TYPE_CHECKING:
    import pandas as pd

    from lib.explain.explanation import Explanation
    from lib.models.backbones import StageSpec
    from lib.tracking import RunRecord

_POLL_S = 1.0
_MOST_DATASETS = 1  # that a click adds; others behind one more
_STEPPED = "inside_behind_stepped"
# More tiles than these leave no room for the names of stages: they are numbered.
_MOST_NAMED = 13


@dataclass(frozen=True, eq=False)
class Asked:
    """What is to be measured, and with which command; `problem` is the sentence that says why it cannot be."""

    title: str
    question: StageQuestion | None = None
    arguments: tuple[str, ...] = ()
    problem: str = ""

    @property
    def task(self) -> str:
        """The name of the task that measures it."""
        return f"stages {self.question.path.stem}" if self.question else ""

    def kept(self) -> StageWorth | None:
        """The table so far."""
        if self.question is None:
            return None
        return background.kept_measurement(self.question.kept_path, StageWorth.from_dict)

    @property
    def is_measuring(self) -> bool:
        """Whether it is being measured."""
        return bool(self.task) and background.is_measuring(self.task)


def draw(scene: Scene) -> None:
    """The view."""
    network = scene.network
    if not network.spec.num_parameters:
        controls.empty_state("This run uses no network: its features are hand-made measures, which have no stages.")
        return
    stages = StagedSource.published(network.spec, "random").stages
    dataset, beside = state.current_dataset(), state.current("second")
    answer, more = st.columns([3.6, 6.4], vertical_alignment="center")
    with more:
        _draw_additions(network, dataset, beside)
    with answer:
        tiles = _tiles(scene, stages)
    run_id = network.run_id or _tuned(network, dataset)
    first = _asked(dataset, network, run_id)
    second = _asked(beside, network, None) if beside and beside != dataset else None
    both = [one for one in (first, second) if one is not None]
    st.fragment(_draw_curve, run_every=_POLL_S if any(one.is_measuring for one in both) else None)(
        both, tiles, [stage.name for stage in stages], _strategy(run_id)
    )
    for one in both:
        with show_errors("measure the stages"):
            _offer(one)
    if worth := first.kept():
        _draw_take_away(worth, first)


# The picture


def _draw_curve(both: list[Asked], tiles: list[StageTile], names: list[str], run_strategy: str) -> None:
    """Strip, curves and cut; drawn anew by itself while something is measured, and at each step of the cut."""
    worths = [one.kept() for one in both]
    first, second = worths[0], worths[1] if len(worths) > 1 else None
    cut = _cut(names, first)
    linked = [tiles[0], *(_linked(tile, name) for tile, name in zip(tiles[1:], names, strict=True))]
    picture = curve_html(
        first, linked, second=second, run_strategy=run_strategy, cut=cut if first or second else None,
        is_dark=controls.is_dark(),
    )  # fmt: skip
    st.html(picture)
    # Of two data sets, first where each of them peaks.
    for one in (first, second):
        if one is not None:
            said = reading(one) if second is None else f"{one.dataset_title}: {peak(one)}"
            st.markdown(f"**{plain(said, 1200)}**")
    if first is not None:
        _draw_cut(first, names, cut)
        if second is not None:
            st.markdown(plain(f"{first.dataset_title}: {reading(first)}", 1200))
    if st.session_state.pop(_STEPPED, False):
        update_address()


def _linked(tile: StageTile, stage: str) -> StageTile:
    return dataclasses.replace(tile, link=state.page_link("look_inside", behind=stage))


def _cut(names: list[str], worth: StageWorth | None) -> int:
    """The index of the last stage that is kept: of the link, else the best one."""
    wanted = state.current("behind")
    if wanted in names:
        return names.index(wanted)
    return worth.best if worth is not None else len(names) - 1


def _draw_cut(worth: StageWorth, names: list[str], cut: int) -> None:
    def step_to(place: int) -> None:
        state.settle("behind", names[min(max(place, 0), len(worth.rows) - 1)])
        st.session_state[_STEPPED] = True

    steps, words = st.columns([2.6, 7.4], vertical_alignment="center", gap="small")
    with steps, st.container(horizontal=True, gap="small"):
        st.button(
            "", icon=":material/chevron_left:", key="inside_cut_earlier", on_click=step_to, args=(cut - 1,),
            disabled=cut == 0, help="Cut one stage earlier",
        )  # fmt: skip
        st.button(
            "", icon=":material/chevron_right:", key="inside_cut_later", on_click=step_to, args=(cut + 1,),
            disabled=cut >= len(worth.rows) - 1, help="Cut one stage later",
        )  # fmt: skip
        st.button("Best", key="inside_cut_best", on_click=step_to, args=(worth.best,), disabled=cut == worth.best)
    words.markdown(plain(cut_sentence(worth, min(cut, len(worth.rows) - 1)), 500))


def _tiles(scene: Scene, stages: "tuple[StageSpec, ...]") -> list[StageTile]:
    """The input, then one tile a stage; empty ones without an image, and where a stage has no places."""
    network, image, found = scene.network, scene.image, {}
    if image is None:
        controls.empty_state("Choose an image: upload one above, or take one of the samples or of the data set.")
    else:
        try:
            explanation = cached_explanation(network, image, scene.target)
            st.markdown(_answer(network, explanation))
            strip = cached_strip(network, image, explanation, False)  # noqa: FBT003
            found = {tile.name: tile for tile in strip.tiles}
        except UserError as error:  # nothing of this network can be drawn over an image
            st.caption(plain_message(error))
    tile = found.get("")
    tiles = [StageTile("Image", tile.address if tile else "", tile.alt if tile else "The input image")]
    for number, stage in enumerate(stages, start=1):
        drawn = found.get(stage.name)
        what = f"{stage.label}, {stage.num_channels} numbers an image"
        title = stage.name if len(stages) < _MOST_NAMED else str(number)
        if drawn is None:
            tiles.append(StageTile(title, "", what, words=f"{stage.num_channels:,} numbers"))
        else:
            tiles.append(StageTile(title, drawn.address, f"{drawn.alt}. {what}"))
    return tiles


def _answer(network: InsideNetwork, explanation: "Explanation") -> str:
    """What the network says of the image, in a line."""
    from lib.explain.explanation import describe_probability

    if explanation.is_refused:
        return "**Refused: no class is given.** " + plain(explanation.notice, 300)
    if network.is_random:
        return "The weights are random: there is no answer that means anything."
    first, *others = explanation.top_classes(2)
    said = f"**Answer: {plain(first[0], 40)} {describe_probability(first[1])}**"
    return said + "".join(f", {plain(name, 40)} {describe_probability(value)}" for name, value in others)


# What is measured


def _asked(dataset: str | None, network: InsideNetwork, run_id: str | None) -> Asked:
    """The question of a data set, and why it cannot be asked where it cannot."""
    title = dataset or ""
    if not dataset:
        return Asked(title, problem="Choose a data set in the sidebar, or import one under Explore data.")
    summary = resources.find_summary(dataset)
    if summary is None:
        return Asked(title, problem=f"There is no data set {readable(dataset)} (any more); choose another one.")
    if network.spec.has_weights and not resources.weights_at_hand().get(network.spec.name, False):
        return Asked(
            summary.title,
            problem=f"The pretrained weights of {network.spec.title} are not on this machine: nothing can be borrowed.",
        )
    try:
        question = _question(summary.name, summary.version, network.spec.name, run_id or "")
        _ = question.task, question.path
    except UserError as error:
        return Asked(summary.title, problem=str(error))
    arguments = ["stages", "--dataset", summary.name, "--backbone", network.spec.name]
    return Asked(summary.title, question, tuple(arguments + (["--run", run_id] if run_id else [])))


@st.cache_resource(max_entries=32, show_spinner=False)
def _question(dataset: str, version: str, backbone: str, run_id: str) -> StageQuestion:
    from lib.grading.stage_source import as_taken_part, run_network
    from lib.models.backbones import BACKBONES

    grader = resources.cached_grader(run_id) if run_id else None
    run = run_network(grader) if grader else None
    if run is not None and run.source.spec.name != backbone:
        raise UserError(f"The run {run_id[:8]} has another network; choose one of {BACKBONES.get(backbone).title}.")
    taken, seed, merged = as_taken_part(resources.cached_dataset(dataset, version), grader)
    return StageQuestion(taken, BACKBONES.get(backbone), seed, 0, merged, run)


def _offer(asked: Asked) -> None:
    """The button that measures, the work with its Stop, or what went wrong."""
    if asked.question is None:
        st.info(plain_message(asked.problem), icon=":material/info:")
        return
    background.show_measurement_failure(asked.task)
    kept = asked.kept()
    if kept is not None and kept.is_complete and not asked.is_measuring:
        return
    number = len(asked.question.dataset.table)
    if not asked.is_measuring:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Measure what each stage is worth" if kept is None else "Measure what is missing",
                key=f"inside_measure_{asked.task}", icon=":material/straighten:", type="primary",
                on_click=background.start_measurement,
                args=(asked.task, f"Measuring the stages on {asked.title} …", list(asked.arguments)),
            )  # fmt: skip
            networks = len(asked.question.requests)
            st.caption(
                f"{plain(asked.title)}: {number:,} images once through each of {networks} networks, then a small "
                "regression for each stage. Nothing is trained in the network; what is measured is kept."
            )
    background.watch(asked.task)


# What may be added


def _draw_additions(network: InsideNetwork, dataset: str | None, second: str | None) -> None:
    """One click adds a second data set, one a fine-tuned run; where there are many, the rest behind one more."""
    others = {one.name: one.title for one in resources.dataset_summaries() if one.name != dataset}
    choices = [("A second data set", "second", others, second, _MOST_DATASETS)]
    if not network.run_id:
        runs = short_labels(_tuned_runs(network, dataset))
        choices.append(("A run beside its start", "tuned", runs, _tuned(network, dataset), 1))
        wanted = state.current("tuned")
        if wanted and not choices[-1][3]:
            st.caption(f"The run {plain(wanted[:12])} of the link is none of this network on this data set.")
    with st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        for label, view_key, titles, chosen, most in choices:
            first = list(titles)[:most]
            if chosen in titles and chosen not in first:
                first[-1:] = [str(chosen)]
            if first:
                _choose(label, {name: titles[name] for name in first}, view_key, chosen)
        if any(len(titles) > most for _, _, titles, _, most in choices):
            with st.popover("More", type="tertiary", icon=":material/add:"):
                for label, view_key, titles, chosen, _ in choices:
                    if titles:
                        _choose(label, titles, view_key, chosen, is_long=True)


def _choose(label: str, titles: dict[str, str], view_key: str, chosen: str | None, *, is_long: bool = False) -> None:
    """A choice of one or none, kept in the view."""
    value = chosen if chosen in titles else None
    if is_long:
        controls.choose(label, titles, view_key, key=f"inside_{view_key}_of_all", value=value)
        return
    key = f"inside_{view_key}"
    st.session_state[key] = value
    st.pills(
        label, list(titles), format_func=lambda name: f"+ {readable(titles[name], 26)}", key=key,
        label_visibility="collapsed", on_change=lambda: state.remember(view_key, st.session_state[key]),
    )  # fmt: skip


def _tuned_runs(network: InsideNetwork, dataset: str | None) -> "list[RunRecord]":
    """The finished runs on the data set that trained some of this network's stages: from pretrained ones first."""
    asked = (dataset, network.spec.name)
    return [run for run in tuned_runs() if (run.config.get("dataset"), run.config.get("backbone")) == asked]


def _tuned(network: InsideNetwork, dataset: str | None) -> str | None:
    """The run of the link, where it is one of those that can be added."""
    wanted = state.current("tuned")
    found = (run.run_id for run in _tuned_runs(network, dataset)) if wanted else ()
    return next((run_id for run_id in found if run_id.startswith(str(wanted))), None)


def _strategy(run_id: str | None) -> str:
    if not run_id:
        return ""
    return next((str(run.config.get("strategy")) for run in resources.run_records() if run.run_id == run_id), "")


# To take away


def _draw_take_away(worth: StageWorth, asked: Asked) -> None:
    st.caption(plain(method(worth), 900))
    with st.container(horizontal=True):
        controls.download_csv(_table(worth), key=f"stages_{worth.dataset}_{worth.backbone}")
        controls.copy_command(f"python -m lib {' '.join(asked.arguments)}")


def _table(worth: StageWorth) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for row in worth.rows:
        cells: dict[str, object] = {
            "stage": row.stage, "title": row.title, "features": row.num_features,
            "head_parameters": row.head_parameters, "right_parameters": row.right_parameters,
        }  # fmt: skip
        for curve in worth.curves:
            score = row.score(curve)
            for end in ("value", "low", "high"):
                cells[f"{curve}_{worth.headline.word}_{end}"] = getattr(score, end) if score else None
        rows.append(cells)
    return pd.DataFrame(rows)
