"""`python -m tests.benchmarks.recording_share HOME`: what a worker spends on events, tracking and checkpoints.

Trains on the default data set of that home, in this process as a worker does, and prints the share of events (curves,
heartbeats, log lines) and of checkpoints in the time of the training itself: once in wall-clock seconds, which other
programs disturb, and once in processor seconds of the thread. The first call of the run store, which imports MLflow, is
part of the start and not counted. `--limit 0.01` ends with status 1 where the processor share is larger.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> int:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--strategy", default="full_finetuning")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=None)
    options = parser.parse_args()
    os.environ["TRANSFERSCOPE_HOME"] = str(options.home.resolve())
    from lib import jobs
    from lib.jobs import worker
    from lib.settings import DEFAULT_DATASET
    from lib.training import checkpoints, events
    from lib.training.config import TrainConfig

    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    events.Recorder.__call__ = _timed(events.Recorder.__call__, spent["events"], _is_training)
    checkpoints.CheckpointStore.save = _timed(checkpoints.CheckpointStore.save, spent["checkpoints"])
    config = TrainConfig(
        dataset=DEFAULT_DATASET, strategy=options.strategy, epochs=options.epochs, patience=options.epochs,
        input_size_px=options.size,
    )  # fmt: skip
    began, began_cpu = time.perf_counter(), time.process_time()
    summary = jobs.work(jobs.prepare(config), experiment=worker.train_run, listener=print_epoch, on_wait=print)
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    assert summary is not None
    training = summary["seconds_training"]
    print(f"{options.strategy}, {options.size} px, {options.epochs} epochs: {training:.1f} s of training, whole run "
          f"{wall:.1f} s ({cpu:.1f} processor s)")  # fmt: skip
    for what, (seconds, processor, calls) in spent.items():
        print(f"{what:<12} {calls:5d} calls  {seconds:7.3f} s = {seconds / training:7.3%} of the training's time   "
              f"{processor:7.3f} processor s = {processor / cpu:7.3%}")  # fmt: skip
    share = sum(processor for _, processor, _ in spent.values()) / cpu
    print(f"together {share:.3%} of the processor time")
    return int(options.limit is not None and share > options.limit)


def print_epoch(event: Any) -> None:
    """Nothing: the terminal is no part of a worker."""


def _is_training(arguments: tuple[Any, ...]) -> bool:
    return getattr(arguments[1], "phase", "") in ("", "Training")


def _timed(
    function: Callable[..., Any], spent: list[float], counts: Callable[[tuple[Any, ...]], bool] = lambda arguments: True
) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        started, started_cpu = time.perf_counter(), time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            if counts(arguments):
                spent[0] += time.perf_counter() - started
                spent[1] += time.thread_time() - started_cpu
                spent[2] += 1

    return timed


if __name__ == "__main__":
    raise SystemExit(main())
