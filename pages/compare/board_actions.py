"""What can be done with the selected runs: name, tag, note, pin, archive, delete, all with undo; and what differs."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from lib.board.arranging import differences
from lib.tracking import RunRecord, delete_run, rename_run, restore_run
from lib.tracking.marks import Marks, archive_run, label_run, note_run, pin_run
from pages.common import clicks, controls, resources, state
from pages.common.results import short_labels
from pages.common.text import count, plain, readable
from pages.compare.board import forget_selection


def draw(runs: Sequence[RunRecord]) -> None:
    """The buttons, in a row that the caller has begun."""
    marks = [Marks.of(run.tags) for run in runs]
    run_ids = [run.run_id for run in runs]
    if len(runs) > 1:
        _draw_differences(runs)
    _draw_words(runs, marks)
    is_pinned = all(mark.is_pinned for mark in marks)
    st.button(
        "Unpin" if is_pinned else "Pin", icon=":material/keep_off:" if is_pinned else ":material/keep:",
        type="tertiary", key=_key("pin", run_ids), on_click=_pin, args=(run_ids, not is_pinned),
        help="Pinned runs stay on top.",
    )  # fmt: skip
    is_archived = all(mark.is_archived for mark in marks)
    st.button(
        "Bring back" if is_archived else "Archive",
        icon=":material/unarchive:" if is_archived else ":material/archive:", type="tertiary",
        key=_key("archive", run_ids), on_click=_archive, args=(run_ids, _names(runs), not is_archived),
        help="Archived runs are kept, and shown to those who ask for them.",
    )  # fmt: skip
    # The key has the runs: the second click of a double click must not meet a button for others.
    st.button(
        f"Delete {count(len(runs), 'run')}", icon=":material/delete:", type="tertiary", key=_key("delete", run_ids),
        on_click=_delete, args=(run_ids, _names(runs)),
    )  # fmt: skip


def _key(action: str, run_ids: Sequence[str]) -> str:
    return f"compare_{action}_{hashlib.sha256(','.join(run_ids).encode()).hexdigest()[:12]}"


def _names(runs: Sequence[RunRecord]) -> str:
    return runs[0].label if len(runs) == 1 else count(len(runs), "run")


def _draw_differences(runs: Sequence[RunRecord]) -> None:
    box = st.popover("Differences", icon=":material/difference:", type="tertiary", key="board_differences",
                     on_change="rerun", width="content")  # fmt: skip
    if not box.open:
        return
    labels = short_labels(runs)
    table = differences({readable(labels[run.run_id], 40): run.config for run in runs})
    with box:
        if not len(table):
            st.markdown("The settings of these runs are the same in everything.")
            return
        st.markdown(f"{count(len(table), 'setting')} of {len(runs)} runs {'differs' if len(table) == 1 else 'differ'}.")
        controls.show_table(table, hide_index=True, key="board_differences_table", width=560,
                            column_config={"setting": st.column_config.TextColumn("Setting", pinned=True)})  # fmt: skip
        controls.download_csv(table, key="settings_that_differ")


def _draw_words(runs: Sequence[RunRecord], marks: Sequence[Marks]) -> None:
    """A form for name, tags and note; of several runs tags alone, which are added to those that each has."""
    box = st.popover("Name, tags, note" if len(runs) == 1 else "Tags", icon=":material/edit:", type="tertiary",
                     key="board_words", on_change="rerun")  # fmt: skip
    if not box.open:
        return
    common = [label for label in marks[0].labels if all(label in mark.labels for mark in marks)]
    with box, st.form(_key("words_form", [run.run_id for run in runs]), border=False):
        fields: dict[str, Any] = {}
        if len(runs) == 1:
            fields["name"] = st.text_input("Name", runs[0].label, max_chars=200, key=f"board_name_{runs[0].short_id}")
        fields["labels"] = st.text_input(
            "Tags", ", ".join(common), placeholder="paper, to repeat",
            key=_key("labels", [run.run_id for run in runs]),
            help="Words between commas. They are tags of MLflow too.",
        )  # fmt: skip
        if len(runs) == 1:
            fields["note"] = st.text_area("Note", marks[0].note, max_chars=2000, key=f"board_note_{runs[0].short_id}")
        if st.form_submit_button("Keep", type="primary"):
            _keep_words(runs, marks, common, fields)


def _keep_words(
    runs: Sequence[RunRecord], marks: Sequence[Marks], common: Sequence[str], fields: dict[str, Any]
) -> None:
    wanted = [word for word in (one.strip() for one in fields["labels"].split(",")) if word]
    with controls.keep_error("compare", "keep what was written"):
        if len(runs) == 1 and fields["name"].strip() != runs[0].label:
            rename_run(runs[0].run_id, fields["name"])
        if len(runs) == 1 and fields["note"].strip() != marks[0].note:
            note_run(runs[0].run_id, fields["note"])
        for run, mark in zip(runs, marks, strict=True):
            gone = [label for label in common if label not in wanted]
            if gone or any(label not in mark.labels for label in wanted):
                label_run(run.run_id, add=wanted, remove=gone)
    resources.forget_results()
    st.rerun()


def _pin(run_ids: Sequence[str], is_pinned: bool) -> None:  # noqa: FBT001
    with controls.keep_error("compare", "pin the runs"):
        for run_id in run_ids:
            pin_run(run_id, is_pinned=is_pinned)
    resources.forget_results()


def _archive(run_ids: Sequence[str], names: str, is_archived: bool) -> None:  # noqa: FBT001
    done = _each(run_ids, "archive the runs", lambda run_id: archive_run(run_id, is_archived=is_archived))
    if done:
        if is_archived:
            forget_selection()
        word = "Archived" if is_archived else "Brought back"
        _offer_undo(done, names, lambda run_id: archive_run(run_id, is_archived=not is_archived), word)


def _delete(run_ids: Sequence[str], names: str) -> None:
    """Move runs to the trash, all that can be; nothing is selected afterwards."""
    if clicks.is_repeat(f"delete {','.join(run_ids)}"):
        return
    done = _each(run_ids, "delete the runs", delete_run)
    if done:
        forget_selection()
        _offer_undo(done, names, restore_run, "Deleted")


def _each(run_ids: Sequence[str], what: str, act: Callable[[str], Any]) -> list[str]:
    """Do it with each run until one refuses; returns those that are done."""
    done: list[str] = []
    with controls.keep_error("compare", what):
        for run_id in run_ids:
            act(run_id)
            done.append(run_id)
    resources.forget_results()
    return done


def _offer_undo(done: Sequence[str], names: str, take_back: Callable[[str], Any], word: str) -> None:
    def undo() -> None:
        with controls.keep_error("compare", "take it back"):
            for run_id in done:
                take_back(run_id)
        resources.forget_results()
        state.settle_runs(done)

    controls.offer_undo("runs", names if len(done) == 1 else count(len(done), "run"), undo, word)


def say_selected(number: int) -> None:
    """How many runs are selected."""
    st.markdown(f"**{plain(count(number, 'run'))} selected**", width="content")
