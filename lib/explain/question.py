"""What the function of an attribution method is given: a network, images, what of its answer to explain, and where."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.errors import UserError
from lib.explain.attribution import score_gradients
from lib.explain.rectifiers import AnsweringModule, modified_gradient
from lib.explain.targets import Target, target_scores
from lib.models.stages import StagedNetwork
from lib.progress import Progress, ignore_progress

ROWS_AT_ONCE = 16  # images in one forward pass of the methods that need many


@dataclass(eq=False)
class Question:
    """One network, N images (N, 3, H, W) and what is asked of them, for the time of one attribution.

    `network` is in evaluation mode and shared with other threads: nothing may be hooked or changed in it. `close`
    turns logits (N, K) into one target for each image. `options` are those of the method, complete. `facts` is what
    the method wants said beside its map, in words or numbers.
    """

    network: StagedNetwork
    images: Tensor
    close: Callable[[Tensor], tuple[Target, ...]]
    stage: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    progress: Progress = ignore_progress
    title: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    num_expected: int = 0
    num_answered: int = 0

    @cached_property
    def logits(self) -> Tensor:
        """What the network answers (N, K), without gradients."""
        with torch.no_grad():
            return _as_logits(self.network(self.images))

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """What is explained of each image."""
        return self.close(self.logits)

    @cached_property
    def scores(self) -> Tensor:
        """The explained numbers (N,)."""
        return target_scores(self.targets, self.logits).detach()

    def answers(self, images: Tensor) -> Tensor:
        """The explained numbers (R,) of other images (R, 3, H, W), the N of the question repeated; told as progress."""
        scores = target_scores(self.targets, _as_logits(self.network(images)))
        self.num_answered += len(images)
        if self.num_expected:
            done = min(self.num_answered, self.num_expected)
            self.progress(done, self.num_expected, self.title or "Explaining")
        return scores

    def of_image(self, row: int) -> "Question":
        """The same question of one of the images."""
        from dataclasses import replace

        one = replace(self, images=self.images[row : row + 1], close=lambda _: (self.targets[row],), facts={})
        one.__dict__["logits"] = self.logits[row : row + 1]
        return one

    @cached_property
    def activation(self) -> Tensor:
        """The output (N, C, h, w) of the stage."""
        with torch.no_grad():
            return self.network.forward_until(self.images, self.stage)

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient (N, C, h, w) of the explained numbers at the output of the stage: one pass through the tail.

        Raises:
            NoGradient: a head that passes none.
        """
        h = self.activation.detach().requires_grad_()
        logits = _as_logits(self.network.forward_after(h, self.stage))
        if "logits" not in self.__dict__:
            self.__dict__["logits"] = logits.detach()
        scores, (gradient,) = score_gradients(self.targets, logits, [h])
        self.__dict__.setdefault("scores", scores)
        return gradient

    def module(self, network: Any = None) -> AnsweringModule:
        """The network, or a private copy of it, as captum wants one: its output is the explained number (N,)."""
        if network is None:
            return AnsweringModule(self.network, lambda _, images: self.answers(images))
        return AnsweringModule(network, self.score_of)

    def score_of(self, network: StagedNetwork, images: Tensor) -> Tensor:
        """What `network` says (R,) of the question, the N images repeated."""
        return target_scores(self.targets, _as_logits(network(images)))

    def modified_gradient(self, kind: str) -> Tensor:
        """Guided back-propagation or deconvolution ("guided", "deconvolution") down to the pixels (N, 3, H, W)."""
        _ = self.targets
        return modified_gradient(self.network, kind, self.images, self.score_of)

    def baseline(self, kind: str) -> Tensor:
        """An image (N, 3, H, W) that says little: "mean" colour, "black", or the "blurred" image itself."""
        if kind == "black":
            return _black_pixel(self.network).to(self.images).expand_as(self.images).contiguous()
        if kind == "mean":
            return torch.zeros_like(self.images)
        height, width = self.images.shape[2:]
        small = F.interpolate(
            self.images,
            (max(1, height // 16), max(1, width // 16)),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )
        return F.interpolate(small, (height, width), mode="bilinear", align_corners=False)


def _black_pixel(network: Any) -> Tensor:
    """A black pixel (1, 3, 1, 1) as the network is given it; zero is the mean colour."""
    spec = getattr(network, "spec", None)
    mean, std = (spec.mean, spec.std) if spec is not None else ((0.0,) * 3, (1.0,) * 3)
    return (-torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1)


def _as_logits(output: Tensor) -> Tensor:
    if output.ndim != 2:
        raise UserError("This network ends at a stage without classes, so there is no answer to explain.")
    return output
