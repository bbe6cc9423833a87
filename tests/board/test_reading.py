"""All runs as a table: from the store and the summaries, whatever became of either."""

import sqlite3

import pandas as pd
import pytest

from lib import tracking
from lib.board import read_board, reading, summarise_pending
from lib.data.library import delete_dataset, restore_dataset
from lib.evaluation.intervals import Interval
from lib.grading.external import ExternalResult, ExternalScore, store_external
from lib.settings import runs_dir
from lib.tracking import create_run, delete_run, get_run, rename_run, restore_run
from lib.tracking.marks import archive_run, label_run, note_run, pin_run
from lib.tracking.state import PREDICTIONS_FILE
from lib.tracking.store import repair_store
from lib.tracking.summary_table import SUMMARY_TABLE_FILE
from tests.generated_runs import GRADES, make_generated_runs


@pytest.fixture
def summarised(monkeypatch):
    """The ids of the runs that were worked out, in order."""
    asked = []
    work = reading.summarise_run
    monkeypatch.setattr(reading, "summarise_run", lambda run: asked.append(run.run_id) or work(run))
    return asked


def row_of(run_id, **options):
    board = read_board(**options)
    return board.table.iloc[board.row_of(run_id)]


def test_no_store_and_no_runs():
    board = read_board()
    assert len(board.table) == 0
    assert board.row_of("0" * 32) is None


def test_rows_are_worked_out_once(summarised):
    made = make_generated_runs(3)
    board = read_board(at_once_s=60)
    assert board.run_ids == tuple(made[::-1])  # newest first
    assert board.pending == ()
    assert sorted(summarised) == sorted(made)
    again = read_board()
    assert len(summarised) == 3
    assert again.table.equals(board.table)
    row = again.table.iloc[again.row_of(made[0])]
    assert row["test_accuracy_interval"] == f"{row['test_accuracy_low']:.3f} to {row['test_accuracy_high']:.3f}"
    assert (row["strategy_title"], row["seeds"]) == ("Linear probe", "0 of 3")
    assert row["dataset_title"] == "Generated, 5 grades"
    assert 0 < row["trained_share"] < 0.01


def test_many_runs_show_what_they_say_themselves_until_their_figures_are_there(summarised):
    made = make_generated_runs(4)
    board = read_board(at_once_s=0)
    assert set(board.pending) == set(made)
    assert summarised == []
    row = board.table.iloc[board.row_of(made[0])]
    assert row["test_accuracy"] == get_run(made[0]).summary["test_accuracy"]
    assert row["test_macro_f1_interval"] == ""
    seen = []
    assert summarise_pending(board.pending, lambda done, total, what: seen.append((done, total))) == 4
    assert seen[-1] == (3, 4)
    assert read_board(at_once_s=0).pending == ()
    assert row_of(made[0])["test_macro_f1_interval"]


def test_work_that_is_stopped_keeps_what_was_done():
    made = make_generated_runs(3, num_test=40)

    def stop(done, total, what):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        summarise_pending(made, stop)
    assert read_board(at_once_s=0).pending == (made[2],)


def test_names_marks_deletion_and_restoring_need_no_figures_anew(summarised):
    first, second = make_generated_runs(2, num_test=40)
    read_board(at_once_s=60)
    rename_run(first, "My best")
    label_run(first, add=["paper"])
    note_run(first, "look again")
    pin_run(first)
    archive_run(second)
    row = row_of(first)
    assert (row["name"], row["own_name"], row["labels"], row["note"]) == ("My best", "My best", "paper", "look again")
    assert row["is_pinned"]
    assert not row["is_archived"]
    assert row_of(second)["is_archived"]
    delete_run(second)
    assert read_board().run_ids == (first,)
    restore_run(second)
    assert set(read_board().run_ids) == {first, second}
    assert len(summarised) == 2


def test_a_lost_or_damaged_table_of_summaries_is_made_anew(summarised):
    make_generated_runs(2, num_test=40)
    before = read_board(at_once_s=60).table
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"no database" * 500)):
        damage(runs_dir() / SUMMARY_TABLE_FILE)
        assert read_board(at_once_s=60).table.equals(before)
    assert len(summarised) == 6


def test_repairing_the_store_keeps_the_summaries(summarised):
    (run_id,) = make_generated_runs(1, num_test=40)
    before = row_of(run_id, at_once_s=60)
    (runs_dir() / "mlflow.db").write_bytes(b"no database" * 500)
    repair_store()
    assert row_of(run_id)["test_macro_f1_interval"] == before["test_macro_f1_interval"]
    assert len(summarised) == 1


def test_other_answers_are_worked_out_anew(summarised):
    (run_id,) = make_generated_runs(1, num_test=40)
    read_board(at_once_s=60)
    (get_run(run_id).folder / PREDICTIONS_FILE).unlink()
    assert row_of(run_id, at_once_s=60)["test_macro_f1_interval"] == ""
    assert len(summarised) == 2


def test_a_data_set_that_comes_back_brings_its_patients(summarised):
    (run_id,) = make_generated_runs(1, num_test=80)
    key = delete_dataset(str(get_run(run_id).config["dataset"]))
    alone = row_of(run_id, at_once_s=60)["test_accuracy_interval"]
    read_board(at_once_s=60)
    assert len(summarised) == 1  # it is still gone
    restore_dataset(key)
    assert row_of(run_id, at_once_s=60)["test_accuracy_interval"] != alone
    assert len(summarised) == 2


def test_a_home_that_cannot_be_written_to_shows_the_same(monkeypatch, summarised):
    make_generated_runs(2, num_test=40)
    connect = sqlite3.connect

    def refuse(path, *arguments, **options):
        if str(path).endswith(SUMMARY_TABLE_FILE):
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return connect(path, *arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert read_board(at_once_s=60).pending == ()
    assert read_board(at_once_s=60).pending == ()
    assert len(summarised) == 2


def test_a_run_at_work_counts_its_epochs_and_one_that_ended_says_why():
    make_generated_runs(1, num_test=40)
    run = create_run({"dataset": "generated", "backbone": "resnet18", "strategy": "from_scratch", "epochs": 9})
    run.set_state("running")
    run.heartbeat(phase="Training", done=10, total=40, epoch=2, epochs=9)
    row = row_of(run.run_id)
    assert (row["state"], row["state_text"], row["epoch"]) == ("running", "running, 25 % of Training", 2)
    assert row["epochs"] == 2
    assert row["is_active"]
    run.finish("failed", "the disk\nis full")
    row = row_of(run.run_id)
    assert (row["state_text"], row["epochs"]) == ("failed: the disk is full", 9)


def test_a_run_deleted_while_the_board_is_read_is_left_out(monkeypatch):
    first, second = make_generated_runs(2, num_test=40)
    monkeypatch.setattr(reading, "_records", lambda run_ids: {first: get_run(first)})
    assert read_board(at_once_s=60).run_ids == (first,)
    assert second in {run.run_id for run in tracking.list_runs()}


def test_a_seed_of_a_group_says_of_how_many_and_a_recipe_has_its_study():
    made = make_generated_runs(7, num_test=40)
    table = read_board(at_once_s=0).table.set_index("run_id")
    assert [table.loc[run_id, "seeds"] for run_id in made[:3]] == ["0 of 3", "1 of 3", "2 of 3"]
    (row,) = (row for _, row in table.iterrows() if row["recipe"])
    assert row["study"].startswith("VGG16")
    assert (row["published_accuracy"], row["published_kappa"]) == (0.36333, 0.51096)


def test_other_data_sets_stand_beside_a_run_as_soon_as_they_are_evaluated(summarised):
    (run_id,) = make_generated_runs(1, num_test=40)
    assert row_of(run_id, at_once_s=60)["external"] == ""

    def keep(value, made_s=1.0, title="Other eyes"):
        score = ExternalScore(Interval(value, 0.4, 0.7), Interval(0.8, 0.7, 0.9), Interval(value - 0.8, -0.4, -0.1))
        result = ExternalResult(
            run_id=run_id, dataset=title, title=title, dataset_version="v", mapping="", images="all", num=50,
            num_units=50, num_own=40, num_shared=0, left_out={}, class_names=GRADES, is_ordinal=True,
            classes_without_images=(), scores={"quadratic_weighted_kappa": score}, made_s=made_s,
        )  # fmt: skip
        store_external(result, pd.DataFrame({"image_id": ["a"], "target": [0]}))

    keep(0.55)
    row = row_of(run_id, at_once_s=60)
    assert row["external"] == "Other eyes: kappa 0.55 (0.40 to 0.70)"
    assert (row["external_value"], row["external_delta"]) == pytest.approx((0.55, -0.25))
    keep(0.5)  # the same again takes its place
    assert row_of(run_id, at_once_s=60)["external_value"] == 0.5
    keep(0.6, made_s=2.0, title="Third")
    row = row_of(run_id, at_once_s=60)
    assert row["external"].startswith("Third: kappa 0.60")
    assert row["external"].count(";") == 1
    assert row["external_value"] == 0.6
    assert len(summarised) == 4
