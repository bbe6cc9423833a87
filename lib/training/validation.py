"""The look at the validation images after each epoch."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.distributed import Ranks
from lib.evaluation.metrics import confusion_matrix, evaluate_predictions
from lib.training.config import TrainConfig
from lib.training.divergence import diverged
from lib.training.events import ShouldStop
from lib.training.inputs import FitData
from lib.training.losses import soft_targets, weighted_loss
from lib.training.parallel import stage_stop
from lib.training.prediction import predict_logits
from lib.training.state import FitState

if TYPE_CHECKING:
    import torch

SHOWN_METRICS = ("accuracy", "balanced_accuracy", "quadratic_weighted_kappa")
Confusion = tuple[tuple[int, ...], ...]


def measure_validation(
    classifier: Any,
    data: FitData,
    config: TrainConfig,
    state: FitState,
    *,
    class_weights: "torch.Tensor | None",
    device: str,
    dtype: str,
    should_stop: ShouldStop,
    ranks: Ranks,
    on_batch: Callable[[int], None],
) -> tuple[dict[str, float], Confusion]:
    """Mean loss and metrics ("val_...") of the validation images, cut over the ranks and gathered, and the confusion.

    The first rank's numbers count; the confusion (K x K counts, rows are true classes) is of this rank's gathered view.

    Args:
        classifier: as it stands after the epoch.
        data: inputs, targets and rows.
        config: resolved.
        state: where the training stands, for the error message.
        class_weights: (K,) or None.
        device: where the classifier is.
        dtype: of the forward passes.
        should_stop: asked between stages, of a process on its own.
        ranks: who trains together.
        on_batch: hears the number of images that all ranks did.

    Raises:
        Stopped: `should_stop()` turned true.
        TrainingDiverged: the loss became infinite or undefined.
    """
    rows, targets = data.val_rows, data.targets[data.val_rows]
    own_rows = ranks.share(rows)
    logits = predict_logits(
        classifier,
        data.inputs,
        own_rows if len(own_rows) else rows[:1],
        device=device,
        dtype=dtype,
        should_stop=stage_stop(should_stop, ranks),
        on_batch=lambda num_images: on_batch(num_images * ranks.size),
    )
    logits = ranks.gathered(logits if len(own_rows) else None)
    weights = None if class_weights is None else class_weights.cpu()
    hard = soft_targets(data.target_tensor(rows, device).cpu(), data.num_classes)
    loss = float(weighted_loss(logits, hard, loss=config.loss, class_weights=weights)[0])
    if not math.isfinite(loss):
        raise diverged("validation loss", loss, state, config)
    probabilities = logits.softmax(1).numpy()
    confusion = tuple(tuple(row) for row in confusion_matrix(targets, probabilities).tolist())
    measured = evaluate_predictions(targets, probabilities, is_ordinal=data.is_ordinal)
    metrics = {"val_loss": loss, **{f"val_{key}": measured[key] for key in SHOWN_METRICS}}
    return ranks.from_first(metrics), confusion
