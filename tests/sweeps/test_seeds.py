import math

import pytest

from lib import tracking
from lib.atomic import write_json
from lib.errors import UserError
from lib.jobs import queue
from lib.sweeps.runner import run_sweep
from lib.sweeps.seeds import GROUP_TAG, SeedSweep, make_plan
from lib.tracking.state import SUMMARY_FILE, run_folder
from lib.training.config import TrainConfig
from tests.pages.scene import make_dataset
from tests.run_store import make_run_store

CONFIG = TrainConfig(dataset="tiny", strategy="linear_probe", weights="random", seed=7, split_seed=3)


@pytest.fixture(autouse=True)
def _library(home):
    make_dataset()
    make_run_store()


class Worker:
    """Does runs without training: each reaches 0.6 + seed / 10; `stop_at` is asked to stop at that seed once."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seeds: list[int] = []
        self.stop_at = stop_at

    def __call__(self, run, **_):
        seed = run.config["seed"]
        self.seeds.append(seed)
        queue.release(run.run_id)
        if seed == self.stop_at:
            run.finish("stopped", "Stopped on request.")
            return None
        summary = {"test_accuracy": 0.6 + seed / 10}
        write_json(run_folder(run.run_id) / SUMMARY_FILE, summary)
        run.finish("finished")
        return summary


def test_three_seeds_are_three_runs_on_one_split_with_mean_and_deviation():
    plan = make_plan(CONFIG, 3)
    worker = Worker()
    assert run_sweep(plan, work=worker).state == "finished"
    assert worker.seeds == [0, 1, 2]
    runs = [tracking.get_run(run_id) for run_id in plan.read().runs.values()]
    assert {run.config["split_seed"] for run in runs} == {3}
    assert {run.tags[GROUP_TAG] for run in runs} == {plan.group_id}
    (spread,) = plan.spreads()
    # 0.6, 0.7 and 0.8: mean 0.7, sample standard deviation 0.1.
    assert (spread.mean, spread.deviation) == pytest.approx((0.7, 0.1))
    assert run_sweep(plan, work=worker).state == "finished"
    assert worker.seeds == [0, 1, 2]  # nothing is trained twice


def test_a_stopped_group_goes_on_with_the_same_runs():
    plan = make_plan(CONFIG, 3)
    assert run_sweep(plan, work=Worker(stop_at=1)).state == "stopped"
    (spread,) = plan.spreads()
    assert spread.mean == pytest.approx(0.6)
    assert math.isnan(spread.deviation)
    before = dict(plan.read().runs)
    worker = Worker()
    assert run_sweep(SeedSweep.find("latest"), work=worker).state == "finished"
    assert worker.seeds == [1, 2]
    after = plan.read().runs
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("num_seeds", [-1, 1, 21])
def test_one_seed_is_no_group(num_seeds):
    with pytest.raises(UserError, match=f"2 to 20; received {num_seeds}"):
        make_plan(CONFIG, num_seeds)
    assert SeedSweep.newest_first() == []
    with pytest.raises(UserError, match="There is no group"):
        SeedSweep.find("abc")
