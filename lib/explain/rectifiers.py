"""Which nonlinear steps a network takes, and private copies of it on which captum can change what they pass back.

Guided back-propagation and DeepLift put rules on modules: what a network calls as a function escapes them, and a module
that is called twice mixes its two calls up. One recorded forward pass tells. The copies share all parameters; in them a
module that is called more than once is there once for each call, and a ReLU6 is made of ReLUs.
"""

import copy
import math
import threading
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lib.models.folding import share_module_tree
from lib.models.stages import StagedNetwork

_RULED = (nn.ReLU, nn.ReLU6, nn.MaxPool2d)
_RECTIFYING = {
    "relu", "relu_", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "prelu", "silu", "mish", "gelu",
    "hardswish", "hardsigmoid", "sigmoid", "tanh",
}  # fmt: skip
_PRODUCTS = {"mul", "mul_", "__mul__", "__imul__", "matmul", "__matmul__", "bmm", "scaled_dot_product_attention"}
_OTHERS = {
    "softplus", "logsigmoid", "log_sigmoid", "softmax", "log_softmax", "max_pool2d", "max_pool2d_with_indices",
    "adaptive_max_pool2d", "amax", "max", "maximum", "clamp", "abs", "sqrt", "exp", "log", "layer_norm", "group_norm",
    "instance_norm", "normalize",
}  # fmt: skip
_WORDS = {"mul": "products of two maps (gates)", "max_pool2d": "maximum pooling", "amax": "the maximum over the image"}


@dataclass(frozen=True)
class NonlinearSteps:
    """What one forward pass showed: modules that rules can be put on, and functions that rules do not reach.

    `num_calls` holds the calls of each ruled module by its name; `functions` the other nonlinear steps.
    """

    num_calls: Mapping[str, int]
    functions: frozenset[str]

    def beyond(self, allowed: set[str]) -> str:
        """The functions that are not allowed, in words; "" if there is none."""
        return ", ".join(sorted({_WORDS.get(name, name) for name in self.functions - allowed}))


class _Recorder(TorchFunctionMode):
    """Notes nonlinear functions that are called outside of ruled modules."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.functions: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if not self.depth and (name in _RECTIFYING or name in _OTHERS):
            self.functions.add(name.rstrip("_").removesuffix("_with_indices"))
        elif not self.depth and name in _PRODUCTS and all(map(_depends_on_image, args[:2])):
            self.functions.add("mul")
        return func(*args, **(kwargs or {}))


def _depends_on_image(value: Any) -> bool:
    # Parameters and constants are leaves of the graph; what was computed from the image is not.
    return isinstance(value, Tensor) and value.requires_grad and not value.is_leaf


_KNOWN: "weakref.WeakKeyDictionary[Any, NonlinearSteps]" = weakref.WeakKeyDictionary()
_KNOWING = threading.Lock()


def nonlinear_steps(network: StagedNetwork) -> NonlinearSteps:
    """What a small image meets on its way through the network; looked up once for each network."""
    with _KNOWING:
        if network not in _KNOWN:
            _KNOWN[network] = _record(network)
        return _KNOWN[network]


def _record(network: StagedNetwork) -> NonlinearSteps:
    private: Any = share_module_tree(cast(nn.Module, network)).eval()
    recorder, calls = _Recorder(), Counter[str]()

    def enter(name: str) -> Callable[..., None]:
        def note(*_: Any) -> None:
            calls[name] += 1
            recorder.depth += 1

        return note

    def leave(*_: Any) -> None:
        recorder.depth -= 1

    for name, module in private.named_modules():
        if type(module) in _RULED:
            module.register_forward_pre_hook(enter(name))
            module.register_forward_hook(leave)
    whole = AnsweringModule(private, lambda net, images: net(images))
    held = dict(whole.named_parameters()) | dict(whole.named_buffers())
    tensors = {name: torch.empty_like(tensor, device="meta") for name, tensor in held.items()}
    with torch.inference_mode(mode=False), torch.enable_grad():
        try:  # shapes alone tell which functions are called, and cost nothing
            h = torch.zeros(1, 3, *_small_size(private), device="meta", dtype=_dtype(private)).requires_grad_() * 1.0
            with recorder:
                torch.func.functional_call(whole, tensors, (h,))
        except (RuntimeError, NotImplementedError):  # a network that looks at values, or holds tensors of its own
            recorder.depth, recorder.functions = 0, set()
            calls.clear()
            h = torch.zeros(1, 3, *_small_size(private), device=_device(private), dtype=_dtype(private))
            with recorder:
                whole(h.requires_grad_() * 1.0)
    return NonlinearSteps(dict(calls), frozenset(recorder.functions))


def _small_size(network: StagedNetwork) -> tuple[int, int]:
    spec = getattr(network, "spec", None)
    if spec is None:
        return 32, 32
    side = spec.input_size_px if spec.is_fixed_size else max(spec.min_input_px, 32)
    side = math.ceil(side / spec.input_step_px) * spec.input_step_px
    return side, side


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters(), torch.empty(0)).device


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters(), torch.empty(0)).dtype


def why_no_guided_rule(network: StagedNetwork) -> str:
    """Why guided back-propagation does not fit, as a sentence; "" if it does: every rectifier is a ReLU or ReLU6."""
    steps = nonlinear_steps(network)
    escaping = steps.beyond(_OTHERS)
    if escaping:
        return f"Its rule is one for ReLU, and this network also rectifies or gates by {escaping}."
    is_rectified = any(not isinstance(_module(network, name), nn.MaxPool2d) for name in steps.num_calls)
    return "" if is_rectified else "Its rule is one for ReLU, and this network has none."


def why_no_deep_lift_rules(network: StagedNetwork) -> str:
    """Why DeepLift does not fit, as a sentence; "" if each nonlinear step is a ReLU, ReLU6 or MaxPool2d module."""
    escaping = nonlinear_steps(network).beyond(set())
    return f"It has no rule for {escaping} as this network computes it." if escaping else ""


def _module(network: StagedNetwork, name: str) -> nn.Module:
    return cast(nn.Module, network).get_submodule(name)


class _PerCall(nn.Module):
    """The same module once for each call of a forward pass, so that each call keeps its own inputs and outputs."""

    def __init__(self, make: Callable[[], nn.Module], num_calls: int) -> None:
        super().__init__()
        self.copies = nn.ModuleList(make() for _ in range(num_calls))
        self.num_called = 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_called += 1
        output: Tensor = self.copies[(self.num_called - 1) % len(self.copies)](x)
        return output


class _CappedReLU(nn.Module):
    """ReLU6 as a ReLU and a cap that passes plain gradients: min(relu(x), 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.rectifier = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.rectifier(x).clamp(max=6.0)
        return output


class _TwoReLUs(nn.Module):
    """ReLU6 as two ReLUs, for a rule that must reach every nonlinear step: 6 - relu(6 - relu(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = 6.0 - self.upper(6.0 - self.lower(x))
        return output


def copy_for_rules(network: StagedNetwork, *, caps_are_ruled: bool = False) -> Any:
    """A private copy in evaluation mode that shares all parameters, in which each ruled module is called once.

    `caps_are_ruled` says that the cap of a ReLU6 is a ReLU too, which DeepLift needs.
    """
    steps = nonlinear_steps(network)
    private: Any = share_module_tree(cast(nn.Module, network)).eval()
    places = dict(private.named_modules())
    make_relu6 = _TwoReLUs if caps_are_ruled else _CappedReLU
    made: dict[int, nn.Module] = {}
    for name, num_calls in steps.num_calls.items():
        module = places[name]
        is_capped = type(module) is nn.ReLU6
        if num_calls > 1 or is_capped:
            make = make_relu6 if is_capped else partial(copy.deepcopy, module)
            made[id(module)] = make() if num_calls == 1 else _PerCall(make, num_calls)
    for parent in list(private.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in made:
                setattr(parent, name, made[id(child)])
    return private


def modified_gradient(
    network: StagedNetwork, kind: str, images: Tensor, score: Callable[[Any, Tensor], Tensor]
) -> Tensor:
    """Captum's GuidedBackprop or Deconvolution ("guided", "deconvolution") of `score(network, images)` (N,).

    Returns:
        (N, 3, H, W), signed.
    """
    from captum.attr import Deconvolution, GuidedBackprop

    private = copy_for_rules(network)
    wrapped = AnsweringModule(private, score)
    rule = {"guided": GuidedBackprop, "deconvolution": Deconvolution}[kind](wrapped)
    quiet_about_hooks()
    found: Tensor = rule.attribute(images.detach().clone().requires_grad_())
    return found.detach()


def quiet_about_hooks() -> None:
    """Captum tells at every call that it sets hooks: that is what the copies are for."""
    warnings.filterwarnings("ignore", message="Setting .*hooks")


class AnsweringModule(nn.Module):
    """A network whose output is the explained number of each image (N,): what captum asks for."""

    def __init__(self, network: Any, score: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.score = score

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N,)."""
        return self.score(self.network, images)
