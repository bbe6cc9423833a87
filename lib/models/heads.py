"""What turns a backbone's features into class scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.initialization import seeded_initialization
from lib.registry import Registry

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

# Sharpness of the similarity weights and the method: https://arxiv.org/abs/1805.01978, section 3.4.
_TEMPERATURE = 0.07
# Share of the probability given to all classes alike: a class without a neighbour keeps a finite log-probability.
_SMOOTHING = 0.01
_BLOCK_ROWS = 1024


class FeatureBatchNorm(nn.BatchNorm1d):
    """BatchNorm over features (N, D) that normalises a single sample by its running statistics instead of failing."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) in and out."""
        if self.training and len(features) == 1:
            return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(features)


class NearestNeighborsHead(nn.Module):
    """Keeps training features and lets the most similar ones vote, weighted by cosine similarity.

    The output is log-probabilities, so that a softmax gives the probabilities back.
    Source: weighted k-nearest neighbours of Wu et al. 2018, https://arxiv.org/abs/1805.01978.
    """

    features: Tensor
    targets: Tensor

    def __init__(self, feature_dim: int, num_classes: int, *, num_neighbors: int = 5, num_samples: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_neighbors = num_neighbors
        self.register_buffer("features", torch.zeros(num_samples, feature_dim))
        self.register_buffer("targets", torch.zeros(num_samples, dtype=torch.long))

    def fit(self, features: Tensor | np.ndarray[Any, Any], targets: Tensor | np.ndarray[Any, Any]) -> None:
        """Keep training features (M, D) and their targets (M,)."""
        features, targets = torch.as_tensor(features).float(), torch.as_tensor(targets).long()
        if len(features) != len(targets) or len(features) == 0:
            raise ValueError(f"Need as many features as targets, at least one; got {len(features)} and {len(targets)}.")
        self.features = F.normalize(features, dim=1).to(self.features.device)
        self.targets = targets.to(self.features.device)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D) to log-probabilities (N, num_classes)."""
        if len(self.features) == 0:
            raise RuntimeError("The nearest-neighbours head keeps no training features yet; call fit() first.")
        # In blocks: 35,000 queries against 35,000 kept features would be a matrix of 4.9 GB.
        return torch.cat([self._vote(block) for block in features.split(_BLOCK_ROWS)])

    def _vote(self, features: Tensor) -> Tensor:
        similarity = F.normalize(features.float(), dim=1) @ self.features.T
        nearest = similarity.topk(min(self.num_neighbors, len(self.features)), dim=1)
        weights = torch.softmax(nearest.values / _TEMPERATURE, dim=1)
        votes = weights.new_zeros(len(features), self.num_classes)
        votes = votes.scatter_add(1, self.targets[nearest.indices], weights)
        return torch.log((1 - _SMOOTHING) * votes + _SMOOTHING / self.num_classes)


@dataclass(frozen=True)
class HeadSpec:
    """A head: `build(feature_dim, num_classes, **options)` makes it, `options` are what it accepts with defaults."""

    name: str
    title: str
    summary: str
    build: Callable[..., nn.Module]
    options: tuple[tuple[str, float], ...] = ()
    is_differentiable: bool = True
    is_iterative: bool = True


def _build_linear(feature_dim: int, num_classes: int) -> nn.Module:
    return nn.Linear(feature_dim, num_classes)


def _build_mlp(feature_dim: int, num_classes: int, *, hidden_dim: int = 256, dropout: float = 0.5) -> nn.Module:
    # He-uniform before a ReLU, like the head of the retinopathy study this repeats.
    hidden = nn.Linear(feature_dim, hidden_dim)
    nn.init.kaiming_uniform_(hidden.weight, nonlinearity="relu")
    nn.init.zeros_(hidden.bias)
    return nn.Sequential(
        hidden, FeatureBatchNorm(hidden_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_dim, num_classes)
    )


HEADS: Registry[HeadSpec] = Registry("head")
HEADS.add(HeadSpec("linear", "Linear", "One weight for each feature and class.", _build_linear))
HEADS.add(
    HeadSpec(
        "mlp",
        "MLP",
        "A layer of 256 units with BatchNorm, ReLU and dropout, then one of classes.",
        _build_mlp,
        options=(("hidden_dim", 256), ("dropout", 0.5)),
    )
)
HEADS.add(
    HeadSpec(
        "nearest_neighbors",
        "Nearest neighbours",
        "Keeps the training features; the most similar ones vote.",
        NearestNeighborsHead,
        options=(("num_neighbors", 5), ("num_samples", 0)),
        is_differentiable=False,
        is_iterative=False,
    )
)


def build_head(name: str, feature_dim: int, num_classes: int, seed: int = 0, **options: float) -> nn.Module:
    """Build a head from the table, initialised from `seed`.

    Raises:
        UserError: unknown head or option, or fewer than two classes.
    """
    spec = HEADS.get(name)
    if num_classes < 2:
        raise UserError(f"A classifier needs at least two classes, received {num_classes}.")
    known = dict(spec.options)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"The head {name!r} has no option {unknown[0]!r}; it knows: {', '.join(known) or 'none'}.")
    with seeded_initialization(seed):
        return spec.build(feature_dim, num_classes, **options)


def linear_from_logistic_regression(scaler: "StandardScaler | None", model: "LogisticRegression") -> nn.Linear:
    """Fold a fitted scaler and logistic regression into one linear layer on raw features.

    w·(x - mean)/scale + b = (w/scale)·x + (b - (w/scale)·mean). A binary model has one row of weights, the log-odds z
    of class 1; it becomes the logits -z/2 and z/2, so that both classes have a gradient for heat maps.

    Returns:
        A layer whose softmax equals `model.predict_proba(scaler.transform(x))`.
    """
    num_classes = len(model.classes_)
    if list(model.classes_) != list(range(num_classes)):
        raise ValueError(f"The classes must be numbered from 0 without a gap, received {list(model.classes_)}.")
    weight, bias = np.asarray(model.coef_, dtype=np.float64), np.asarray(model.intercept_, dtype=np.float64)
    if scaler is not None:
        weight = weight / scaler.scale_
        bias = bias - weight @ scaler.mean_
    if num_classes == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    linear = nn.Linear(weight.shape[1], num_classes)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))
    return linear
