"""A run from its config to its summary, and its state where this process keeps it."""

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.data.subset import apply_protocol
from lib.distributed import ALONE, Ranks
from lib.errors import Stopped
from lib.experiment.outcome import run_folds, run_split, save_outcome, summarise
from lib.experiment.start import open_dataset, open_session, resolve_start
from lib.progress import Progress, ignore_progress
from lib.tracking.writer import create_run
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.events import Event, Listener, PhaseStarted, Progressed, Recorder
from lib.training.resolution import resolve_config
from lib.training.results import RunSummary

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter


def train(config: TrainConfig, *, progress: Progress = ignore_progress) -> RunSummary:
    """Train in this process and keep the run; `config.dataset` is a name in the library or a folder.

    Raises:
        UserError: anything wrong with the data set or the settings.
    """
    from lib.data.importing import resolve_dataset

    dataset = resolve_dataset(config.dataset, progress=progress)
    resolved = resolve_start(dataclasses.replace(config, dataset=dataset.name), dataset)
    run = create_run(resolved.to_dict(), state="running")
    run.set_state("running")

    def listen(event: Event) -> None:
        if isinstance(event, Progressed):
            progress(event.done, event.total, event.phase)

    try:
        summary = run_experiment(resolved, run, should_stop=lambda: False, listener=listen)
    except (Stopped, KeyboardInterrupt):
        run.finish("stopped", "Stopped on request.", "stopped")
        raise
    except Exception as error:
        run.finish("failed", str(error), getattr(error, "ending", "unexpected"))
        raise
    run.finish("finished")
    return RunSummary.from_dict(summary)


def run_experiment(
    config: TrainConfig,
    run: "RunWriter",
    *,
    should_stop: Callable[[], bool],
    listener: Listener | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Do the work of a run in this process and write its predictions, bundle and summary into its folder.

    Goes on from checkpoints and finished folds where they are. States are the caller's affair. Of several `ranks` the
    first one calls this; the others follow it (`follow_first_rank`).

    Raises:
        Stopped: `should_stop()` turned true; what was done so far is kept.
        UserError: the data set or the settings do not do, or the training diverged.
    """
    if kept := run.summary:  # killed between its summary and its final state: all is there
        run.log_summary(kept)
        CheckpointStore(run.folder / "checkpoints").clear()
        return kept
    started = time.perf_counter()
    recorder = Recorder(run, listener)
    dataset = open_dataset(config, recorder, should_stop)
    config = resolve_config(config, dataset)
    dataset = apply_protocol(dataset, config)
    if should_stop():
        raise Stopped("Stopped before the training began.")
    recorder(PhaseStarted("Starting"))
    session = open_session(config, dataset, run, listener=recorder, should_stop=should_stop, ranks=ranks)
    fit_and_predict = run_folds if config.num_folds else run_split
    outcome = fit_and_predict(session, run, recorder)
    recorder(PhaseStarted("Saving"))
    save_outcome(session, run, outcome)
    seconds_total = time.perf_counter() - started + session.resumed_seconds
    summary = summarise(session, run.run_id, outcome, seconds_total=seconds_total).to_dict()
    run.log_summary(summary)
    CheckpointStore(run.folder / "checkpoints").clear()
    return summary
