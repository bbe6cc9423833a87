import dataclasses

import pytest

from lib import tracking
from lib.atomic import write_json
from lib.data.library import open_dataset
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.jobs import queue
from lib.sweeps.runner import run_sweep
from lib.sweeps.sizes import SERIES_TAG, SizeSweep, make_plan, series_of_run
from lib.tracking.state import SUMMARY_FILE, run_folder
from lib.training.config import TrainConfig
from tests.pages.scene import make_dataset
from tests.run_store import make_run_store

CONFIG = TrainConfig(dataset="tiny", strategy="linear_probe", weights="random", split_seed=3)


@pytest.fixture(autouse=True)
def _library(home):
    make_dataset()
    make_run_store()


class Worker:
    """Does runs without training: each learns from as many images as its config takes; `stop_at` stops once."""

    def __init__(self, stop_at: float | None = None) -> None:
        self.shares: list[float | None] = []
        self.stop_at = stop_at

    def __call__(self, run, **_):
        config = TrainConfig.from_dict(run.config)
        self.shares.append(config.train_fraction)
        queue.release(run.run_id)
        if config.train_fraction == self.stop_at and self.stop_at:
            run.finish("stopped", "Stopped on request.")
            return None
        dataset = apply_protocol(open_dataset("tiny"), config)
        num = int((dataset.split(config.split_seed) == "train").sum())
        summary = {"test_accuracy": 0.5 + num / 100, "num_train": num}
        write_json(run_folder(run.run_id) / SUMMARY_FILE, summary)
        run.finish("finished")
        return summary


def test_each_share_is_a_run_on_the_same_test_images():
    plan, worker = make_plan(CONFIG, (1, 0.3, 0.1)), Worker()
    assert plan.shares == (0.1, 0.3, 1.0)
    assert run_sweep(plan, work=worker).state == "finished"
    assert worker.shares == [0.1, 0.3, None]
    sizes = plan.sizes()
    assert [one.share for one in sizes] == [0.1, 0.3, 1.0]
    numbers = [one.num_train for one in sizes]
    assert numbers == sorted(set(numbers))
    runs = [tracking.get_run(run_id) for run_id in plan.read().runs.values()]
    assert {run.tags[SERIES_TAG] for run in runs} == {plan.series_id}
    dataset, tests = open_dataset("tiny"), []
    for run in runs:
        taken = apply_protocol(dataset, TrainConfig.from_dict(run.config))
        tests.append(set(taken.table["image_id"][taken.split(3) == "test"]))
    assert tests[0] == tests[1] == tests[2]
    assert run_sweep(SizeSweep.find("latest"), work=worker).state == "finished"
    assert len(worker.shares) == 3  # nothing is trained twice


def test_a_stopped_series_goes_on_with_the_same_runs():
    plan = make_plan(CONFIG)
    assert run_sweep(plan, work=Worker(stop_at=0.3)).state == "stopped"
    assert [one.share for one in plan.sizes()] == [0.1]
    before, worker = dict(plan.read().runs), Worker()
    assert run_sweep(SizeSweep.find(plan.series_id), work=worker).state == "finished"
    assert worker.shares == [0.3, None]
    after = plan.read().runs
    assert {key: after[key] for key in before} == before


def test_a_finished_run_is_the_whole_of_its_series():
    first = make_plan(CONFIG)
    run_sweep(first, work=Worker())
    whole = first.sizes()[-1].run_id
    plan, worker = series_of_run(whole, (0.5, 1)), Worker()
    assert plan.read().runs == {"100 %": whole}
    assert run_sweep(plan, work=worker).state == "finished"
    assert worker.shares == [0.5]
    assert plan.sizes()[-1].run_id == whole
    # Of a run that learned from a part, the whole is trained.
    plan, worker = series_of_run(first.sizes()[0].run_id, (0.1, 1)), Worker()
    assert plan.read().runs == {}
    run_sweep(plan, work=worker)
    assert worker.shares == [0.1, None]


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.5), (0, 1), (0.5, 1.5), tuple(k / 20 for k in range(1, 15))])
def test_shares_that_make_no_series_are_refused(shares):
    with pytest.raises(UserError, match="2 to 10 different shares between"):
        make_plan(CONFIG, shares)
    assert SizeSweep.newest_first() == []


def test_folds_are_refused():
    with pytest.raises(UserError, match="train without folds"):
        make_plan(dataclasses.replace(CONFIG, num_folds=3))


def test_grades_are_merged_as_in_the_whole():
    plan = make_plan(dataclasses.replace(CONFIG, target_map="1,0"))
    assert {entry.config.target_map for entry in plan.entries} == {"1,0"}
    assert run_sweep(plan, work=Worker()).state == "finished"
