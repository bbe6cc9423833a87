"""Fitted scalers and models as plain linear layers."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler


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
