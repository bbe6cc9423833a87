"""What a training asks of the two things that come in from outside: a data set, and a network in stages."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lib.checked_rows import Rows

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from lib.data.specs import DatasetSpec
    from lib.models.backbone_spec import StageSpec


class Dataset(Protocol):
    """A data set of the library, or the part of one that takes part in a training (`apply_protocol`)."""

    @property
    def name(self) -> str:
        """Its name in the library."""

    @property
    def version(self) -> str:
        """A hash of pixels, targets, splits, groups and classes."""

    @property
    def spec(self) -> "DatasetSpec":
        """Classes and origin."""

    @property
    def table(self) -> "pd.DataFrame":
        """One row an image: image_id, target, group_id and more."""

    @property
    def pixels(self) -> Rows:
        """The images (N, S, S, 3), uint8."""

    def split(self, split_seed: int, *, num_folds: int | None = None, fold: int | None = None) -> np.ndarray:
        """Tell "train", "val" or "test" of each row (N,)."""


class Classifier(Protocol):
    """A network whose stages run one by one: those of the backbone, then the head (lib/models/classifier.py)."""

    stages: "nn.ModuleDict"
    head: "nn.Module"
    feature_stage: str
    training: bool

    @property
    def stage_specs(self) -> "Sequence[StageSpec]":
        """The stages in order, the head last."""

    def forward_until(self, x: "Tensor", stage: str) -> "Tensor":
        """Images (N, 3, H, W) to the output of `stage`."""

    def forward_between(self, h: "Tensor", after: str, until: str) -> "Tensor":
        """The output of `after` to that of `until`."""

    def forward_after(self, h: "Tensor", stage: str) -> "Tensor":
        """The output of `stage` to logits (N, K)."""

    def pooled(self, h: "Tensor") -> "Tensor":
        """The output of the feature stage to what the head reads."""

    def train(self, mode: bool = True) -> "Classifier":  # noqa: FBT001, FBT002 (torch's own signature)
        """Training mode, frozen stages excepted, or evaluation mode."""

    def eval(self) -> "Classifier":
        """Evaluation mode."""

    def parameters(self) -> "Iterator[nn.Parameter]":
        """All parameters."""

    def named_parameters(self) -> "Iterator[tuple[str, nn.Parameter]]":
        """All parameters by name."""

    def named_buffers(self) -> "Iterator[tuple[str, Tensor]]":
        """All buffers (BatchNorm statistics) by name."""

    def modules(self) -> "Iterator[nn.Module]":
        """All modules, itself first."""
