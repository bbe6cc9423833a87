"""The training loop: epochs of batches, validation, early stopping, checkpoints."""

from dataclasses import dataclass
from typing import Any

from lib.distributed import ALONE, Ranks
from lib.errors import Stopped
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.epochs import Training
from lib.training.events import Listener, ShouldStop, ignore_events, never_stop
from lib.training.inputs import FitData
from lib.training.state import TimeLimit, put_back


@dataclass(frozen=True)
class FitResult:
    """What `fit` did; the classifier itself holds the weights of the best epoch.

    `seconds` counts all of the training, `resumed_seconds` that part of it which was done before this call.
    """

    history: list[dict[str, float]]
    best_epoch: int
    seconds: float
    images_per_second: float
    resumed_seconds: float = 0.0


def fit(
    classifier: Any,
    data: FitData,
    config: TrainConfig,
    *,
    listener: Listener = ignore_events,
    should_stop: ShouldStop = never_stop,
    checkpoints: CheckpointStore | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    ranks: Ranks = ALONE,
    limit: TimeLimit | None = None,
) -> FitResult:
    """Train what is trainable in `classifier` and leave the weights of the best epoch in it.

    Continues from the newest checkpoint where there is one, to the same weights that an unbroken training reaches.

    Args:
        classifier: a staged network whose parameters are frozen or not (models/freezing.py).
        data: inputs, targets and rows.
        config: with `epochs` and `learning_rate` filled in.
        listener: hears StepEnded, Progressed (each batch) and EpochEnded.
        should_stop: asked between stages, so several times a batch.
        checkpoints: written by time, after epochs once due, and on a stop; None writes none.
        device: where the classifier and the inputs are.
        dtype: "bfloat16" computes forward passes under autocast; weights and moments stay float32.
        ranks: who trains together; each calls this alike, the first alone with `checkpoints`. Each batch is cut over
            the ranks and steps as one process would on all of it, but for BatchNorm statistics that are trained (each
            rank has those of its part; those of the first are kept).

        limit: of the time, over all interruptions: training ends after the last epoch that fits. All ranks pass one,
            or none does.

    Raises:
        Stopped: after `should_stop()`; the checkpoint holds all finished batches.
        TrainingDiverged: the loss became infinite or undefined.
        ShortOfMemory: memory ran out even with a sixteenth of the batch at a time.
    """
    training = Training(classifier, data, config, listener, should_stop, checkpoints, device, dtype, ranks)
    training.resume()
    try:
        while not (training.is_complete() or (limit is not None and training.is_out_of_time(limit))):
            training.train_epoch()
            training.end_epoch(*training.validate())
    except Stopped:
        training.save_on_stop()
        raise
    if training.best:
        put_back(classifier, training.best)
    state, speed = training.state, training.pace.images_per_second
    return FitResult(state.history, state.best_epoch, training.seconds, speed, state.seconds)
