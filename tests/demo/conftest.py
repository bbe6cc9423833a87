"""A demo of invented runs: the default data set is tiny, and a run is done as soon as it is begun."""

import pytest

from lib.data import library
from lib.settings import DEFAULT_DATASET
from lib.training.events import PhaseStarted, Progressed
from tests.run_store import make_run_store


class Worker:
    """Stands in for the training; `stops` and `fails` name strategies that end badly."""

    def __init__(self):
        self.done: list[str] = []
        self.stops: set[str] = set()
        self.fails: set[str] = set()

    def __call__(self, run, *, listener, on_wait):
        from lib.errors import UserError
        from lib.jobs import tickets

        strategy = run.config["strategy"]
        on_wait(1)
        run.set_state("running")
        listener(PhaseStarted("Training"))
        listener(Progressed("Training", 1, 2, 10.0, 3.0))
        try:
            if strategy in self.stops:
                run.finish("stopped")
                return None
            if strategy in self.fails:
                run.finish("failed", "Memory ran out.")
                raise UserError("Memory ran out.")
            self.done.append(strategy)
            run.log_summary({"state": "finished", "dataset": DEFAULT_DATASET, "test_accuracy": 0.5})
            run.finish("finished")
            return {"run_id": run.run_id}
        finally:
            tickets.hand_back(run.run_id)


@pytest.fixture
def worker(monkeypatch) -> Worker:
    make_run_store()

    def ensure(progress):
        progress(1, 2, "Drawing")
        return library.make_synthetic_fundus(per_class=5, size_px=64)

    monkeypatch.setattr(library, "ensure_default_dataset", ensure)
    return Worker()
