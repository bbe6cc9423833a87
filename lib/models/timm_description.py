"""What a network of timm is: its stages, sizes and preprocessing, found by running it once with random weights."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.backbone_spec import TIMM, BackboneSpec, StageSpec
from lib.models.head_layers import pool_features
from lib.models.networks import seeded_initialization
from lib.models.timm_stages import FEATURES, LOGITS, POOL, build_timm, feature_channels, not_divisible, segments

_MIN_INPUT_PX = 32
_NOUNS = {"blocks": "Block", "stages": "Stage", "layers": "Layer", "levels": "Level"}
_ENDS = {FEATURES: "Last features", POOL: "What the classifier reads", LOGITS: "Classes"}
_SOURCES = {"in21k": "ImageNet-21k", "in22k": "ImageNet-22k", "in12k": "ImageNet-12k"}
_INTERPOLATIONS = ("bilinear", "bicubic")
_SUFFIXES = (".pth", ".pt", ".tar", ".bin", ".safetensors")


def describe_timm(name: str) -> BackboneSpec:
    """Build the specification of `timm:NAME` from the network itself, run on random images.

    Raises:
        UserError: a network that takes no square RGB images, or one that cannot be cut into stages.
    """
    settings = _settings(name)
    size_px = int(settings["input_size"][-1])
    with seeded_initialization(0):
        network = build_timm(name).eval()
    images = torch.randn(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), _named(name):
        outputs, turned = _usable_outputs(network, images)
        if len(outputs) < 2 or not _is_same(next(reversed(outputs.values())), network(images)):
            raise UserError(
                f"The network {name} cannot be cut into stages: its features do not follow one from another. Choose "
                "another network."
            )
        on_grid = _stages_on_grid(network, images, outputs)
        counts = [sum(map(torch.numel, part.parameters())) for _, part in segments(network, (), set(outputs))]
        stages = [
            _stage(network, key, h, is_turned=key in turned, is_on_grid=key in on_grid, num_parameters=count)
            for (key, h), count in zip(outputs.items(), counts, strict=True)
        ]
        least_px, step_px = _sizes(network, size_px)
        feature_stage, pooling = _own_features(stages, outputs)
    names = [stage.name for stage in stages]
    own = [stage for stage in names if stage in feature_channels(network)] or [feature_stage]
    maps = [stage.name for stage in stages[: names.index(feature_stage) + 1] if stage.output == "map"]
    source, interpolation = _weights_source(settings), settings["interpolation"]
    paper = settings.get("paper_ids") or ""
    paper = str(paper if isinstance(paper, str) else paper[0]).removeprefix("arXiv:")
    return BackboneSpec(
        name=name,
        title=name,
        network=name,
        paper_url=f"https://arxiv.org/abs/{paper}" if paper else "https://github.com/huggingface/pytorch-image-models",
        stages=tuple(stages),
        feature_stage=feature_stage,
        cam_stage=maps[-1] if maps else "",
        # The last quarter of timm's own stages: one of four, three of a transformer's twelve blocks.
        unfreeze_from=own[-max(1, len(own) // 4)],
        pooling=pooling,
        weights_source=source,
        weights_mib=round(sum(counts) * 4 / 2**20, 1) if source else 0.0,
        weights_licence=str(settings.get("license") or ""),
        pretrained_on=_pretrained_on(settings),
        input_size_px=size_px,
        min_input_px=least_px,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation=interpolation if interpolation in _INTERPOLATIONS else "bicubic",
        crop_fraction=float(settings["crop_pct"]),
        is_fixed_size=least_px == size_px,
        input_step_px=step_px,
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Let refusals name the network."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("This network", f"The network {name}", 1)) from error.__cause__


def _is_same(one: Any, other: Any) -> bool:
    is_comparable = isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape
    return is_comparable and torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _settings(name: str) -> dict[str, Any]:
    """Timm's own settings of the network's input and weights."""
    import timm
    from timm.data import resolve_data_config

    config = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    found: dict[str, Any] = config.to_dict() if config is not None else {}
    found |= resolve_data_config(pretrained_cfg=found or {"interpolation": "bicubic"})
    num_channels, height, width = found["input_size"]
    if num_channels != 3:
        raise UserError(
            f"The network {name} takes no RGB images: its input has {num_channels} channel{'s' * (num_channels != 1)}. "
            "Choose another network."
        )
    if height != width:
        raise UserError(f"The network {name} takes images of {height} x {width} px; only squares are possible here.")
    return {**found, "has_weights": config is not None and config.has_weights}


def _weights_source(settings: Mapping[str, Any]) -> str:
    """Where the published weights are; empty where there are none that can be read as tensors alone."""
    hub, url = str(settings.get("hf_hub_id") or ""), settings.get("url")
    if hub or not settings["has_weights"]:
        return hub if settings["has_weights"] else ""
    return url if isinstance(url, str) and url.startswith("https://") and url.endswith(_SUFFIXES) else ""


def _pretrained_on(settings: Mapping[str, Any]) -> str:
    tag = str(settings.get("tag") or "")
    if "in1k" in tag or (not tag and settings.get("num_classes") == 1000):
        return "ImageNet"
    return next(
        (title for mark, title in _SOURCES.items() if mark in tag), f"other images ({tag})" if tag else "ImageNet"
    )


def _stage(
    network: Any, name: str, output: Tensor, *, is_turned: bool, is_on_grid: bool, num_parameters: int
) -> StageSpec:
    kind = {2: "vector", 3: "tokens", 4: "map"}[output.ndim]
    num_prefix = _num_prefix_tokens(network, output.shape[1]) if kind == "tokens" else 0
    class_token = getattr(network, "has_class_token", None)
    has_class = getattr(network, "cls_token", None) is not None if class_token is None else bool(class_token)
    return StageSpec(
        name,
        _title(name),
        kind,
        num_channels=output.shape[2] if kind == "tokens" else output.shape[1],
        num_parameters=num_parameters,
        num_prefix_tokens=num_prefix,
        has_class_token=has_class and num_prefix > 0,
        is_on_grid=is_on_grid,
        is_channels_last=is_turned,
    )


def _num_prefix_tokens(network: Any, num_tokens: int) -> int:
    """How many tokens stand before those of the places, which fill a square; some networks add them on the way."""
    stated = int(getattr(network, "num_prefix_tokens", 0))
    for number in dict.fromkeys((stated, 0, 1)):
        rest = num_tokens - number
        if rest > 0 and math.isqrt(rest) ** 2 == rest:
            return number
    return stated if stated < num_tokens else 0


def _title(name: str) -> str:
    first, *rest = name.split("_")
    if name in _ENDS:
        return _ENDS[name]
    if first in _NOUNS and rest and rest[0].isdigit():
        return " ".join([_NOUNS[first], str(int(rest[0]) + 1), *rest[1:]])
    if first in ("stem", "act1", "bn1"):
        return "Stem"
    if first[:-1] in ("layer", "level", "stage", "block") and first[-1].isdigit() and not rest:
        return f"{first[:-1].capitalize()} {first[-1]}"
    return name


def _own_features(stages: Sequence[StageSpec], outputs: Mapping[str, Tensor]) -> tuple[str, str]:
    """The stage and pooling that give what the network's own classifier reads; that vector itself where none does."""
    last = next((stage for stage in reversed(stages) if stage.output != "vector"), None)
    vector = outputs.get(POOL)
    if last is None:
        return stages[0].name, "none"
    for pooling in last.poolings[:-1]:
        pooled = pool_features(outputs[last.name], pooling, last.num_prefix_tokens)
        if _is_same(pooled, vector):
            return last.name, pooling
    return (POOL, "none") if vector is not None else (last.name, last.poolings[0])


def _usable_outputs(network: Any, images: Tensor) -> tuple[dict[str, Tensor], set[str]]:
    """Stage -> output as it is handed on, of the stages that can be used, and those that end in (N, H, W, C)."""
    kept: set[str] | None = None
    while True:
        outputs: dict[str, Tensor] = {}
        unusable, h = set(), images
        for name, module in segments(network, (), kept):
            before = h
            try:
                h = module.forward(h)
            except Exception as error:
                raise not_divisible(error) from error
            outputs[name] = h
            # Behind the last of timm's stages often stands nothing but a place for a norm.
            if not _is_usable(name, h) or (name == FEATURES and h is before):
                unusable.add(name)
        if not unusable:
            break
        kept = set(outputs) - unusable
    turned = {name for name, h in outputs.items() if h.ndim == 4 and _ends_in_channels(network, name, h)}
    return {name: h.permute(0, 3, 1, 2) if name in turned else h for name, h in outputs.items()}, turned


def _is_usable(name: str, output: Any) -> bool:
    """Whether a stage may end here: one tensor for each image, and vectors where a classifier reads."""
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
        return False
    return output.ndim == 2 if name in (POOL, LOGITS) else output.ndim > 2


def _ends_in_channels(network: Any, name: str, output: Tensor) -> bool:
    if "NHWC" in str(getattr(network, "output_fmt", "")):
        return True
    num_channels = feature_channels(network).get(name, getattr(network, "num_features", 0))
    return output.shape[1] != num_channels and output.shape[3] == num_channels


def _stages_on_grid(network: Any, images: Tensor, outputs: Mapping[str, Tensor]) -> set[str]:
    """The stages of tokens that lie row by row as their places in the image do, as timm itself lays them out."""
    found: set[str] = set()
    if all(output.ndim != 3 for output in outputs.values()):
        return found
    try:
        all_laid = network.forward_intermediates(images, norm=False, intermediates_only=True)
    except Exception:  # noqa: BLE001  (not every network can; then nothing is drawn of it)
        return found
    for name, laid in zip(feature_channels(network), all_laid, strict=False):
        tokens = outputs.get(name)
        if tokens is None or tokens.ndim != 3:
            continue
        places = tokens[:, tokens.shape[1] - laid[0, 0].numel() :] if laid.ndim == 4 else tokens
        is_same = laid.ndim == 4 and laid.shape[1] == tokens.shape[2] and laid.shape[2] == laid.shape[3]
        if is_same and torch.allclose(places.transpose(1, 2).reshape(laid.shape), laid, rtol=1e-4, atol=1e-5):
            found.add(name)
    last = next((name for name in reversed(list(outputs)) if name in feature_channels(network)), "")
    tail = outputs.get(FEATURES)
    if last in found and tail is not None and tail.shape == outputs[last].shape:
        found.add(FEATURES)  # a norm of each token by itself
    return found


def _sizes(network: nn.Module, size_px: int) -> tuple[int, int]:
    """The smallest side of an image that the network takes, its own one where its size is fixed, and the step."""
    parts = list(segments(network, ()))

    def takes(side: int) -> bool:
        h: Any = torch.zeros(1, 3, side, side)
        try:
            for _, module in parts:
                h = module.forward(h)  # torch.fx prints what goes wrong in a call
        except Exception:  # noqa: BLE001  (refusals differ from network to network)
            return False
        return True

    sides = (_MIN_INPUT_PX, 2 * _MIN_INPUT_PX, 4 * _MIN_INPUT_PX)
    least = next((side for side in sides if side < size_px and takes(side)), size_px)
    return least, 1 if least == size_px or takes(least + 5) else _MIN_INPUT_PX
