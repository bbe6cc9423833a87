"""What a head or a network is fed: images, activations at the cut below the trained stages, or pooled features.

Frozen stages give the same output in every epoch, so it is computed once. All three kinds of input draw the same views
and run the same trained stages: a training on cached inputs repeats the training on images, step by step.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lib.checked_rows import Rows
from lib.data.network_input import WHOLE_SQUARE, Resizing
from lib.errors import Stopped
from lib.features.frozen_stages import FrozenStages, in_layout
from lib.training.events import ShouldStop, never_stop

if TYPE_CHECKING:
    import torch

    from lib.data.warps import WarpParameters


class Inputs(Protocol):
    """Rows of the data set's table in, tensors for the network out."""

    @property
    def after(self) -> str | None:
        """The stage behind which `entered` inputs go on; None: see the class."""
        ...

    def for_training(self, rows: np.ndarray, epoch: int) -> "torch.Tensor":
        """Augmented inputs of an epoch; the same rows in the same epoch always give the same tensor."""
        ...

    def for_evaluation(self, rows: np.ndarray) -> "torch.Tensor":
        """Inputs as they are."""
        ...

    def entered(self, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop) -> "torch.Tensor":
        """Inputs as the trained stages read them; raises Stopped."""
        ...

    def logits(self, classifier: Any, inputs: "torch.Tensor", should_stop: ShouldStop) -> "torch.Tensor":
        """Run the classifier from where these inputs enter it; raises Stopped between two stages."""
        ...


@dataclass(frozen=True)
class Preprocessing:
    """How stored pixels become network inputs: side in pixels, and mean and deviation per channel on a 0..1 scale."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: str = "cpu"
    resizing: Resizing = WHOLE_SQUARE

    def __call__(self, pixels: np.ndarray) -> "torch.Tensor":
        """Turn uint8 (N, S, S, 3) into a normalised float tensor (N, 3, size, size)."""
        from lib.data.preprocessing import to_batch

        return to_batch(pixels, **self._form)

    def warped(self, pixels: np.ndarray, drawn: Sequence["WarpParameters"]) -> "torch.Tensor":
        """The same of images that are turned, cropped and recoloured on the way, from the store's full resolution."""
        from lib.data.preprocessing import warped_batch

        return warped_batch(pixels, drawn, **self._form)

    @property
    def _form(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


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
    preprocessing: Preprocessing
    seed: int = 0
    augmentation: str = "none"
    frozen: FrozenPrefix | None = field(default=None, kw_only=True)

    @property
    def after(self) -> str | None:
        """The last frozen stage; None where the classifier runs whole."""
        return None if self.frozen is None else self.frozen.last

    def entered(self, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop) -> "torch.Tensor":
        """Images (n, 3, H, W), or the output of the frozen stages for them."""
        return inputs if self.frozen is None else self.frozen(inputs, should_stop)

    def for_training(self, rows: np.ndarray, epoch: int) -> "torch.Tensor":
        """Preprocessed images (n, 3, H, W), each as the epoch's draw says."""
        from lib.data.augmentation import POLICIES, drawn_views, epoch_parameters, turned

        policy, image_ids = POLICIES.get(self.augmentation), [self.image_ids[row] for row in rows]
        if policy.warp is not None:
            drawn = epoch_parameters(policy, image_ids, seed=self.seed, epoch=epoch)
            return self.preprocessing.warped(self.pixels[rows], drawn)
        batch = self.for_evaluation(rows)
        if len(policy.elements) == 1:
            return batch
        views = drawn_views(image_ids, len(policy.elements), seed=self.seed, epoch=epoch)
        return turned(batch, np.array(policy.elements)[views])

    def for_evaluation(self, rows: np.ndarray) -> "torch.Tensor":
        """Preprocessed images (n, 3, H, W)."""
        return self.preprocessing(self.pixels[rows])

    def logits(self, classifier: Any, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop) -> "torch.Tensor":
        """Run all stages."""
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
        from lib.data.augmentation import drawn_views

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

    def logits(self, classifier: Any, inputs: "torch.Tensor", should_stop: ShouldStop = never_stop) -> "torch.Tensor":
        """Run the stages above the cut and the head."""
        if self.after is None:
            if should_stop():
                raise Stopped("Stopped between two batches.")
            logits: torch.Tensor = classifier.head(inputs)
            return logits
        return run_stages(classifier, inputs, should_stop, after=self.after)

    def _tensor(self, values: np.ndarray) -> "torch.Tensor":
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(values)).to(self.device, torch.float32)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


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


def run_stages(
    classifier: Any, inputs: "torch.Tensor", should_stop: ShouldStop, *, after: str | None = None
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
    logits: torch.Tensor = classifier.forward_after(hidden, position)
    return logits
