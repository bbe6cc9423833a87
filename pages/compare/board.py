"""The table of "Compare runs": which runs are shown, in which columns and order, and which of them are selected.

Runs are selected by their ids: a selection outlives filters, orders and pages, and the link has it. What a person
chooses stands in the link too; columns and order are also kept for the next time.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from lib.board import Board
from lib.board.arranging import KINDS, Filters, arranged, by_study, judged_worth, parse_sort
from lib.board.choices import keep_choice, read_choices
from lib.board.columns import (
    COLUMNS,
    INTERVAL,
    METRIC,
    MOMENT,
    NUMBER,
    SECONDS,
    SHARE,
    SIGNED,
    WHOLE,
    Column,
    choosable,
    default_columns,
    headings,
    parse_columns,
    with_intervals,
)
from lib.csv_text import csv_of_rows
from lib.demo import demo_run_ids
from pages.common import controls, state
from pages.common.text import count, plain, readable

_KNOWN, _TURN = "compare_known", "compare_turn"
# Rows on screen: the table scrolls inside itself, and half a row shows that there are more. With a selection the answer
# below it is on the first screen too.
_MAX_ROWS, _MAX_ROWS_ALONE = 4.5, 12.5
_ROW_PX, _HEAD_PX = 35, 38
_KIND_TITLES = {"dataset": "Data set", "strategy": "Strategy", "backbone": "Backbone", "state": "State", "label": "Tag"}
_FORMATS = {METRIC: "%.3f", SIGNED: "%+.3f", NUMBER: "%.3g", WHOLE: "%,d", SECONDS: "%.1f", SHARE: "percent"}


@dataclass(frozen=True, eq=False)
class Chosen:
    """The rows that are shown, in order, the columns, and among how many runs they were chosen."""

    table: pd.DataFrame
    columns: list[str]
    num_runs: int


@dataclass(frozen=True, eq=False)
class Shown:
    """The ids of the selected runs, those that the table hides last."""

    selected: tuple[str, ...]
    hidden: tuple[str, ...]


def known_runs(board: Board) -> list[str]:
    """The ids of the runs that the link asks for; a shortened id is completed, and one of no run stays as it is."""
    found = []
    for asked in filter(None, (state.current("runs") or "").split(",")):
        fitting = [asked] if board.row_of(asked) is not None else [r for r in board.run_ids if r.startswith(asked)]
        found.append(fitting[0] if len(fitting) == 1 else asked)
    return found


def choose_rows(board: Board, dataset: str | None, linked: Sequence[str]) -> Chosen:
    """Draw what is chosen above the table; returns that."""
    choices = read_choices()
    filters = Filters.parse(state.current("where"), state.current("search"))
    is_study = bool(state.current("studies"))
    with st.container(horizontal=True, vertical_alignment="center", key="board_controls"):
        st.session_state["compare_scope"] = "all" if state.current("scope") == "all" or is_study else "this"
        st.segmented_control(
            "Runs on", ["this", "all"], required=True, key="compare_scope", label_visibility="collapsed",
            format_func={"this": "This data set", "all": "All runs"}.get, disabled=is_study,
            on_change=_remember("scope", "compare_scope", nothing="this"),
        )  # fmt: skip
        st.session_state["board_search"] = filters.search
        st.text_input(
            "Search", key="board_search", label_visibility="collapsed", placeholder="Search", width=170,
            help="Words in name, tags, note, data set, strategy, backbone, recipe or id.",
            on_change=_remember("search", "board_search"),
        )  # fmt: skip
        is_all = st.session_state["compare_scope"] == "all"
        mine = board.table if is_all else board.table[_in_scope(board, dataset, linked)]
        _choose_filters(filters, mine)
        columns = shown_columns(mine, choices)
        _choose_columns(columns, choices, has_recipes=is_study or bool(mine["recipe"].astype(bool).any()))
        shown = mine[filters.matching(mine)]
        hidden = len(mine) - len(shown)
        if filters.is_any:
            st.caption(f"{len(shown):,} of {count(len(mine), 'run')}", width="content")
        elif hidden:
            st.caption(f"{hidden:,} archived", width="content")
    if is_study:
        return Chosen(by_study(arranged(shown)), with_intervals(_of_studies(columns)), len(mine))
    sort = parse_sort(state.current("sort") or choices.get("sort"))
    return Chosen(arranged(shown, sort), with_intervals(columns), len(mine))


def _of_studies(columns: Sequence[str]) -> list[str]:
    """What a study shows comes first."""
    first = ["study", "recipe", "test_accuracy", "published_accuracy", "test_quadratic_weighted_kappa",
             "published_kappa"]  # fmt: skip
    return [*first, *(key for key in columns if key not in first)]


def _in_scope(board: Board, dataset: str | None, linked: Sequence[str]) -> np.ndarray:
    """The runs on the chosen data set, and those that the link asks for by id."""
    table = board.table
    return ((table["dataset"] == (dataset or "")) | table["run_id"].isin(list(linked))).to_numpy()


def _remember(key: str, widget: str, *, nothing: Any = "") -> Callable[[], None]:
    """What a widget says becomes a step of the link; `nothing` is what needs no word there."""

    def remember() -> None:
        value = st.session_state[widget]
        state.remember(key, str(value) if value != nothing else None)

    return remember


def _choose_filters(filters: Filters, table: pd.DataFrame) -> None:
    """A popover with a list of values a kind; only what there is to choose from is offered."""
    # One label for all: with another it would be another popover, which is closed.
    box = st.popover("Filter", icon=":material/filter_list:", key="board_filter", on_change="rerun")
    if not box.open:
        return

    def keep(kind: str) -> None:
        state.remember("where", filters.changed(kind, st.session_state[f"board_filter_{kind}"]).text or None)

    def keep_archived() -> None:
        asked = Filters(**{**vars(filters), "with_archived": st.session_state["board_archived"]})
        state.remember("where", asked.text or None)

    with box:
        for kind in KINDS:
            titles = _values_of(kind, table)
            chosen = getattr(filters, kind)
            titles |= {value: value for value in chosen if value not in titles}
            if len(titles) < (1 if kind == "label" else 2) and not chosen:
                continue  # nothing to choose from
            st.session_state[f"board_filter_{kind}"] = list(chosen)
            st.multiselect(
                _KIND_TITLES[kind], list(titles), format_func=lambda value, titles=titles: readable(titles[value]),
                key=f"board_filter_{kind}", placeholder="any", on_change=keep, args=(kind,),
            )  # fmt: skip
        st.session_state["board_archived"] = filters.with_archived
        number = int(table["is_archived"].sum())
        st.toggle(f"Show archived runs too ({number})", key="board_archived", on_change=keep_archived)
        if filters.num_chosen:
            st.button("Show all", key="board_unfilter", icon=":material/filter_list_off:", on_click=_clear_filters)


def _values_of(kind: str, table: pd.DataFrame) -> dict[str, str]:
    """The values of a kind with what to call them."""
    if kind == "label":
        labels = {one.strip() for text in set(table["labels"]) for one in text.split(",") if one.strip()}
        return {label: label for label in sorted(labels, key=str.casefold)}
    names = table["state" if kind == "state" else f"{kind}_title"]
    pairs = sorted({(str(name), str(value)) for value, name in zip(table[kind], names, strict=True) if value})
    return {value: name for name, value in pairs}


def _clear_filters() -> None:
    state.remember("where", None)
    state.remember("search", None)


def shown_columns(table: pd.DataFrame, choices: dict[str, str]) -> list[str]:
    """The chosen columns: the link's, else those that were kept, else what suits these runs."""
    chosen = parse_columns(state.current("columns")) or parse_columns(choices.get("columns"))
    has_several = table["dataset"].nunique() > 1
    return chosen or default_columns(table, has_several_datasets=has_several)


def _choose_columns(columns: list[str], choices: dict[str, str], *, has_recipes: bool) -> None:
    """A popover for columns, order and the switch to studies."""
    box = st.popover("Columns", icon=":material/view_column:", key="board_columns_box", on_change="rerun")
    sort = state.current("sort") or choices.get("sort", "")
    if not box.open:
        return

    def keep(key: str, value: str | None) -> None:
        state.remember(key, value)
        keep_choice(key, value)

    def forget() -> None:
        keep("columns", None)
        keep("sort", None)

    def keep_columns() -> None:
        keep("columns", ",".join(st.session_state["board_columns"]) or None)

    def keep_sort() -> None:
        key = st.session_state["board_sort"]
        keep("sort", f"{'-' if key and COLUMNS[key].falls else ''}{key}" or None)

    def turn_sort() -> None:
        key = st.session_state["board_sort"]
        keep("sort", f"{'-' if st.session_state['board_falls'] else ''}{key}" if key else None)

    names = {column.key: column.name for column in choosable()}
    with box:
        st.session_state["board_columns"] = columns
        st.multiselect(
            "Columns, in this order", list(names), format_func=names.get, key="board_columns", on_change=keep_columns,
            help="Kept for the next time, and in the link.",
        )  # fmt: skip
        asked = parse_sort(sort)
        st.session_state["board_sort"] = asked[0] if asked else ""
        st.selectbox(
            "Order by", ["", *names], key="board_sort", on_change=keep_sort,
            format_func=lambda key: names.get(key, "the result: test set by test set, the best first"),
        )  # fmt: skip
        if asked:
            st.session_state["board_falls"] = asked[1]
            st.toggle("Largest first", key="board_falls", on_change=turn_sort)
        if has_recipes:
            st.session_state["board_studies"] = bool(state.current("studies"))
            st.toggle(
                "As the studies' own tables", key="board_studies",
                on_change=_remember("studies", "board_studies", nothing=False),
                help="The runs of published experiments, study by study in the order of each, with those that nobody "
                "has repeated here.",
            )  # fmt: skip
        st.button("The usual columns and order", key="board_usual", on_click=forget)


def draw_table(board: Board, rows_chosen: Chosen, linked: Sequence[str], dataset: str | None) -> Shown:
    """Draw the table and return what is selected."""
    table, columns = rows_chosen.table, rows_chosen.columns
    here = [run_id for run_id in linked if board.row_of(run_id) is not None]
    if list(linked) != st.session_state.get(_KNOWN):
        # Chosen from outside: a link, Back, another data set. Only a new table begins with another selection.
        st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
        st.session_state[_KNOWN] = list(linked) or None
    is_untouched = st.session_state[_KNOWN] is None
    run_ids = table["run_id"].tolist()
    chosen = newest_and_best(board, dataset) if is_untouched else here
    visible = set(run_ids)
    hidden = [run_id for run_id in chosen if run_id not in visible]
    rows = [run_ids.index(run_id) for run_id in chosen if run_id in visible]
    # A selection counts rows, so a table with other rows is another one.
    digest = hashlib.sha256(",".join(run_ids).encode()).hexdigest()[:12]
    key = f"compare_table_{digest}_{st.session_state[_TURN]}"

    def keep_selection() -> None:
        """Each change of the selection is a step that Back undoes."""
        own = [run_ids[row] for row in st.session_state[key].selection.rows if row < len(run_ids)]
        st.session_state[_KNOWN] = [*filter(None, own), *hidden]
        state.remember("runs", ",".join(st.session_state[_KNOWN]) or None)

    shown = table[columns].assign(**({"state": table["state_text"]} if "state" in columns else {}))
    rows_on_screen = min(len(table), _MAX_ROWS if chosen else _MAX_ROWS_ALONE)
    event = controls.show_table(
        shown, key=key, on_select=keep_selection, selection_mode="multi-row",
        selection_default={"selection": {"rows": rows}}, hide_index=True, placeholder="–",
        height=round(_HEAD_PX + _ROW_PX * max(rows_on_screen, 1)), row_height=_ROW_PX, column_order=columns,
        column_config={name: _config(COLUMNS[name]) for name in columns},
        alt="Runs with what they reached, their 95 % intervals, training time and state",
    )  # fmt: skip
    own = [run_ids[row] for row in event.selection.rows if row < len(run_ids) and run_ids[row]]
    selected = [*own, *hidden]
    st.session_state[_KNOWN] = selected
    state.settle_runs(selected)
    # The pictures stand in the order of the table, whatever the order of the clicks.
    return Shown((*sorted(own, key=run_ids.index), *hidden), tuple(hidden))


def _config(column: Column) -> Any:
    """How a column is drawn."""
    asked: dict[str, Any] = {"label": column.title, "width": column.width, "help": column.help}
    if column.kind == MOMENT:
        return st.column_config.DatetimeColumn(format="MMM D, HH:mm", **asked)
    if column.kind in _FORMATS:
        return st.column_config.NumberColumn(format=_FORMATS[column.kind], **asked)
    return st.column_config.TextColumn(**asked, alignment="right" if column.kind == INTERVAL else None)


def newest_and_best(board: Board, dataset: str | None) -> list[str]:
    """What is ticked before anybody has chosen: the demo is one story and opens whole, else the newest and the best."""
    table = board.table
    finished = table[(table["state"] == "finished") & (table["dataset"] == (dataset or "")) & ~table["is_archived"]]
    story = [run_id for run_id in demo_run_ids() if run_id in set(finished["run_id"])]
    if not len(finished) or finished["run_id"].iloc[0] in story:
        return story or finished["run_id"].tolist()[:1]
    newest = finished.iloc[0]
    same = finished[(finished["test_set"] == newest["test_set"]) & (finished["headline"] == newest["headline"])]
    worth, _ = judged_worth(same)
    order = np.argsort(-np.nan_to_num(worth, nan=-np.inf), kind="stable")
    beside = [run_id for run_id in same["run_id"].to_numpy()[order] if run_id != newest["run_id"]]
    return [newest["run_id"], *beside[:1]] if newest["test_set"] else [newest["run_id"]]


def forget_selection() -> None:
    """Nothing is selected any more, as after a deletion."""
    state.settle_runs([])
    st.session_state[_KNOWN] = []


def download(chosen: Chosen) -> None:
    """The table as CSV: the columns on screen, and the id of each run."""

    def text() -> str:
        names = headings(chosen.columns)
        rows = chosen.table[["run_id", *chosen.columns]].itertuples(index=False, name=None)
        return csv_of_rows(["run_id", *(names[key] for key in chosen.columns)], rows)

    st.download_button(
        "CSV", text, file_name="transferscope_runs.csv", mime="text/csv", key="runs_csv", icon=":material/download:",
        type="tertiary", on_click="ignore", help="The table as it stands, with the runs' ids.",
    )  # fmt: skip


def say_hidden(shown: Shown, board: Board) -> None:
    """That selected runs are not in the table, why, and how to see them."""
    if not shown.hidden:
        return
    rows = [row for run_id in shown.hidden if (row := board.row_of(run_id)) is not None]
    archived = int(board.table["is_archived"].iloc[rows].sum())
    why = "archived" if archived == len(rows) else "not in the table as it is chosen"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{count(len(rows), 'selected run')} {'is' if len(rows) == 1 else 'are'} {plain(why)}.")
        st.button("Show", key="board_show_hidden", type="tertiary", on_click=_show_hidden, args=(archived > 0,))


def _show_hidden(with_archived: bool) -> None:  # noqa: FBT001
    state.remember("where", Filters(with_archived=with_archived).text or None)
    state.remember("search", None)
    state.remember("studies", None)
    state.remember("scope", "all")
