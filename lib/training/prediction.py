"""Logits and features of many images in evaluation mode."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import Stopped
from lib.memory import compute_in_parts
from lib.number_format import autocast
from lib.training.events import ShouldStop, never_stop
from lib.training.inputs import CachedInputs, Inputs

if TYPE_CHECKING:
    import torch

EVALUATION_BATCH = 32


def predict_logits(
    classifier: Any,
    inputs: Inputs,
    rows: np.ndarray,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    should_stop: ShouldStop = never_stop,
    on_batch: Callable[[int], None] = lambda num_images: None,
) -> "torch.Tensor":
    """Logits (n, K) of rows, float32 on the CPU, in evaluation mode without gradients.

    Raises:
        Stopped: `should_stop()` turned true, asked between stages.
    """
    import torch

    classifier.eval()
    parts: list[torch.Tensor] = []

    def compute(some_rows: np.ndarray) -> "torch.Tensor":
        with torch.no_grad(), autocast(device, dtype):
            logits = inputs.logits(classifier, inputs.for_evaluation(some_rows), should_stop)
        return logits.float().cpu()

    for batch_rows in _batches(rows):
        parts += compute_in_parts(compute, batch_rows)
        on_batch(len(batch_rows))
    return torch.cat(parts)


def predict_features(
    classifier: Any,
    inputs: Inputs,
    rows: np.ndarray,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    should_stop: ShouldStop = never_stop,
) -> np.ndarray:
    """Features (n, D) of rows, float32, as the head reads them; of a head that reads maps, their mean.

    Raises:
        Stopped: `should_stop()` turned true, asked between batches.
    """
    import torch

    from lib.models.classifier import as_vectors

    if isinstance(inputs, CachedInputs) and inputs.after is None:
        plain = np.asarray(inputs.plain[rows])
        return plain.mean((2, 3)) if plain.ndim == 4 else plain
    classifier.eval()
    after = inputs.after
    parts: list[torch.Tensor] = []

    def compute(some_rows: np.ndarray) -> "torch.Tensor":
        with torch.no_grad(), autocast(device, dtype):
            batch = inputs.entered(inputs.for_evaluation(some_rows))
            stage = classifier.feature_stage
            hidden = (
                classifier.forward_between(batch, after, stage) if after else classifier.forward_until(batch, stage)
            )
            return as_vectors(classifier.pooled(hidden)).float().cpu()

    for batch_rows in _batches(rows):
        if should_stop():
            raise Stopped("Stopped while comparing features.")
        parts += compute_in_parts(compute, batch_rows)
    return torch.cat(parts).numpy()


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + EVALUATION_BATCH] for start in range(0, len(rows), EVALUATION_BATCH)]
