"""How a stage becomes features, the layers that heads are made of, and how the table's heads are put together."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Sharpness of the similarity weights and the method: https://arxiv.org/abs/1805.01978, section 3.4.
_TEMPERATURE = 0.07
# Share of the probability given to all classes alike: a class without a neighbour keeps a finite log-probability.
_SMOOTHING = 0.01
_BLOCK_ROWS = 1024


def pool_features(h: Tensor, pooling: str, num_prefix_tokens: int = 0) -> Tensor:
    """A stage's output (N, C, H, W), (N, L, D) or (N, D) to features (N, D); "none" leaves a map as it is.

    Of tokens "cls" takes the first, "average" the mean of those behind the first `num_prefix_tokens`.
    """
    if pooling == "cls":
        return h[:, 0]
    if pooling == "average" and h.ndim == 3:
        return h[:, num_prefix_tokens:].mean(1)
    if pooling == "average":
        return F.adaptive_avg_pool2d(h, 1).flatten(1)
    return h.flatten(1) if pooling == "flatten" else h


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

    def votes_without_own(self, features: Tensor, units: Tensor, kept_units: Tensor) -> Tensor:
        """The same for features (N, D) of groups `units` (N,), without the votes of kept features of the same group.

        A group is a number, such as a patient's; `kept_units` (M,) are those of the kept features.
        """
        blocks = zip(features.split(_BLOCK_ROWS), units.split(_BLOCK_ROWS), strict=True)
        device = self.features.device
        kept = kept_units.to(device)
        return torch.cat([self._vote(block.to(device), own.to(device)[:, None] == kept) for block, own in blocks])

    def _vote(self, features: Tensor, is_own: Tensor | None = None) -> Tensor:
        similarity = F.normalize(features.float(), dim=1) @ self.features.T
        if is_own is not None:
            similarity = similarity.masked_fill(is_own, -torch.inf)
        nearest = similarity.topk(min(self.num_neighbors, len(self.features)), dim=1)
        weights = torch.softmax(nearest.values / _TEMPERATURE, dim=1)
        votes = weights.new_zeros(len(features), self.num_classes)
        votes = votes.scatter_add(1, self.targets[nearest.indices], weights)
        return torch.log((1 - _SMOOTHING) * votes + _SMOOTHING / self.num_classes)


def neighbor_votes(features: Tensor, kept: Tensor, classes: Tensor, *, num_neighbors: int) -> Tensor:
    """What `NearestNeighborsHead` answers, in one piece and by operations that a trace takes for any number of images.

    Features (N, D), kept unit vectors (M, D) and their classes one-hot (M, K) to log-probabilities (N, K).
    """
    nearest = (F.normalize(features.float(), dim=1) @ kept.T).topk(min(num_neighbors, kept.shape[0]), dim=1)
    weights = torch.softmax(nearest.values / _TEMPERATURE, dim=1)
    votes = (weights[:, :, None] * classes[nearest.indices]).sum(1)
    return torch.log((1 - _SMOOTHING) * votes + _SMOOTHING / classes.shape[1])


class BinaryLogits(nn.Module):
    """One sigmoid unit as two classes: the log-odds z of class 1 become the logits -z/2 and z/2.

    Their softmax is (1 - sigmoid(z), sigmoid(z)), so that cross-entropy is binary cross-entropy with the same gradient,
    and both classes have a gradient for heat maps, which a constant logit 0 would not give.
    """

    def forward(self, log_odds: Tensor) -> Tensor:
        """(N, 1) to (N, 2)."""
        return torch.cat([-log_odds, log_odds], dim=1) / 2


class SupportVectorHead(nn.Module):
    """One linear machine a class against the rest (for two classes a single one), with Platt's scale of its margins.

    The probability of a class is sigmoid(scale * margin + offset), divided by the sum over all classes; the output is
    its logarithm, so that a softmax gives it back.
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        num_machines = 1 if num_classes == 2 else num_classes
        self.weight = nn.Parameter(torch.zeros(num_machines, feature_dim))
        self.bias = nn.Parameter(torch.zeros(num_machines))
        self.scale = nn.Parameter(torch.ones(num_machines))
        self.offset = nn.Parameter(torch.zeros(num_machines))
        self.to_logits = BinaryLogits() if num_machines == 1 else nn.LogSigmoid()

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D) to logits (N, num_classes)."""
        margins = F.linear(features, self.weight, self.bias)
        logits: Tensor = self.to_logits(self.scale * margins + self.offset)
        return logits


class SpatialAverage(nn.Module):
    """The mean over all positions of a map, whatever its size."""

    def forward(self, scores: Tensor) -> Tensor:
        """(N, K, H, W) to (N, K)."""
        return scores.mean((2, 3))


def build_layers(num_inputs: int, num_outputs: int, *, norm: str = "", **options: float) -> nn.Module:
    """Hidden layers with ReLU and dropout, and a linear one; that one alone where no option gives a width.

    `options` and `norm` are those of a `HeadSpec`; a dropout of 0 is left out, except before the last layer.
    """
    widths = [width for name, width in options.items() if name.endswith("_dim")]
    dropouts = [share for name, share in options.items() if name.endswith("dropout")]
    layers: list[nn.Module] = []
    for index, (width, dropout) in enumerate(zip(widths, dropouts, strict=True)):
        hidden = he_uniform(nn.Linear(num_inputs, width))  # type: ignore[arg-type]
        normed = [FeatureBatchNorm(width)] if norm else []  # type: ignore[arg-type]
        layers += [hidden, *normed, nn.ReLU()] if norm == "before" else [hidden, nn.ReLU(), *normed]
        if dropout or index == len(widths) - 1:
            layers.append(nn.Dropout(dropout))
        num_inputs = width  # type: ignore[assignment]
    last = nn.Linear(num_inputs, num_outputs)
    return nn.Sequential(*layers, last) if layers else last


def build_fully_convolutional(num_channels: int, num_outputs: int, *, hidden_dim: int, dropout: float) -> nn.Module:
    """1x1 convolutions that score each position of a map (N, C, H, W), and the mean of the scores."""
    hidden = he_uniform(nn.Conv2d(num_channels, hidden_dim, 1))
    scores = nn.Conv2d(hidden_dim, num_outputs, 1)
    return nn.Sequential(hidden, nn.ReLU(), nn.Dropout(dropout), scores, SpatialAverage())


def he_uniform(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """A layer before a ReLU, initialised like the head of the retinopathy study that this repeats."""
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
