"""Compare runs: which training was better, by how much, and is the difference more than chance?"""

import hashlib
from collections.abc import Sequence

import streamlit as st

from lib.demo import demo_run_ids
from lib.tracking import RunRecord, delete_run, restore_run, split_caveats
from pages.common import clicks, controls, resources, results, seeds_panel, state
from pages.common.errors import end_page, show_errors
from pages.common.frame import ensure_frame
from pages.common.results import columns_of, distinct_labels, full_run_id, ranked, recorded_words, results_table
from pages.common.text import count, plain
from pages.compare.scene import Scene
from pages.compare.verdict import show_versions
from pages.compare.views import VIEWS, ViewSpec, find_view

ensure_frame(__file__)

controls.page_header("Compare runs", "Which training was better, by how much, and is the difference more than chance?")
controls.show_undo("runs")
controls.show_kept_error("compare")

_KNOWN, _TURN = "compare_known", "compare_turn"
MAX_SHOWN = 20  # with more runs, no picture can be read


def newest_and_best(runs: Sequence[RunRecord]) -> list[str]:
    """What is ticked before anybody has chosen: the demo is one story and opens whole, else the newest and the best."""
    finished = [run.run_id for run in runs if run.state == "finished"]
    story = [run_id for run_id in demo_run_ids() if run_id in finished]
    if not finished or finished[0] in story:
        return story or finished[:1]
    newest = next(run for run in runs if run.run_id == finished[0])
    dataset_name = str(newest.config.get("dataset"))
    beside = resources.best_beside(newest.run_id, dataset_name, number=1)
    if not beside and (best := resources.best_result(dataset_name)) is not None:
        beside = [best.run_id] if best.run_id in finished and best.run_id != newest.run_id else []
    return [newest.run_id, *beside]


def _draw_tabs(view: ViewSpec) -> None:
    """The views side by side; only the chosen one is computed."""
    titles = {one.name: one.title for one in VIEWS}
    st.session_state["compare_view"] = view.name
    st.segmented_control(
        "View", list(titles), format_func=titles.get, key="compare_view", required=True, label_visibility="collapsed",
        on_change=lambda: state.remember("tab", st.session_state["compare_view"]),
    )  # fmt: skip


dataset = state.current_dataset()
scope = st.segmented_control(
    "Runs on", ["this", "all"], default="this", required=True, key="compare_scope", persist_state="session",
    label_visibility="collapsed",
    format_func={"this": "Runs on this data set", "all": "All runs"}.get,
)  # fmt: skip
all_runs = resources.run_records()
linked = [full_run_id(run, all_runs) for run in (state.current("runs") or "").split(",") if run]
runs = [run for run in all_runs if scope == "all" or run.config.get("dataset") == dataset or run.run_id in linked]
if not runs and dataset is not None and resources.find_summary(dataset) is None:
    controls.say_gone(dataset)
    end_page()
if not runs:
    others = f" There are {count(len(all_runs), 'run')} on other data sets." if all_runs else ""
    controls.empty_state(
        f"Nothing has been trained on {plain(dataset or 'a data set')} yet.{others} A linear probe takes seconds.",
        button="Train a model", page="train_model", icon=":material/model_training:",
    )  # fmt: skip
    end_page()

newest_first, runs = runs, ranked(runs)
# The table is the hero. Its key changes with its rows, since a selection counts rows; the link keeps the run ids.
labels = distinct_labels(runs)
run_ids = [run.run_id for run in runs]
if gone := [run for run in linked if run not in labels]:
    names = ", ".join(plain(run[:12]) for run in gone[:5])
    st.warning(
        f"{count(len(gone), 'run')} of the link {'is' if len(gone) == 1 else 'are'} not here (any more): {names}."
    )
if linked != st.session_state.get(_KNOWN):
    # Chosen from outside: a link, Back, another data set. Only a new table begins with another selection.
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
    st.session_state[_KNOWN] = linked or None
is_untouched = st.session_state[_KNOWN] is None
chosen = newest_and_best(newest_first) if is_untouched else [run for run in linked if run in labels]
table_key = f"compare_table_{hashlib.sha256(','.join(run_ids).encode()).hexdigest()[:12]}_{st.session_state[_TURN]}"


def keep_selection() -> None:
    """Each change of the selection is a step that Back undoes."""
    rows = st.session_state[table_key].selection.rows
    st.session_state[_KNOWN] = [run_ids[row] for row in rows if row < len(run_ids)]
    state.remember("runs", ",".join(st.session_state[_KNOWN]) or None)


def delete_selected(deleted: list[str]) -> None:
    """Move runs to the trash, all that can be; nothing is selected afterwards."""
    if clicks.is_repeat(f"delete {','.join(deleted)}"):
        return
    done: list[str] = []
    with controls.keep_error("compare", "delete the runs"):
        for run_id in deleted:
            delete_run(run_id)
            done.append(run_id)
    resources.forget_results()

    def bring_back() -> None:
        for run_id in done:
            restore_run(run_id)
        resources.forget_results()
        state.settle_runs(done)

    if done:
        state.settle_runs([])
        st.session_state[_KNOWN] = []
        controls.offer_undo("runs", labels[done[0]] if len(done) == 1 else count(len(done), "run"), bring_back)


table = results_table(runs)
has_published = bool(table["recipe"].astype(bool).any())
event = controls.show_table(
    table,
    key=table_key,
    on_select=keep_selection,
    selection_mode="multi-row",
    selection_default={"selection": {"rows": [run_ids.index(run_id) for run_id in chosen]}},
    hide_index=True,
    placeholder="–",
    alt="Runs with test accuracy and kappa, their intervals, training time and state",
    column_order=(
        *(["own_name"] if table["own_name"].astype(bool).any() else []), *(["recipe"] if has_published else []),
        "strategy_title", "backbone_title",
        *(["dataset"] if scope == "all" else []),
        *columns_of(runs, has_published=has_published), "seconds_total", "state", "created",
    ),
    column_config={
        **results.style_columns(),
        "own_name": st.column_config.TextColumn("Name", width=150, help="As somebody called it."),
        "recipe": st.column_config.TextColumn("Recipe", width=150, help="The published experiment it repeats."),
        "strategy_title": st.column_config.TextColumn("Strategy", width=177),
        "backbone_title": st.column_config.TextColumn("Backbone", width=72),
        "dataset": st.column_config.TextColumn("Data set", width=110),
        "test_accuracy": st.column_config.NumberColumn(
            "Accuracy", width=68, format="%.3f", help="Share of test images put into the right class."
        ),
        "test_accuracy_interval": st.column_config.TextColumn(
            "95 % interval", width=102, help="Wilson's interval: where the accuracy on very many such images would lie."
        ),
        "test_baseline_accuracy": st.column_config.NumberColumn(
            "Commonest", width=78, format="%.3f",
            help="Accuracy on the same test images of always answering their commonest class; its kappa is 0.",
        ),
        "test_referable_auroc": st.column_config.NumberColumn(
            "Referable", width=68, format="%.3f",
            help="Area under the ROC curve of moderate and above against the rest, for five ordered grades.",
        ),
        "test_quadratic_weighted_kappa": st.column_config.NumberColumn(
            "Kappa", width=54, format="%.3f",
            help="Quadratic weighted kappa: agreement beyond chance, far misses count more.",
        ),
        "test_quadratic_weighted_kappa_interval": st.column_config.TextColumn(
            "95 % interval", width=102, help="By bootstrap."
        ),
        "seconds_total": st.column_config.NumberColumn(
            "Seconds", width=62, format="%.1f", help="From start to result."
        ),
        "state": st.column_config.TextColumn("State", width=60),
        "created": st.column_config.DatetimeColumn("Started", format="MMM D, HH:mm", width=92),
    },
)  # fmt: skip
selected = [runs[row] for row in event.selection.rows if row < len(runs)]
st.session_state[_KNOWN] = [run.run_id for run in selected]
state.settle_runs(st.session_state[_KNOWN])
if not selected:
    st.markdown("Select runs in the table to see them side by side.")
    controls.download_csv(table, key="runs", label="Table as CSV")
    end_page()

with st.container(horizontal=True, vertical_alignment="center"):
    st.markdown(f"**{count(len(selected), 'run')} selected**", width="content")
    controls.download_csv(table, key="runs", label="Table as CSV")
    if len(selected) == 1 and selected[0].state == "finished":
        controls.link_to("look_inside", "Look inside", icon=":material/layers:", run=selected[0].run_id)
        controls.link_to("grade_images", "Grade images with it", icon=":material/fact_check:", run=selected[0].run_id)
    if len(selected) == 1:
        controls.link_to("train_model", "Open in Train", icon=":material/model_training:", run=selected[0].run_id)
    st.space("stretch")
    # Apart from what is taken away. The key has the runs: the second click of a double click must not meet a button for
    # others.
    st.button(
        f"Delete {count(len(selected), 'run')}", icon=":material/delete:", type="tertiary",
        key=f"compare_delete_{hashlib.sha256(','.join(run.run_id for run in selected).encode()).hexdigest()[:12]}",
        on_click=delete_selected, args=([run.run_id for run in selected],),
    )  # fmt: skip

shown = selected[:MAX_SHOWN]
if len(selected) > len(shown):
    st.caption(f"Pictures and comparisons are of the first {len(shown)} of them.")
with show_errors("show the versions"):
    show_versions(shown)
if words := recorded_words(shown):
    st.caption(plain(words, 600))
for caveat in split_caveats(shown):
    st.warning(plain(caveat, 300), icon=":material/group_off:")
with show_errors("show the seeds"):
    seeds_panel.show_selected_groups(shown)
view = find_view(state.current("tab"))
_draw_tabs(view)
with show_errors(f"show {view.title}"):
    view.draw(Scene.of(shown))
