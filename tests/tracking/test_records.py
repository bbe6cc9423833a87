import time

import pandas as pd
import pytest

from lib import tracking
from lib.errors import UserError
from tests.jobs.conftest import on_host
from tests.tracking.conftest import CONFIG

pytestmark = pytest.mark.usefixtures("run_store")


def test_runs_are_found_by_the_start_of_their_id():
    runs = [tracking.create_run(CONFIG) for _ in range(2)]

    assert tracking.get_run(runs[0].run_id[:10]).run_id == runs[0].run_id
    assert tracking.get_run("latest").run_id == runs[1].run_id
    with pytest.raises(UserError, match="There is no run 'zz'"):
        tracking.get_run("zz")
    with pytest.raises(UserError, match="There is no run ''"):
        tracking.get_run("")


def test_a_short_id_may_be_ambiguous(monkeypatch):
    run = tracking.create_run(CONFIG)
    record = tracking.get_run(run.run_id)
    monkeypatch.setattr(tracking.records, "list_runs", lambda include_deleted=False: [record, record])
    with pytest.raises(UserError, match=r"2 runs begin with .* give more characters"):
        tracking.get_run(run.run_id[:4])


def test_predictions_come_from_the_run_folder():
    run = tracking.create_run(CONFIG)
    with pytest.raises(UserError, match="has no predictions"):
        tracking.predictions(run.run_id)
    table = pd.DataFrame({"image_id": ["a"], "split": ["test"], "target": [0], "probability_0": [1.0]})
    table.to_parquet(run.folder / "predictions.parquet")
    assert tracking.predictions(run.run_id).equals(table)


def test_a_deleted_run_comes_back():
    run = tracking.create_run(CONFIG)
    with pytest.raises(UserError, match="stop it first"):
        tracking.delete_run(run.run_id)
    run.finish("finished")

    tracking.delete_run(run.run_id)
    assert tracking.list_runs() == []
    assert not run.folder.exists()
    assert [record.is_deleted for record in tracking.list_runs(include_deleted=True)] == [True]

    tracking.restore_run(run.run_id[:8])
    assert tracking.get_run(run.run_id).state == "finished"
    assert (run.folder / "config.json").exists()
    with pytest.raises(UserError, match="is not deleted"):
        tracking.restore_run(run.run_id)


def test_renaming_shows_everywhere():
    run = tracking.create_run(CONFIG)
    tracking.rename_run(run.run_id, "  the   winner ")
    assert tracking.get_run(run.run_id).label == "the winner"
    assert tracking.read_state(run.run_id).name == "the winner"
    with pytest.raises(UserError, match="needs a name"):
        tracking.rename_run(run.run_id, " ")


def test_confusions_come_back_by_epoch_the_last_of_each_counts(home):
    run = tracking.create_run({"dataset": "d"})
    assert tracking.validation_confusions(run.run_id) == {}
    for epoch, cell in ((2, 1), (1, 2), (2, 3)):
        run.log_confusion({"prefix": "", "epoch": epoch, "matrix": [[cell, 0], [0, 1]]})
    run.log_confusion({"prefix": "fold_1_", "epoch": 5, "matrix": [[9, 0], [0, 1]]})
    with (run.folder / "validation_confusion.jsonl").open("a") as opened:
        opened.write('{"prefix": "", "epoch": 3, "mat')  # killed while writing
    found = tracking.validation_confusions(run.run_id)
    assert {epoch: matrix[0, 0] for epoch, matrix in found.items()} == {1: 2, 2: 3}
    assert list(tracking.validation_confusions(run.run_id, "fold_1_")) == [5]


def test_a_run_whose_maker_was_killed_before_it_had_a_folder_is_readable_and_deletable():
    client, experiment = tracking.store.client(), tracking.store.experiment_id()
    tags = {"state": "queued", "host": tracking.state.host_name(), "config": "{}"}
    old = client.create_run(experiment, start_time=int((time.time() - 60) * 1000), tags=tags).info.run_id
    fresh = client.create_run(experiment, tags=tags).info.run_id
    far = client.create_run(experiment, start_time=0, tags={**tags, "host": "another"}).info.run_id
    assert {run.run_id: run.state for run in tracking.list_runs()} == {old: "killed", fresh: "queued", far: "queued"}
    assert tracking.get_run(old).ending == "never_started"
    tracking.delete_run(old)
    assert old not in [run.run_id for run in tracking.list_runs()]


def test_a_run_whose_maker_vanished_is_not_waited_for():
    with on_host("elsewhere"):
        run = tracking.create_run(CONFIG)
    run.folder.rename(run.folder.with_name("moved"))
    record = tracking.get_run(run.run_id)
    assert record.state == "queued"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: record.created_s + 60)
        assert tracking.get_run(run.run_id).ending == "never_started"
