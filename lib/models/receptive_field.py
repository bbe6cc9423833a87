"""How much of the image one place of a stage sees: size, stride and first position, worked out layer by layer.

The network runs once on tensors without content while each convolution and pooling is followed by the arithmetic of
Araujo, Norris and Sim 2019 (https://distill.pub/2019/computing-receptive-fields/): a kernel of k at dilation d, stride
s and padding p, behind places that lie j pixels apart, makes the field (k - 1) d j pixels larger, moves its start by
-p j and sets the places s j pixels apart. Branches that meet see what either sees.
"""

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lib.errors import UserError
from lib.models.stages import StagedNetwork


@dataclass(frozen=True)
class ReceptiveField:
    """What one place of a stage sees of an input of `input_size_px`, in its pixels; the same for rows and columns.

    Place i sees `size_px` pixels from `start_px + i * stride_px` on, of which some may lie outside the image. With
    `is_whole` every pixel counts a little besides, by an operation over the whole image: squeeze-and-excitation,
    attention, a mean. Where no convolution says more (tokens, vectors) the field is the image, and `is_local` False.
    """

    size_px: int
    stride_px: int
    start_px: int
    input_size_px: int
    is_whole: bool = False
    is_local: bool = True

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The pixels that a place sees, inside the image: top, left, bottom, right, the last two exclusive."""
        if not self.is_local:
            return 0, 0, self.input_size_px, self.input_size_px
        starts = [self.start_px + place * self.stride_px for place in (row, column)]
        first = [min(max(start, 0), self.input_size_px - 1) for start in starts]
        end = [min(max(start + self.size_px, 1), self.input_size_px) for start in starts]
        return first[0], first[1], max(end[0], first[0] + 1), max(end[1], first[1] + 1)

    def describe(self) -> str:
        """In words, for a caption."""
        image = f"{self.input_size_px} × {self.input_size_px} pixels"
        if not self.is_local:
            return f"each place sees the whole image of {image}"
        words = f"each place sees {self.size_px} × {self.size_px} pixels of {image}, {self.stride_px} pixels apart"
        return f"{words}; an operation over the whole image adds a little of everything" if self.is_whole else words


def receptive_field(network: StagedNetwork, stage: str, input_size_px: int) -> ReceptiveField:
    """The receptive field of `stage` for inputs (N, 3, input_size_px, input_size_px); see `receptive_fields`.

    Raises:
        UserError: unknown stage.
    """
    return _follow(network, input_size_px, until=stage)[stage]


def receptive_fields(network: StagedNetwork, input_size_px: int) -> dict[str, ReceptiveField]:
    """Stage -> receptive field, of all stages in order, for inputs (N, 3, input_size_px, input_size_px).

    The network stays as it is; its weights are not read, so that one without memory for them (`empty_backbone`) will
    do. Where rows and columns differ, the larger field is given.
    """
    return _follow(network, input_size_px)


def _follow(network: StagedNetwork, input_size_px: int, until: str | None = None) -> dict[str, ReceptiveField]:
    specs = {spec.name: spec for spec in network.stage_specs}
    image = ReceptiveField(input_size_px, input_size_px, 0, input_size_px, is_whole=True, is_local=False)
    if until is not None and until not in specs:
        raise UserError(f"This network has no stage {until!r}. Choose one of: {', '.join(specs)}.")
    names = list(specs)[: list(specs).index(until) + 1 if until else None]
    placed = list(itertools.takewhile(lambda name: specs[name].output != "vector", names))
    found = dict.fromkeys(names, image)
    if not placed:
        return found
    emptied: Any = _without_content(cast(nn.Module, network)).eval()
    dtype = next((one.dtype for one in emptied.parameters() if one.is_floating_point()), torch.float32)
    h = torch.empty(2, 3, input_size_px, input_size_px, device="meta", dtype=dtype)
    follower = _Follower(h)
    for index, name in enumerate(placed):
        with torch.no_grad(), follower:
            h = emptied.forward_between(h, placed[index - 1], name) if index else emptied.forward_until(h, name)
        field = follower.field(h)
        if field is not None and field.spans is not None:
            size, stride, start = _union(field.spans)
            found[name] = ReceptiveField(size, stride, start, input_size_px, is_whole=field.is_whole)
        elif specs[name].has_places:
            places = h.shape[1] - specs[name].num_prefix_tokens if h.ndim == 3 else math.prod(h.shape[-2:])
            found[name] = dataclasses.replace(image, stride_px=input_size_px // max(math.isqrt(places), 1))
    return found


def _without_content(module: nn.Module) -> nn.Module:
    """A copy of the tree of modules on the device "meta"; the tensors of the given one are not touched."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    emptied = {
        id(one): nn.Parameter(torch.empty_like(one, device="meta"), requires_grad=False)
        if isinstance(one, nn.Parameter)
        else torch.empty_like(one, device="meta")
        for one in tensors
    }
    return copy.deepcopy(module, emptied)


Span = tuple[int, int, int]  # size, stride and start of one axis, in pixels of the input


@dataclass(frozen=True)
class _Field:
    """Of a tensor: the dimensions that are rows and columns with their spans, None where places are mixed up."""

    axes: tuple[int, int]
    spans: tuple[Span, Span] | None
    is_whole: bool = False


_MIXED = _Field((0, 0), None, is_whole=True)


def _union(spans: Sequence[Span]) -> Span:
    """What either of the spans sees."""
    start = min(start for _, _, start in spans)
    end = max(start + size for size, _, start in spans)
    return end - start, max(stride for _, stride, _ in spans), start


class _Follower(TorchFunctionMode):
    """Knows the field of each tensor that was computed from `batch` while it is entered, in the present thread."""

    def __init__(self, batch: Tensor) -> None:
        super().__init__()
        # The tensors are held, so that no other gets the place of one in memory.
        self._known: dict[int, tuple[Tensor, _Field]] = {id(batch): (batch, _Field((2, 3), ((1, 1, 0), (1, 1, 0))))}

    def field(self, tensor: Any) -> _Field | None:
        """The field of a tensor; None of what does not depend on the image."""
        return self._known.get(id(tensor), (None, None))[1]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation of the network and note what its outputs see."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        inputs = [one for one in _tensors((args, kwargs)) if self.field(one) is not None]
        outputs = list(_tensors(result))
        if not inputs or not outputs:
            return result
        fields = [cast(_Field, self.field(one)) for one in inputs]
        rule = _RULES.get(name := func.__name__.strip("_"))
        if rule is not None and fields[0].spans is not None:
            found = rule(fields[0], inputs[0], outputs[0], args, kwargs)
        else:
            found = _merged(inputs, fields, outputs[0]) if name in _LOCAL or _is_pointwise(name) else _MIXED
        for output in outputs:
            if not any(output is one for one in inputs) or len(inputs) > 1:  # `contiguous` gives back what it is given
                self._known[id(output)] = (output, found)
        return result


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _is_pointwise(name: str) -> bool:
    """Whether torch itself says that the operation, in place or not, looks at each element alone."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None and hasattr(packet, "overloads") else []
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in overloads)


def _merged(inputs: list[Tensor], fields: list[_Field], output: Tensor) -> _Field:
    """Branches that meet place by place; a number for the whole image, as of squeeze-and-excitation, counts for all."""
    placed = [field for field in fields if field.spans is not None]
    if not placed or any(field.axes != placed[0].axes for field in placed) or max(placed[0].axes) >= output.ndim:
        return _MIXED
    axes = placed[0].axes
    for one, field in zip(inputs, fields, strict=True):
        if field.spans is None and any(
            one.shape[axis - output.ndim] > 1 for axis in axes if output.ndim - axis <= one.ndim
        ):
            return _MIXED
    spans = [cast(tuple[Span, Span], field.spans) for field in placed]
    is_whole = any(field.is_whole for field in fields)
    return _Field(axes, (_union([one[0] for one in spans]), _union([one[1] for one in spans])), is_whole)


def _pair(value: Any) -> tuple[int, int]:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return int(numbers[0]), int(numbers[-1])


def _slid(field: _Field, kernel: Any, stride: Any, padding: Any, dilation: Any) -> _Field:
    """A window that slides over rows and columns."""
    spans = []
    for axis, (size, step, start) in enumerate(cast(tuple[Span, Span], field.spans)):
        k, s, p, d = (_pair(value)[axis] for value in (kernel, stride, padding, dilation))
        spans.append((size + (k - 1) * d * step, step * s, start - p * step))
    return _Field(field.axes, (spans[0], spans[1]), field.is_whole)


def _given(args: Any, kwargs: Any, position: int, name: str, default: Any) -> Any:
    value = args[position] if len(args) > position else kwargs.get(name)
    return default if value is None or value == [] else value


def _convolved(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    if field.axes != (2, 3):
        return _MIXED
    kernel = (args[1] if len(args) > 1 else kwargs["weight"]).shape[2:]
    stride, padding, dilation = (
        _given(args, kwargs, position, name, default)
        for position, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    if isinstance(padding, str):  # "same" adds the odd one behind
        across = zip(kernel, _pair(dilation), strict=True)
        padding = 0 if padding == "valid" else [(k - 1) * d // 2 for k, d in across]
    return _slid(field, tuple(kernel), stride, padding, dilation)


def _pooled(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    if field.axes != (2, 3):
        return _MIXED
    kernel = _given(args, kwargs, 1, "kernel_size", 1)
    return _slid(field, kernel, _given(args, kwargs, 2, "stride", kernel), _given(args, kwargs, 3, "padding", 0), 1)


def _max_pooled(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    if field.axes != (2, 3):
        return _MIXED
    kernel = _given(args, kwargs, 1, "kernel_size", 1)
    stride, padding = _given(args, kwargs, 2, "stride", kernel), _given(args, kwargs, 3, "padding", 0)
    return _slid(field, kernel, stride, padding, _given(args, kwargs, 4, "dilation", 1))


def _pooled_to_size(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    sides = list(zip(before.shape[-2:], output.shape[-2:], strict=True))
    if field.axes != (before.ndim - 2, before.ndim - 1) or any(side % new for side, new in sides):
        return _MIXED
    kernel = tuple(side // new for side, new in sides)
    return _MIXED if tuple(output.shape[-2:]) == (1, 1) and kernel != (1, 1) else _slid(field, kernel, kernel, 0, 1)


def _padded(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    widths = [int(width) for width in _given(args, kwargs, 1, "pad", [])]
    dims = [before.ndim - 1 - index for index in range(len(widths) // 2)]  # given from the last dimension on
    lows = dict(zip(dims, widths[::2], strict=True))
    moved = [
        (size, step, start - lows.get(axis, 0) * step)
        for axis, (size, step, start) in zip(field.axes, cast(tuple[Span, Span], field.spans), strict=True)
    ]
    return _Field(field.axes, (moved[0], moved[1]), field.is_whole)


def _permuted(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    order = list(args[1]) if len(args) == 2 and isinstance(args[1], list | tuple) else list(args[1:])
    order = [axis % before.ndim for axis in order or kwargs.get("dims", [])]
    return _Field((order.index(field.axes[0]), order.index(field.axes[1])), field.spans, field.is_whole)


def _transposed(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    one, other = (int(axis) % before.ndim for axis in args[1:3])
    swap = {one: other, other: one}
    return _Field(
        (swap.get(field.axes[0], field.axes[0]), swap.get(field.axes[1], field.axes[1])), field.spans, field.is_whole
    )


def _reshaped(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    """Channels in groups (and back) leave the rows and columns behind them as they are."""
    is_last = field.axes == (before.ndim - 2, before.ndim - 1) and output.ndim > 2
    if is_last and output.shape[-2:] == before.shape[-2:]:
        return _Field((output.ndim - 2, output.ndim - 1), field.spans, field.is_whole)
    return _MIXED


def _reduced(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    """A mean or maximum over channels keeps places; over rows or columns, it does not."""
    given = _given(args, kwargs, 1, "dim", list(range(before.ndim)))
    gone = {int(axis) % before.ndim for axis in (given if isinstance(given, list | tuple) else [given])}
    if gone & set(field.axes):
        return _MIXED
    row, column = field.axes
    if output.ndim < before.ndim:
        row, column = (axis - sum(one < axis for one in gone) for axis in field.axes)
    return _Field((row, column), field.spans, field.is_whole)


def _parted(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    """Some of the channels keep their places; some of the rows or columns do not."""
    is_kept = output.ndim == before.ndim and all(output.shape[axis] == before.shape[axis] for axis in field.axes)
    return field if is_kept else _MIXED


def _normalised(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    first = before.ndim - len(_given(args, kwargs, 1, "normalized_shape", []))
    return _Field(field.axes, field.spans, field.is_whole or max(field.axes) >= first)


def _multiplied(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    return field if max(field.axes) < before.ndim - 1 else _MIXED


def _over_the_image(field: _Field, before: Tensor, output: Tensor, args: Any, kwargs: Any) -> _Field:
    return _Field(field.axes, field.spans, is_whole=True)


# What looks at each place alone, of which torch does not say so. `cat` joins channels: rows would have another height.
_LOCAL = {
    *(
        "batch_norm",
        "dropout",
        "dropout2d",
        "contiguous",
        "to",
        "float",
        "clone",
        "detach",
        "cat",
        "prelu",
        "hardswish",
    ),
    *("hardtanh", "relu6", "iadd", "imul", "drop_path"),
}
_RULES: dict[str, Callable[[_Field, Tensor, Tensor, Any, Any], _Field]] = {
    "conv2d": _convolved,
    "avg_pool2d": _pooled,
    "max_pool2d": _max_pooled,
    "adaptive_avg_pool2d": _pooled_to_size,
    "adaptive_max_pool2d": _pooled_to_size,
    "pad": _padded,
    "permute": _permuted,
    "transpose": _transposed,
    "reshape": _reshaped,
    "view": _reshaped,
    "split": _parted,
    "chunk": _parted,
    "getitem": _parted,
    "mean": _reduced,
    "amax": _reduced,
    "sum": _reduced,
    "layer_norm": _normalised,
    "linear": _multiplied,
    "group_norm": _over_the_image,
    "instance_norm": _over_the_image,
}
