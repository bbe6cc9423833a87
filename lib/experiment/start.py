"""What a run starts from: its data set, the head of an earlier run, and the session that trains."""

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lib.distributed import Ranks
from lib.errors import Stopped
from lib.experiment.head_source import dataset_of, head_bundle
from lib.pinned import watch_pinned
from lib.tracking.state import COMPUTE_FILE, read_state
from lib.training.config import TrainConfig
from lib.training.events import Listener, progress_events

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.tracking.writer import RunWriter
    from lib.training.estimation.time_budget import TimeBudget
    from lib.training.network import Compute
    from lib.training.session import TrainingSession


def open_dataset(config: TrainConfig, listener: Listener, should_stop: Callable[[], bool]) -> "Dataset":
    """Open the data set, importing its folder first where needed; raises Stopped during an import."""
    from lib.data.library import resolve_dataset

    tell = progress_events("Importing images", listener)

    def progress(done: int, total: int, what: str) -> None:
        if should_stop():
            raise Stopped("Stopped while importing.")
        tell(done, total, what)

    dataset = resolve_dataset(config.dataset, progress=progress)
    return dataset_of(config, dataset)


def open_session(
    config: TrainConfig,
    dataset: "Dataset",
    run: "RunWriter",
    *,
    listener: Listener,
    should_stop: Callable[[], bool],
    ranks: Ranks,
) -> "TrainingSession":
    """The session that does the work of a run; its plan is told to the other ranks and kept as the run's parameters.

    Args:
        config: resolved.
        dataset: the part of it that the run reads.
        run: whose folder keeps the choice of the device and of the number of epochs.
        listener: hears the training.
        should_stop: asked between stages.
        ranks: who trains together.
    """
    from lib.training.network import choose_compute
    from lib.training.session import TrainingSession

    compute = choose_compute(
        config, run.folder / COMPUTE_FILE, ranks, num_images=len(dataset.table), listener=listener,
        should_stop=should_stop,
    )  # fmt: skip
    learned_head = head_bundle(config, dataset)
    plan = {"config": config.to_dict(), "compute": dataclasses.asdict(compute)}
    ranks.announce({**plan, "head_bundle": str(learned_head or "")})
    run.log_params({**config.to_dict(), **dataclasses.asdict(compute)})

    def prepare(pixels: np.ndarray) -> np.ndarray:
        return session.preparation.enhancement(pixels)

    watch = watch_pinned(config, dataset, run.folder, compute.device, prepare=prepare)
    budget = None
    if config.time_budget_s:
        budget = _time_budget(run, config, compute, dataset, listener=listener, should_stop=should_stop)
    session = TrainingSession(
        config, dataset, compute, listener=listener, should_stop=should_stop, on_epoch=watch, ranks=ranks,
        choose_epochs=budget.choose if budget else None,
        time_limit=budget.time_limit if budget else None, head_bundle=learned_head,
    )  # fmt: skip
    return session


def _time_budget(
    run: "RunWriter",
    config: TrainConfig,
    compute: "Compute",
    dataset: "Dataset",
    *,
    listener: Listener,
    should_stop: Callable[[], bool],
) -> "TimeBudget":
    from lib.training.estimation.time_budget import TimeBudget

    state = read_state(run.run_id)  # work began when the run left the queue, so that the imports count
    return TimeBudget(
        config, compute, run.folder, len(dataset.table), state.started_s or time.time(), listener, should_stop,
        worked_s=state.worked_s,
    )  # fmt: skip
