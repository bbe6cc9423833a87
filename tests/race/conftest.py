"""Races of invented runs on a tiny data set: a rung is done as soon as it is begun."""

import pytest

from lib.errors import UserError
from lib.jobs import tickets
from lib.race import RacePlan, make_plan, write_plan
from lib.training.events import EpochEnded, NetworkBuilt
from tests.pages.scene import _write_results, make_dataset
from tests.run_store import make_run_store


class Runner:
    """Stands in for the training; `stops` and `fails` name rungs that end badly."""

    def __init__(self):
        self.done: list[str] = []
        self.stops: set[str] = set()
        self.fails: set[str] = set()

    def __call__(self, run, *, listener, on_wait):
        config = run.config
        strategy = config["strategy"]
        run.set_state("running")
        listener(NetworkBuilt(100, 400))
        try:
            for epoch in range(1, (config["epochs"] or 0) + 1):
                values = {"val_accuracy": 0.1 * epoch, "val_quadratic_weighted_kappa": 0.2 * epoch, "val_loss": 1.0}
                listener(EpochEnded(epoch, config["epochs"], values))
            if strategy in self.stops:
                run.finish("stopped")
                return None
            if strategy in self.fails:
                run.finish("failed", "Memory ran out.")
                raise UserError("Memory ran out.")
            self.done.append(strategy)
            _write_results(run, config, num_wrong=len(self.done) - 1)
            run.finish("finished")
            return {"run_id": run.run_id}
        finally:
            tickets.hand_back(run.run_id)


@pytest.fixture
def runner() -> Runner:
    make_dataset()
    make_run_store()
    return Runner()


@pytest.fixture
def plan(runner) -> RacePlan:
    made = make_plan(dataset="tiny", epochs=2)
    write_plan(made)
    return made
