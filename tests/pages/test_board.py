"""The table of "Compare runs": each action by itself, and actions that meet."""

import pytest
import streamlit as st

from lib.board.choices import read_choices
from lib.settings import runs_dir
from lib.tracking import create_run, delete_run, get_run, list_runs, rename_run
from lib.tracking.marks import Marks, archive_run, label_run, note_run, pin_run
from lib.tracking.summary_table import SUMMARY_TABLE_FILE
from pages.common import clicks, resources
from tests.pages.scene import link, make_dataset, make_run, open_page, words

STRATEGIES = ("linear_probe", "from_scratch", "nearest_neighbors")


@pytest.fixture
def made(monkeypatch):
    """Three runs, the first the best; a click that comes soon after another is one of its own here."""
    monkeypatch.setattr(clicks, "DOUBLE_CLICK_S", 0.0)
    make_dataset()
    return [make_run(strategy, num_wrong=number) for number, strategy in enumerate(STRATEGIES)]


def open_board(**view):
    return open_page("compare_runs", **view)


def strategies(at):
    return at.dataframe[0].value["strategy_title"].tolist()


def button(at, label):
    return next(one for one in at.button if one.label.startswith(label))


def open_box(at, key):
    """Open a popover, which draws its content only then."""
    at.session_state[key] = True
    return at.run()


def test_search_and_filter_narrow_the_table_and_the_selection_stays(made):
    at = open_board(runs=",".join(made))
    assert "3 runs selected" in words(at)
    at.text_input(key="board_search").set_value("scratch").run()
    assert strategies(at) == ["From scratch"]
    assert "3 runs selected" in words(at)
    assert "2 selected runs are not in the table as it is chosen" in words(at)
    assert link(at, "runs").split(",")[0] == made[1]  # those on screen come first
    assert set(link(at, "runs").split(",")) == set(made)
    assert link(at, "search") == "scratch"
    button(at, "Show").click().run()
    assert len(strategies(at)) == 3
    assert set(link(at, "runs").split(",")) == set(made)
    at = open_board(runs=made[0], where="strategy=nearest_neighbors&state=finished")
    assert strategies(at) == ["Nearest neighbours"]
    assert "1 selected run is not in the table as it is chosen" in words(at)
    at = open_board(search="nothing is called so")
    assert len(at.dataframe[0].value) == 0
    assert not at.exception


def test_filters_are_chosen_in_their_box(made):
    label_run(made[2], add=["paper"])
    at = open_box(open_board(), "board_filter")
    assert "board_filter_dataset" not in at.session_state  # there is one only
    at.multiselect(key="board_filter_label").set_value(["paper"]).run()
    assert strategies(at) == ["Nearest neighbours"]
    assert link(at, "where") == "label=paper"
    at.multiselect(key="board_filter_strategy").set_value(["linear_probe"]).run()
    assert strategies(at) == []
    button(at, "Show all").click().run()
    assert len(strategies(at)) == 3


def test_columns_and_order_are_chosen_kept_and_in_the_link(made):
    at = open_box(open_board(), "board_columns_box")
    at.multiselect(key="board_columns").set_value(["strategy_title", "test_log_loss", "note"]).run()
    assert list(at.dataframe[0].value.columns) == ["strategy_title", "test_log_loss", "test_log_loss_interval", "note"]
    at.selectbox(key="board_sort").set_value("seconds_total").run()
    at.selectbox(key="board_sort").set_value("test_accuracy").run()
    assert strategies(at)[0] == "Linear probe"  # the largest first
    at.toggle(key="board_falls").set_value(False).run()
    assert strategies(at)[0] == "Nearest neighbours"
    assert (link(at, "columns"), link(at, "sort")) == ("strategy_title,test_log_loss,note", "test_accuracy")
    again = open_board()  # another session
    assert list(again.dataframe[0].value.columns)[1] == "test_log_loss"
    assert strategies(again)[0] == "Nearest neighbours"
    linked = open_board(columns="strategy_title,state", sort="-test_accuracy")
    assert list(linked.dataframe[0].value.columns) == ["strategy_title", "state"]
    assert strategies(linked)[0] == "Linear probe"
    assert read_choices()["sort"] == "test_accuracy"  # a link is nobody's choice
    button(open_box(again, "board_columns_box"), "The usual").click().run()
    assert read_choices() == {}
    assert "seconds_total" in again.dataframe[0].value
    assert not again.exception


@pytest.mark.slow
def test_a_run_gets_a_name_tags_and_a_note(made):
    at = open_box(open_board(runs=made[0]), "board_words")
    at.text_input(key=f"board_name_{made[0][:8]}").set_value("My *best*")
    next(one for one in at.text_input if one.label == "Tags").set_value("paper, to repeat,")
    at.text_area(key=f"board_note_{made[0][:8]}").set_value("looks =2+2 at vessels")
    button(at, "Keep").click().run()
    assert not at.exception
    run = get_run(made[0])
    assert (run.label, Marks.of(run.tags).labels) == ("My *best*", ("paper", "to repeat"))
    table = at.dataframe[0].value
    assert (table["own_name"][0], table["labels"][0]) == ("My *best*", "paper, to repeat")
    assert link(at, "runs") == made[0]
    at = open_box(open_board(runs=made[0]), "board_words")
    next(one for one in at.text_input if one.label == "Tags").set_value("to repeat")
    button(at, "Keep").click().run()
    assert Marks.of(get_run(made[0]).tags).labels == ("to repeat",)


@pytest.mark.slow
def test_tags_of_several_runs_are_added_to_what_each_has(made):
    label_run(made[0], add=["own"])
    at = open_box(open_board(runs=",".join(made[:2])), "board_words")
    next(one for one in at.text_input if one.label == "Tags").set_value("both")
    button(at, "Keep").click().run()
    assert [Marks.of(get_run(run_id).tags).labels for run_id in made] == [("both", "own"), ("both",), ()]


def test_an_unusable_tag_is_one_sentence(made):
    at = open_box(open_board(runs=made[0]), "board_words")
    next(one for one in at.text_input if one.label == "Tags").set_value("x" * 60)
    button(at, "Keep").click().run()
    assert "A tag is 1 to 40 letters" in at.error[0].value
    assert not at.exception


@pytest.mark.slow
def test_a_pinned_run_stays_on_top(made):
    at = open_board(runs=made[2])
    button(at, "Pin").click().run()
    assert strategies(at)[0] == "Nearest neighbours"
    assert link(at, "runs") == made[2]
    assert strategies(open_board(sort="-test_accuracy"))[0] == "Nearest neighbours"
    button(at, "Unpin").click().run()
    assert strategies(at)[0] == "Linear probe"


def test_archive_with_undo_and_an_archived_run_in_a_link(made):
    at = open_board(runs=made[0])
    button(at, "Archive").click().run()
    assert "Linear probe" not in strategies(at)
    assert "Archived Linear probe" in words(at)
    assert not [one for one in at.button if one.label.startswith("Delete ")]
    at.button(key="undo_runs_button").click().run()
    assert "Linear probe" in strategies(at)
    assert link(at, "runs") == made[0]
    archive_run(made[0])
    resources.forget_results()
    at = open_board(runs=made[0])
    assert "Linear probe" not in strategies(at)
    assert "1 selected run is archived" in words(at)
    assert "1 run selected" in words(at)
    button(at, "Show").click().run()
    assert "Linear probe" in strategies(at)
    button(at, "Bring back").click().run()
    assert not Marks.of(get_run(made[0]).tags).is_archived


def test_where_all_runs_are_archived_the_board_says_how_many(made):
    for run_id in made:
        archive_run(run_id)
    at = open_board()
    assert strategies(at) == []
    assert "3 archived" in words(at)
    assert "Nothing has been trained" not in words(at)


def test_filter_selection_deletion_and_undo_meet(made):
    at = open_board(runs=",".join(made[:2]), where="strategy=linear_probe")
    assert strategies(at) == ["Linear probe"]
    button(at, "Delete 2 runs").click().run()  # the hidden one too, as the button says
    assert [run.run_id for run in list_runs()] == [made[2]]
    assert link(at, "runs") == ""
    assert "Deleted 2 runs" in words(at)
    assert strategies(at) == []
    at.button(key="undo_runs_button").click().run()
    assert len(list_runs()) == 3
    assert strategies(at) == ["Linear probe"]
    assert set(link(at, "runs").split(",")) == set(made[:2])


def test_a_run_deleted_elsewhere_is_gone_from_table_and_selection(made):
    at = open_board(runs=",".join(made[:2]))
    delete_run(made[1])
    resources.forget_results()
    at.run()
    assert "From scratch" not in strategies(at)
    assert "1 run selected" in words(at)
    assert "1 run of the link" in at.warning[0].value
    assert not at.exception


def test_a_run_that_is_deleted_under_ones_hands_is_one_sentence(made):
    at = open_board(runs=made[0])
    found = button(at, "Delete")
    delete_run(made[0])
    found.click().run()
    assert "There is no run" in at.error[0].value
    assert not at.exception


def test_a_run_is_renamed_while_it_runs_and_cannot_be_deleted(made):
    run = create_run({"dataset": "tiny", "backbone": "resnet18", "strategy": "from_scratch", "epochs": 9})
    run.set_state("running")
    run.heartbeat(phase="Training", done=10, total=40, epoch=2, epochs=9)
    at = open_box(open_board(runs=run.run_id, columns="own_name,epochs,state"), "board_words")
    at.text_input(key=f"board_name_{run.run_id[:8]}").set_value("Slow one")
    button(at, "Keep").click().run()
    assert get_run(run.run_id).label == "Slow one"
    row = at.dataframe[0].value.iloc[0]
    assert (row["own_name"], row["epochs"]) == ("Slow one", 2)
    assert "25 %" in row["state"]
    button(at, "Delete").click().run()
    assert "stop it first" in at.error[0].value
    assert {one.run_id for one in list_runs()} == {*made, run.run_id}


def test_the_run_at_work_counts_its_epochs_above_the_table(made, monkeypatch):
    run = create_run({"dataset": "tiny", "backbone": "resnet18", "strategy": "from_scratch", "epochs": 9}, name="Slow")
    run.set_state("running")
    run.heartbeat(phase="Training", done=10, total=40, epoch=2, epochs=9)
    from lib.jobs import queue

    queue.enqueue(run.run_id)
    at = open_board(runs=made[0])
    assert "Slow**: Training …, epoch 2 of 9" in words(at).replace("\\", "")
    assert link(at, "runs") == made[0]
    run.finish("finished")
    queue.release(run.run_id)
    at.run()
    assert "epoch 2 of 9" not in words(at)
    assert link(at, "runs") == made[0]


def test_what_differs_between_settings(made):
    at = open_box(open_board(runs=",".join(made[:2])), "board_differences")
    table = next(frame.value for frame in at.dataframe if "setting" in frame.value)
    assert table["setting"].tolist() == ["strategy"]
    assert table.iloc[0].tolist()[1:] == ["linear_probe", "from_scratch"]
    assert "1 setting of 2 runs differs" in words(at)
    assert not at.error


def test_studies_show_their_rows_beside_what_was_published(made):
    run = create_run({"dataset": "tiny", "backbone": "vgg16", "strategy": "linear_probe", "recipe": "vgg16-dr-lr"})
    run.log_summary({"test_accuracy": 0.5, "num_test": 4, "headline": "accuracy"})
    run.finish("finished")
    at = open_board(studies="True", runs=f"{run.run_id},{made[0]}")
    table = at.dataframe[0].value
    assert table["recipe"].tolist()[0].startswith("vgg16-dr")
    row = table[table["recipe"] == "vgg16-dr-lr"].iloc[0]
    assert (row["test_accuracy"], row["published_accuracy"]) == (0.5, 0.36333)
    assert table["state"].tolist().count("not repeated here") == len(table) - 1
    assert "2 runs selected" in words(at)
    assert "1 selected run is not in the table" in words(at)
    at = open_board(studies="True", search="nothing")
    assert len(at.dataframe[0].value) == 0
    assert not at.exception


def test_a_damaged_table_of_summaries_is_no_matter(made):
    at = open_board()
    (runs_dir() / SUMMARY_TABLE_FILE).write_bytes(b"no database" * 500)
    resources.forget_results()
    at.run()
    assert len(strategies(at)) == 3
    assert not at.error
    assert not at.exception


def test_a_home_that_cannot_be_written_to_shows_the_runs_and_says_so_of_changes(made, monkeypatch):
    at = open_board(runs=made[0])

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("lib.board.choices.write_json", refuse)
    monkeypatch.setattr("pages.compare.board_actions.pin_run", refuse)
    open_box(at, "board_columns_box")
    at.multiselect(key="board_columns").set_value(["strategy_title", "state"]).run()
    assert list(at.dataframe[0].value.columns) == ["strategy_title", "state"]  # the link has it
    button(at, "Pin").click().run()
    assert len(at.error) == 1
    assert not at.exception


def test_runs_of_a_data_set_that_is_gone_are_among_all_runs(made):
    from lib.data.library import delete_dataset

    delete_dataset("tiny")
    resources.forget_results()
    st.cache_resource.clear()
    at = open_board(dataset="tiny", scope="all")
    assert len(strategies(at)) == 3
    assert not at.exception


def test_figures_that_lack_are_worked_out_in_the_background(made, monkeypatch):
    from pages.common import background

    monkeypatch.setattr("lib.board.reading.AT_ONCE_S", 0.0)
    monkeypatch.setattr("lib.board.read_board.__kwdefaults__", {"at_once_s": 0.0}, raising=False)
    started = []
    monkeypatch.setattr(background, "start", lambda *arguments: started.append(arguments))
    at = open_board()
    assert len(started) >= 1
    assert started[0][2](lambda *_: None) == 3
    assert not at.exception


def test_a_name_with_markup_stays_a_name(made):
    rename_run(made[0], "<b>:red[x]</b> $x$ =cmd()")
    note_run(made[0], "=1+1")
    pin_run(made[0])
    resources.forget_results()
    at = open_board(runs=made[0], columns="own_name,note")
    assert not at.error
    assert at.dataframe[0].value.iloc[0].tolist() == ["<b>:red[x]</b> $x$ =cmd()", "'=1+1"]
    assert not at.exception
