"""What moved: a fine-tuned run against its start, stage by stage, and what it costs to put stages back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from lib.errors import UserError
from lib.explain.drift import Drift, ResetTable
from lib.explain.drift_reading import method, p_words, reset_sentence, sentences, stages_words
from lib.figures.drift_charts import drift_figure, drift_text
from pages.common import background, controls, resources, state
from pages.common.errors import show_errors
from pages.common.results import distinct_labels
from pages.common.text import count, plain, plain_message, readable
from pages.inside.moved_details import draw_channels, draw_concepts, draw_strips
from pages.inside.scene import InsideNetwork, Scene, tuned_runs

if TYPE_CHECKING:
    import pandas as pd

    from lib.explain.drift_measurement import DriftQuestion
    from lib.grading.stage_resets import ResetQuestion

ALONE, FROM, UNTIL = "alone", "from", "until"
_EXTENTS = {ALONE: "This stage", FROM: "It and all later", UNTIL: "It and all earlier"}


@dataclass(frozen=True, eq=False)
class Moved:
    """What is asked of a run; `resets` is None, with the reason, where no image is left to score by."""

    run_id: str
    drift: "DriftQuestion"
    resets: "ResetQuestion | None"
    why_no_resets: str = ""

    @property
    def table(self) -> ResetTable | None:
        """The resets so far."""
        if self.resets is None:
            return None
        return background.kept_measurement(self.resets.path, ResetTable.from_dict)


def draw(scene: Scene) -> None:
    """The view."""
    network = scene.network
    if network.run_id is None:
        _offer_runs(network)
        return
    try:
        moved = _asked(network.run_id)
    except UserError as error:  # a probe, a run without a network, a data set that is gone
        controls.empty_state(plain_message(error))
        _offer_runs(network)
        return
    task = f"drift {moved.drift.path.stem}"
    background.show_measurement_failure(task)
    found = background.kept_measurement(moved.drift.path, Drift.from_dict)
    if found is None or background.is_measuring(task):
        _offer(moved, task)
        return
    stage = _choose_stage(found)
    _draw_measured(found, moved, stage)
    st.divider()
    with show_errors("put stages back"):
        _draw_resets(found, moved, stage)
    st.divider()
    with show_errors("show the channels"):
        draw_channels(found, moved.drift, network, stage)
    st.divider()
    with show_errors("show the activations"):
        draw_strips(scene, found)
    with show_errors("test concepts"):
        draw_concepts(found, network)


# Which run


def _offer_runs(network: InsideNetwork) -> None:
    """The finished runs that trained stages of their network, the data set's own first; or how to get one."""
    dataset = state.current_dataset()
    runs = sorted(tuned_runs(), key=lambda run: run.config.get("dataset") != dataset)
    if not runs:
        controls.empty_state(
            "There is nothing to compare yet: no finished run trained stages of its network. Train one by partial or "
            "full fine-tuning, or install the demo on the start page.",
            button="Train model", page="train_model", icon=":material/model_training:",
        )  # fmt: skip
        return
    labels = distinct_labels(runs)
    st.markdown("**Choose a fine-tuned run**: it is compared with the network that it started from.")
    for run in runs[:8]:
        st.button(
            readable(labels[run.run_id], 80), key=f"inside_moved_{run.run_id}", icon=":material/compare_arrows:",
            type="tertiary", on_click=state.remember, args=("run", run.run_id),
        )  # fmt: skip


def _asked(run_id: str) -> Moved:
    """The questions of a run on the data set that it was trained on; raises UserError where there are none."""
    from lib.grading.fine_tuned import moved_stages

    grader = resources.cached_grader(run_id)
    moved_stages(grader)
    about = grader.manifest.get("dataset")
    name = str(about.get("name")) if isinstance(about, dict) else str(about)
    summary = resources.find_summary(name)
    return _questions(run_id, summary.version if summary is not None else "")


@st.cache_resource(max_entries=8, show_spinner=False)
def _questions(run_id: str, present_version: str) -> Moved:
    from lib.grading.fine_tuned import drift_question, own_dataset
    from lib.grading.stage_resets import ResetQuestion
    from lib.tracking import get_run

    grader, label = resources.cached_grader(run_id), get_run(run_id).label
    dataset = own_dataset(grader)
    drift, resets, why = drift_question(grader, dataset, label=label), ResetQuestion(grader, dataset, label), ""
    _ = drift.path
    try:
        _ = resets.path
    except UserError as error:  # all images were seen in training
        return Moved(run_id, drift, None, str(error))
    return Moved(run_id, drift, resets, why)


def _offer(moved: Moved, task: str) -> None:
    number, question = len(moved.drift.dataset.table), moved.drift
    if not background.is_measuring(task):
        st.markdown(
            f"**{plain(question.run.label)}** started from {plain(question.run.source.spec.title)}, "
            f"{plain(question.start_words)}, and trained {plain(count(len(question.trained), 'stage'))} of it."
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Measure what moved", key="inside_moved_measure", icon=":material/straighten:", type="primary",
                on_click=background.start_measurement,
                args=(task, "Comparing the run with its start …", ["drift", "--run", moved.run_id]),
            )  # fmt: skip
            st.caption(
                f"{plain(question.dataset.spec.title)}: {number:,} images once through each of the two networks. "
                "Nothing is trained; what is measured is kept."
            )
    background.watch(task)


# The picture and the reading


def _choose_stage(found: Drift) -> str:
    """The stage that is spoken of: of the link, else the one whose weights moved most."""
    names = [row.stage for row in found.rows]
    wanted = state.current_stage()
    if wanted in names:
        return wanted
    return max(found.rows, key=lambda row: row.weights if row.weights == row.weights else -1.0).stage


def _draw_measured(found: Drift, moved: Moved, stage: str) -> None:
    picture, words = st.columns([2, 1], gap="medium")
    table = moved.table
    with picture:
        figure = drift_figure(found, table, chosen=stage, is_dark=controls.is_dark())
        controls.show_figure(figure, alt=drift_text(found, table), key="inside_moved_figure")
    with words:
        first, *others = sentences(found, table)
        st.markdown("\n\n".join([f"**{plain(first, 600)}**", *(plain(one, 600) for one in others)]))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(plain(method(found), 900), width="stretch")
        controls.download_csv(_as_table(found, table), key=f"moved_{found.run_id[:8]}")
        controls.copy_command(f"python -m lib drift --run {found.run_id[:8]} --reset-stages")


def _as_table(found: Drift, table: ResetTable | None) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for row in found.rows:
        cells: dict[str, object] = {
            "stage": row.stage, "title": row.title, "trained": row.is_trained, "weights": row.weights,
            "normalization": row.normalization, "statistics": row.statistics, "total": row.total,
            "median_channel_correlation": row.median_correlation,
        }  # fmt: skip
        reset = table.find([row.stage]) if table is not None else None
        estimates = {"cka": row.cka, "probe_before": row.probe_before, "probe_after": row.probe_after,
                     "probe_gain": row.gained, "cost_put_back": reset.cost if reset else None}  # fmt: skip
        for name, estimate in estimates.items():
            for end in ("value", "low", "high"):
                cells[f"{name}_{end}"] = getattr(estimate, end) if estimate is not None else None
        rows.append(cells)
    return pd.DataFrame(rows)


# Put back


def _draw_resets(found: Drift, moved: Moved, stage: str) -> None:
    st.markdown("**Put back as it was**: the run's network with stages of its start, evaluated on its test images.")
    if moved.resets is None:
        st.info(plain(moved.why_no_resets, 400), icon=":material/info:")
        return
    question = moved.resets
    trained = list(question.trained)
    key_stage, key_extent = "inside_reset_stage", "inside_reset_extent"
    wanted, _, extent = (state.current("reset") or "").partition(":")
    st.session_state[key_stage] = wanted if wanted in trained else stage if stage in trained else trained[-1]
    st.session_state[key_extent] = extent if extent in _EXTENTS else ALONE

    def keep() -> None:
        state.remember("reset", f"{st.session_state[key_stage]}:{st.session_state[key_extent]}")

    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.select_slider("Stage", trained, key=key_stage, on_change=keep) if len(trained) > 1 else trained[0]
        reach = st.segmented_control(
            "Put back", list(_EXTENTS), format_func=_EXTENTS.__getitem__, key=key_extent, required=True, on_change=keep
        )
    place = trained.index(str(chosen))
    stages = {ALONE: trained[place : place + 1], FROM: trained[place:], UNTIL: trained[: place + 1]}[str(reach)]
    table, task = moved.table, f"resets {question.path.stem}"
    background.show_measurement_failure(task)
    row = table.find(stages) if table is not None else None
    missing = [reset for reset in question.each_in_turn() if table is None or table.find(reset) is None]
    if row is not None and table is not None:
        st.markdown(plain(reset_sentence(table, row), 500))
    if not background.is_measuring(task):
        with st.container(horizontal=True):
            if row is None:
                st.button(
                    f"Evaluate without what training did to {_named(stages)}", icon=":material/undo:", type="primary",
                    key="inside_reset", on_click=_start, args=(question, task, [tuple(stages)]),
                )  # fmt: skip
            if missing:
                st.button(
                    "Put each stage back in turn", icon=":material/table_rows:", key="inside_reset_all",
                    on_click=_start, args=(question, task, question.each_in_turn()),
                )  # fmt: skip
    background.watch(task)
    if table is not None and table.rows:
        with st.expander(f"All that was put back so far ({len(table.rows)})"):
            _draw_reset_table(table)


def _named(stages: list[str]) -> str:
    return stages[0] if len(stages) == 1 else f"{stages[0]} to {stages[-1]}"


def _start(question: "ResetQuestion", task: str, resets: Any) -> None:
    from lib.grading.stage_resets import measure_resets

    background.start(
        task,
        "Evaluating with stages put back …",
        lambda progress: measure_resets(question, resets, progress=progress),
        stopped="Stopped; what was put back and evaluated by then is kept.",
    )


def _draw_reset_table(table: ResetTable) -> None:
    text = table.headline.text
    rows = [
        {
            "Put back": stages_words(table, row.stages), table.headline.word.capitalize(): text(row.score.value),
            "95 %": f"{text(row.score.low)} to {text(row.score.high)}", "Cost": round(row.cost.value, 3),
            "Cost, 95 %": f"{row.cost.low:.3f} to {row.cost.high:.3f}", "p": p_words(row.p_value),
            "Answers changed": row.num_changed,
        }
        for row in table.rows
    ]  # fmt: skip
    controls.show_table(rows, hide_index=True)
    st.caption(
        f"The run itself: {table.headline.word} {text(table.score.value)}, {table.num_images} test images. Cost: the "
        "run's score less this one's on the same images; a p value here is of one row alone."
    )
