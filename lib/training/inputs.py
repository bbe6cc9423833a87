"""What a head or a network is fed (images, activations at a cut, or pooled features), and what it makes of them.

Frozen stages give the same output in every epoch, so it is computed once. All kinds of input draw the same views and
run the same trained stages: a training on cached inputs repeats the training on images, step by step.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.checked_rows import Rows
from lib.data.augmentation import POLICIES, View, drawn_views, epoch_parameters, turned, view_parameters
from lib.data.input_transform import WHOLE_SQUARE, Resizing, to_batch, warped_batch
from lib.errors import Stopped
from lib.features.frozen_stages import FrozenStages, in_layout
from lib.out_of_memory import compute_in_parts
from lib.precision import autocast
from lib.runtime import derived_seed
from lib.training.config import TrainConfig
from lib.training.events import ShouldStop, never_stop
from lib.training.protocols import Classifier

if TYPE_CHECKING:
    import torch

    from lib.data.augmentation import WarpParameters

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class BatchTransform:
    """How stored pixels become network inputs: side in pixels, and mean and deviation per channel on a 0..1 scale."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: str = "cpu"
    resizing: Resizing = WHOLE_SQUARE

    def __call__(self, pixels: np.ndarray) -> "torch.Tensor":
        """Turn uint8 (N, S, S, 3) into a normalised float tensor (N, 3, size, size)."""
        return to_batch(pixels, **vars(self))

    def warped(self, pixels: np.ndarray, drawn: Sequence["WarpParameters"]) -> "torch.Tensor":
        """The same of images that are turned, cropped and recoloured on the way, from the store's full resolution."""
        return warped_batch(pixels, drawn, **vars(self))


@dataclass(frozen=True)
class FrozenPrefix:
    """Frozen stages up to `last`, as they run in front of the trained ones, `batch_size` images at a time."""

    stages: FrozenStages
    last: str
    batch_size: int

    def __call__(self, images: "torch.Tensor", should_stop: ShouldStop) -> "torch.Tensor":
        """Images (n, 3, H, W) to the output of `last`; raises Stopped between two parts."""
        import torch

        parts = []
        for part in images.split(self.batch_size):
            if should_stop():
                raise Stopped("Stopped within a batch.")
            parts.append(self.stages.forward_until(part, self.last))
        return in_layout(torch.cat(parts))


@dataclass(frozen=True)
class ImageInputs:
    """Images from the pixel store, changed anew in every epoch by a policy of the augmentation table.

    They pass the `frozen` stages, if there are any, before they enter the classifier behind those (`after`).
    """

    pixels: Rows
    image_ids: Sequence[str]
    transform: BatchTransform
    seed: int = 0
    augmentation: str = "none"
    frozen: FrozenPrefix | None = field(default=None, kw_only=True)

    @property
    def after(self) -> str | None:
        """The last frozen stage; None where the classifier runs whole."""
        return None if self.frozen is None else self.frozen.last

    def entered(self, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop) -> "torch.Tensor":
        """Images (n, 3, H, W) as the trained stages read them: the output of the frozen ones; raises Stopped."""
        return inputs if self.frozen is None else self.frozen(inputs, should_stop)

    def for_training(self, rows: np.ndarray, epoch: int) -> "torch.Tensor":
        """Preprocessed images (n, 3, H, W), each as the epoch's draw says."""
        policy, image_ids = POLICIES.get(self.augmentation), [self.image_ids[row] for row in rows]
        if policy.warp is not None:
            drawn = epoch_parameters(policy, image_ids, seed=self.seed, epoch=epoch)
            return self.transform.warped(self.pixels[rows], drawn)
        batch = self.for_evaluation(rows)
        if len(policy.elements) == 1:
            return batch
        views = drawn_views(image_ids, len(policy.elements), seed=self.seed, epoch=epoch)
        return turned(batch, np.array(policy.elements)[views])

    def for_evaluation(self, rows: np.ndarray) -> "torch.Tensor":
        """Preprocessed images (n, 3, H, W)."""
        return self.transform(self.pixels[rows])

    def logits(
        self, classifier: Classifier, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop
    ) -> "torch.Tensor":
        """Run all stages; raises Stopped between two."""
        return run_stages(classifier, self.entered(inputs, should_stop), should_stop, after=self.after)


@dataclass(frozen=True)
class CachedInputs:
    """Outputs of the frozen stages, (N, ...): `plain` ones, and those of every view that training shows, if any.

    They enter the classifier after the stage `after`, or as pooled features in front of its head where that is None.
    """

    plain: Rows
    views: tuple[Rows, ...]
    image_ids: Sequence[str]
    seed: int
    after: str | None = None
    device: str = "cpu"

    def entered(self, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop) -> "torch.Tensor":
        """Activations are what the trained stages read."""
        return inputs

    def for_training(self, rows: np.ndarray, epoch: int) -> "torch.Tensor":
        """Activations (n, ...) of the view that the epoch's draw says."""
        if not self.views:
            return self.for_evaluation(rows)
        drawn = drawn_views([self.image_ids[row] for row in rows], len(self.views), seed=self.seed, epoch=epoch)
        values = self.views[0][rows]
        for view in range(1, len(self.views)):
            values[drawn == view] = self.views[view][rows[drawn == view]]
        return self._tensor(values)

    def for_evaluation(self, rows: np.ndarray) -> "torch.Tensor":
        """Activations (n, ...) of the images as they are."""
        return self._tensor(self.plain[rows])

    def logits(
        self, classifier: Classifier, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop
    ) -> "torch.Tensor":
        """Run the stages above the cut and the head; raises Stopped between two."""
        if self.after is None:
            if should_stop():
                raise Stopped("Stopped between two batches.")
            return classifier.head(inputs)
        return run_stages(classifier, inputs, should_stop, after=self.after)

    def _tensor(self, values: np.ndarray) -> "torch.Tensor":
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(values)).to(self.device, torch.float32)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


# Both take rows of the data set's table; the same rows in the same epoch always give the same tensor.
Inputs = ImageInputs | CachedInputs


@dataclass(frozen=True)
class FitData:
    """Inputs and targets (N,) of all images, and which rows train and which validate."""

    inputs: Inputs
    targets: np.ndarray
    train_rows: np.ndarray
    val_rows: np.ndarray
    num_classes: int
    is_ordinal: bool = False

    def target_tensor(self, rows: np.ndarray, device: str) -> "torch.Tensor":
        """Classes (n,) of rows, int64, where the classifier is."""
        import torch

        return torch.as_tensor(self.targets[rows].astype(np.int64), device=device)

    def batches(self, epoch: int, config: TrainConfig) -> list[np.ndarray]:
        """The training rows of an epoch (from 1), drawn, shuffled and cut as the config says."""
        rows = self.train_rows
        if config.sampling == "balanced":
            rows = balanced_rows(rows, self.targets[rows], seed=derived_seed(config.seed, "sampling", epoch))
        return epoch_batches(rows, batch_size=config.batch_size, seed=derived_seed(config.seed, "order", epoch))


def epoch_batches(rows: np.ndarray, *, batch_size: int, seed: int) -> list[np.ndarray]:
    """Shuffle rows and cut them into batches of nearly equal size.

    Equal sizes, because a last batch of one image has no BatchNorm statistics (and a small one has bad ones). One is
    left over only from an odd number in twos; such a step keeps the statistics (parallel.py).
    """
    order = np.random.default_rng(seed).permutation(rows)
    return np.array_split(order, max(1, math.ceil(len(order) / batch_size)))


def balanced_rows(rows: np.ndarray, targets: np.ndarray, *, seed: int) -> np.ndarray:
    """As many rows (N,) as there are, every class equally often: rare classes repeat, large ones show a part of theirs.

    Within a class no image comes a second time before all others came once. A row more goes to classes in a drawn
    order where the number does not divide.
    """
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(targets))
    drawn = []
    for position, target in enumerate(classes):
        own = rows[targets == target]
        count = len(rows) // len(classes) + (position < len(rows) % len(classes))
        rounds = [rng.permutation(own) for _ in range(math.ceil(count / len(own)))]
        drawn.append(np.concatenate([np.empty(0, rows.dtype), *rounds])[:count])
    return np.concatenate(drawn)


def run_stages(
    classifier: Classifier, inputs: "torch.Tensor", should_stop: ShouldStop, *, after: str | None = None
) -> "torch.Tensor":
    """Compute logits stage by stage, so that a stop need not wait for the end of a batch, forward or backward.

    Raises:
        Stopped: `should_stop()` turned true between two stages.
    """

    def check(gradient: Any = None) -> None:
        if should_stop():
            raise Stopped("Stopped within a batch.")

    names = [stage.name for stage in classifier.stage_specs]
    hidden, position = inputs, after
    for name in names[names.index(after) + 1 if after else 0 :]:
        check()
        if position is None:
            hidden = classifier.forward_until(hidden, name)
        else:
            hidden = classifier.forward_between(hidden, position, name)
        position = name
        if hidden.requires_grad:
            hidden.register_hook(check)  # called when the backward pass comes by
    check()
    return hidden


def augmented_views(
    pixels: np.ndarray,
    image_ids: Sequence[str],
    augmentation: str,
    *,
    num_views: int | None,
    seed: int,
    num_epochs: int,
    size_px: int,
) -> np.ndarray:
    """Images (N, S, S, 3) as the first epochs show them: uint8 (N, num_epochs, size_px, size_px, 3).

    With `num_views` a policy with endlessly many views shows its cached ones, drawn per epoch as training draws them.
    """
    plain = BatchTransform(size_px, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    rows, epochs = np.arange(len(pixels)), []
    inputs = ImageInputs(pixels, image_ids, plain, seed, augmentation)
    is_kept = bool(num_views) and not POLICIES.get(augmentation).is_finite
    for epoch in range(1, num_epochs + 1):
        if is_kept:
            drawn = drawn_views(image_ids, num_views or 1, seed=seed, epoch=epoch)
            views = [View(policy=augmentation, number=int(number), seed=seed) for number in drawn]
            parameters = [view_parameters(view, [name])[0] for view, name in zip(views, image_ids, strict=True)]
            batch = plain.warped(pixels, parameters)
        else:
            batch = inputs.for_training(rows, epoch)
        epochs.append((batch * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
    return np.stack(epochs, axis=1)


def predict_logits(
    classifier: Classifier,
    inputs: Inputs,
    rows: np.ndarray,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    should_stop: ShouldStop = never_stop,
    on_batch: Callable[[int], None] = lambda num_images: None,
) -> "torch.Tensor":
    """Logits (n, K) of rows, float32 on the CPU, in evaluation mode; raises Stopped between stages."""

    def logits(some_rows: np.ndarray) -> "torch.Tensor":
        return inputs.logits(classifier, inputs.for_evaluation(some_rows), should_stop)

    return _evaluated(classifier, logits, rows, device=device, dtype=dtype, on_batch=on_batch)


def predict_features(
    classifier: Classifier,
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
    if isinstance(inputs, CachedInputs) and inputs.after is None:
        plain = np.asarray(inputs.plain[rows])
        return plain.mean((2, 3)) if plain.ndim == 4 else plain

    def features(some_rows: np.ndarray) -> "torch.Tensor":
        from lib.models.classifier import as_vectors

        if should_stop():
            raise Stopped("Stopped while comparing features.")
        batch, stage = inputs.entered(inputs.for_evaluation(some_rows)), classifier.feature_stage
        if inputs.after is None:
            return as_vectors(classifier.pooled(classifier.forward_until(batch, stage)))
        return as_vectors(classifier.pooled(classifier.forward_between(batch, inputs.after, stage)))

    return _evaluated(classifier, features, rows, device=device, dtype=dtype).numpy()


def _evaluated(
    classifier: Classifier,
    answer: "Callable[[np.ndarray], torch.Tensor]",
    rows: np.ndarray,
    *,
    device: str,
    dtype: str,
    on_batch: Callable[[int], None] = lambda num_images: None,
) -> "torch.Tensor":
    """The answers (n, ...) to rows, batch by batch and in smaller parts where memory runs out, without gradients."""
    import torch

    classifier.eval()
    parts: list[torch.Tensor] = []

    def compute(some_rows: np.ndarray) -> "torch.Tensor":
        with torch.no_grad(), autocast(device, dtype):
            found = answer(some_rows)
        return found.float().cpu()

    for start in range(0, len(rows), EVALUATION_BATCH):
        batch = rows[start : start + EVALUATION_BATCH]
        parts += compute_in_parts(compute, batch)
        on_batch(len(batch))
    return torch.cat(parts)
