"""A demo of invented runs: the default data set is tiny, and a run is done as soon as it is begun."""

import pytest

from lib.data import library
from lib.settings import DEFAULT_DATASET
from lib.training.events import PhaseStarted, Progressed
from tests.run_store import make_run_store
from tests.stand_in import StandIn


class Worker(StandIn):
    """Waits a place in the queue, tells a phase, and leaves a summary."""

    def begin(self, run, on_wait):
        on_wait(1)
        super().begin(run, on_wait)

    def train(self, run, listener):
        listener(PhaseStarted("Training"))
        listener(Progressed("Training", 1, 2, 10.0, 3.0))

    def write(self, run):
        run.log_summary({"state": "finished", "dataset": DEFAULT_DATASET, "test_accuracy": 0.5})


@pytest.fixture
def worker(monkeypatch) -> Worker:
    make_run_store()

    def ensure(progress):
        progress(1, 2, "Drawing")
        return library.make_synthetic_fundus(per_class=5, size_px=64)

    monkeypatch.setattr(library, "ensure_default_dataset", ensure)
    return Worker()
