"""Fitted scalers, models and BatchNorm as plain linear layers."""

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.head_layers import SupportVectorHead

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC


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


def support_vector_head(
    scaler: "StandardScaler", machine: "LinearSVC", scale: np.ndarray, offset: np.ndarray
) -> SupportVectorHead:
    """Fold a scaler into a fitted machine: margins of raw features, with Platt's scale and offset (R,)."""
    weight = np.asarray(machine.coef_, dtype=np.float64) / scaler.scale_
    bias = np.asarray(machine.intercept_, dtype=np.float64) - weight @ scaler.mean_
    head = SupportVectorHead(weight.shape[1], len(machine.classes_))
    with torch.no_grad():
        for parameter, values in ((head.weight, weight), (head.bias, bias), (head.scale, scale), (head.offset, offset)):
            parameter.copy_(torch.from_numpy(values))
    return head


def as_sigmoid_unit(linear: nn.Linear) -> nn.Linear:
    """Two logits as the one log-odds of class 1 against class 0, which is their difference."""
    unit = nn.Linear(linear.in_features, 1)
    with torch.no_grad():
        unit.weight.copy_(linear.weight[1:] - linear.weight[:1])
        unit.bias.copy_(linear.bias[1:] - linear.bias[:1])
    return unit


def fold_batchnorm(head: nn.Sequential) -> nn.Sequential:
    """A copy of a head without BatchNorm that gives the same output in evaluation mode.

    BatchNorm is y = a·x + c with a = weight / sqrt(variance + eps) and c = bias - a·mean. Straight behind a linear
    layer it goes into that one (a·W, a·b + c); behind an activation into the next one (W·a, b + W·c), since dropout
    between the two does nothing in evaluation mode.

    Raises:
        ValueError: a BatchNorm with no linear layer before or behind it.
    """
    layers: list[nn.Module] = []
    waiting: tuple[Tensor, Tensor] | None = None
    for layer in head:
        if isinstance(layer, nn.BatchNorm1d):
            if layers and isinstance(layers[-1], nn.Linear):
                layers[-1] = _scaled_output(layers[-1], *_scale_and_shift(layer))
            else:
                waiting = _scale_and_shift(layer)
        elif isinstance(layer, nn.Linear) and waiting is not None:
            layers.append(_scaled_input(layer, *waiting))
            waiting = None
        else:
            layers.append(copy.deepcopy(layer))
    if waiting is not None:
        raise ValueError("A BatchNorm without a linear layer behind it cannot be folded.")
    return nn.Sequential(*layers)


def _scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101 (heads keep statistics)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - scale * norm.running_mean.double()


def _scaled_output(linear: nn.Linear, scale: Tensor, shift: Tensor) -> nn.Linear:
    return _linear(scale[:, None] * linear.weight.double(), scale * linear.bias.double() + shift)


def _scaled_input(linear: nn.Linear, scale: Tensor, shift: Tensor) -> nn.Linear:
    return _linear(linear.weight.double() * scale, linear.bias.double() + linear.weight.double() @ shift)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear
