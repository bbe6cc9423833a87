"""Races of invented runs on a tiny data set: a rung is done as soon as it is begun."""

import pytest

from lib.sweeps.strategies import StrategySweep, make_plan
from lib.training.events import EpochEnded, NetworkBuilt
from tests.pages.scene import _write_results, make_dataset
from tests.run_store import make_run_store
from tests.stand_in import StandIn


class Runner(StandIn):
    """Tells the epochs of a rung and writes results that grow worse from rung to rung."""

    def train(self, run, listener):
        config = run.config
        listener(NetworkBuilt(100, 400))
        for epoch in range(1, (config["epochs"] or 0) + 1):
            values = {"val_accuracy": 0.1 * epoch, "val_quadratic_weighted_kappa": 0.2 * epoch, "val_loss": 1.0}
            listener(EpochEnded(epoch, config["epochs"], values))

    def write(self, run):
        _write_results(run, run.config, num_wrong=len(self.done) - 1)


@pytest.fixture
def runner() -> Runner:
    make_dataset()
    make_run_store()
    return Runner()


@pytest.fixture
def plan(runner) -> StrategySweep:
    made = make_plan(dataset="tiny", epochs=2)
    made.write()
    return made
