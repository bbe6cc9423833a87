"""Stands in for the training of a run in a sweep: it is done as soon as it is begun."""

from typing import Any

from lib.errors import UserError
from lib.jobs import queue


class StandIn:
    """Does a run at once; `stops` and `fails` name strategies that end badly, `done` keeps those that end well."""

    def __init__(self):
        self.done: list[str] = []
        self.stops: set[str] = set()
        self.fails: set[str] = set()

    def __call__(self, run, *, listener, on_wait):
        strategy = run.config["strategy"]
        self.begin(run, on_wait)
        try:
            self.train(run, listener)
            if strategy in self.stops:
                run.finish("stopped")
                return None
            if strategy in self.fails:
                run.finish("failed", "Memory ran out.")
                raise UserError("Memory ran out.")
            self.done.append(strategy)
            self.write(run)
            run.finish("finished")
            return {"run_id": run.run_id}
        finally:
            queue.release(run.run_id)

    def begin(self, run: Any, on_wait: Any) -> None:
        """What happens before the training."""
        run.set_state("running")

    def train(self, run: Any, listener: Any) -> None:
        """What the training tells."""

    def write(self, run: Any) -> None:
        """What a finished training leaves."""
