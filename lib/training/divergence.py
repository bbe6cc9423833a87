"""A training whose numbers are no longer numbers."""

from lib.errors import UserError
from lib.training.config import TrainConfig
from lib.training.state import FitState


class TrainingDiverged(UserError):
    """The loss is no longer a number."""

    ending = "diverged"


def diverged(what: str, value: float, state: FitState, config: TrainConfig) -> TrainingDiverged:
    """The error that says what became infinite or undefined, where, and which learning rate to try instead."""
    peak_rate = config.learning_rate or 0.0
    return TrainingDiverged(
        f"The {what} became {value} at step {state.step + 1} of epoch {state.epoch}; lower the learning "
        f"rate (now {peak_rate:g}), for example --set learning_rate={peak_rate / 10:g}."
    )
