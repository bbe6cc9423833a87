"""Fitted scalers, models and BatchNorm folded into the convolutions and linear layers beside them."""

import copy
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

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
    return _linear(torch.from_numpy(weight), torch.from_numpy(bias))


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
    return _linear(linear.weight[1:] - linear.weight[:1], linear.bias[1:] - linear.bias[:1])


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
                scale, shift = _scale_and_shift(layer)
                weight, bias = layers[-1].weight.double(), layers[-1].bias.double()
                layers[-1] = _linear(scale[:, None] * weight, scale * bias + shift)
            else:
                waiting = _scale_and_shift(layer)
        elif isinstance(layer, nn.Linear) and waiting is not None:
            scale, shift = waiting
            weight, bias = layer.weight.double(), layer.bias.double()
            layers.append(_linear(weight * scale, bias + weight @ shift))
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


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear


def share_module_tree(module: nn.Module) -> nn.Module:
    """Copy the tree of modules (modes, hooks, attributes) while every parameter and buffer stays the same tensor."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    # An entry in deepcopy's memo means "this object is copied already": the tensors are taken over as they are.
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def fold_stages(stages: nn.ModuleDict, batch: Tensor) -> nn.ModuleDict:
    """The stages in evaluation mode, BatchNorm folded into the convolution or linear layer that feeds it.

    The given stages keep their weights and statistics; whatever is not folded is shared with them. Which layer feeds
    which BatchNorm is seen by running `batch`, so that a network of any build can be folded; a stage whose output would
    then differ is left as it is. They are images (N, 3, H, W) that are not all alike, on the device of the stages.
    """
    plain: Any = share_module_tree(stages).eval()
    if not any(isinstance(module, _BatchNorm) for module in stages.modules()):
        return plain
    folded = nn.ModuleDict()
    with torch.inference_mode(mode=False), torch.no_grad():
        hidden = batch
        for name, stage in plain.items():
            expected = stage(hidden)
            folded[name] = _folded_stage(stage, hidden, expected)
            hidden = expected
    return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _folded_stage(plain: nn.Module, hidden: Tensor, expected: Tensor) -> nn.Module:
    pairs = _layers_before_norms(plain, hidden)
    if not pairs:
        return plain
    holder = nn.ModuleDict({"stage": share_module_tree(plain)})
    places = {id(module): name for name, module in plain.named_modules(prefix="stage")}
    for norm, layer in pairs.items():
        fused = fuse_linear_bn_eval(layer, norm) if isinstance(layer, nn.Linear) else fuse_conv_bn_eval(layer, norm)
        _put(holder, places[id(layer)], fused)
        _put(holder, places[id(norm)], _behind_norm(norm))
    found = holder["stage"](hidden)
    is_same = torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    return holder["stage"] if is_same else plain


def _layers_before_norms(stage: nn.Module, hidden: Tensor) -> dict[Any, Any]:
    """BatchNorm layers whose input is what one convolution or linear layer put out, each run once; and that layer."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # holds the outputs, so that no other gets their place in memory
    pairs: dict[Any, Any] = {}
    calls: Counter[nn.Module] = Counter()

    def keep(module: nn.Module, _: Any, output: Tensor) -> None:
        calls[module] += 1
        made[id(output)] = (module, output)

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        if id(inputs[0]) in made and module.running_mean is not None:
            pairs[module] = made[id(inputs[0])][0]

    handles = []
    for module in stage.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_hook(keep))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(look))
    try:
        stage(hidden)
    finally:
        for handle in handles:
            handle.remove()
    return {norm: layer for norm, layer in pairs.items() if calls[norm] == calls[layer] == 1}


def _behind_norm(norm: nn.Module) -> nn.Module:
    """What is left of a BatchNorm that went into the layer before it: in timm's networks it holds the activation."""
    parts = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if isinstance(part, nn.Module)]
    return nn.Sequential(*parts) if parts else nn.Identity()


def _put(root: nn.Module, place: str, module: nn.Module) -> None:
    parent, _, name = place.rpartition(".")
    setattr(root.get_submodule(parent), name, module)
