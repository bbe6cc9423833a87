"""Measures how far a data set is from what a network learned from, and the anchors that tell what a distance means."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.advisor.gap import PHOTOGRAPHS, RUNNING, DomainGap, StageGap, kept_anchors, kept_gap
from lib.advisor.measurement import NUM_SAMPLED, ChannelMoments, engine_for, read_stages, sampling_order
from lib.atomic import read_kept, write_json
from lib.data.images import decode_bytes
from lib.data.input_transform import to_batch
from lib.data.subset import RowsOfPixels
from lib.errors import BadImage
from lib.models.backbones import BACKBONES
from lib.models.stages import Backbone, build_backbone
from lib.progress import Progress, ignore_progress
from lib.settings import ASSETS_DIR
from lib.training.config import TrainConfig

NUM_CROPS = 3  # of each photograph
NUM_EYES, NUM_NOISE = 32, 16
SIDE_PX = 384  # of the anchors, as data sets are stored
_BATCH = 8
_FORMAT = 1
_EYES = ASSETS_DIR / "demo" / "dataset" / "pictures"
# Photographs of things and places that come with packages: no drawings, no microscopes, no eyes.
_FILES = {
    "skimage": (
        "data", "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
        "coins.png", "grass.png", "gravel.png", "moon.png", "motorcycle_left.png", "rocket.jpg",
    ),
    "sklearn": ("datasets/images", "china.jpg", "flower.jpg"),
}  # fmt: skip
# Of the mean variance of a stage's channels: a channel that is off in all photographs must not count as infinitely far.
_QUIET = 1e-3


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Distances of images that are at hand, by stage, and, without BatchNorm, what distances are from.

    `source` has per stage the means and variances of channels over the photographs; it is empty where BatchNorm keeps
    those of the pretraining.
    """

    photographs: dict[str, float | None]
    eyes: dict[str, float | None]
    noise: dict[str, float | None]
    num_photographs: int
    num_crops: int
    num_eyes: int
    source: dict[str, list[list[float]]] = field(default_factory=dict)
    format_version: int = _FORMAT

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Anchors":
        """Rebuild; raises ValueError for another format."""
        found = cls(**content)
        if found.format_version != _FORMAT:
            raise ValueError(f"Anchors of format {found.format_version}.")
        return found


def measure_gap(
    dataset: Any,
    backbone: str,
    *,
    split_seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    progress: Progress = ignore_progress,
) -> DomainGap:
    """Measure the images that a training would learn from against what a network learned from; kept.

    The images are those that the advisor looks at, and where there is BatchNorm the distances are the advisor's.

    Args:
        dataset: of the library.
        backbone: its pretrained weights must be at hand.
        split_seed: of its split.
        device: where to compute.
        dtype: of features, by which the fastest engine is known.
        progress: called after each batch.

    Raises:
        WeightsUnavailable: the pretrained weights are not at hand.
        UserError: an unknown network, or a data set too small to be split.
    """
    path = kept_gap(dataset.version, backbone, split_seed)
    if (kept := read_kept(path, DomainGap.from_dict)) is not None:
        return kept
    started, spec = time.perf_counter(), BACKBONES.get(backbone)
    train_rows, order = sampling_order(dataset, TrainConfig(dataset="", backbone=backbone, split_seed=split_seed))
    pixels = RowsOfPixels(dataset.pixels, np.sort(order[:NUM_SAMPLED]))
    network = build_backbone(backbone, feature_only=True).to(device)
    anchors = _anchors(network, progress)
    if anchors.source:
        moments = _against(anchors.source, _output_moments(network, pixels, progress, "images"))
    else:
        engine = engine_for(backbone, device, dtype)
        moments = read_stages(network, pixels, engine=engine, progress=progress)[1]
    titles = {stage.name: stage.title for stage in spec.stages}
    stages = tuple(_stage_gap(name, titles.get(name, name), own, anchors) for name, own in moments.items())
    targets = dataset.table["target"].to_numpy()[train_rows]
    found = DomainGap(
        dataset=dataset.name, dataset_title=dataset.spec.title or dataset.name, dataset_version=dataset.version,
        backbone=spec.name, backbone_title=spec.title, pretrained_on=spec.pretrained_on,
        source=PHOTOGRAPHS if anchors.source else RUNNING, stages=stages, num_images=len(pixels),
        num_train=len(train_rows),
        least_per_class=int(np.bincount(targets, minlength=dataset.spec.num_classes).min()),
        num_photographs=anchors.num_photographs, num_crops=anchors.num_crops, num_eyes=anchors.num_eyes,
        num_noise=NUM_NOISE, split_seed=split_seed, seconds=time.perf_counter() - started,
    )  # fmt: skip
    write_json(path, found.to_dict())
    return found


def _stage_gap(name: str, title: str, own: ChannelMoments | None, anchors: Anchors) -> StageGap:
    if own is None or _is_too_coarse(name, anchors):
        return StageGap(stage=name, title=title)
    shift = (own.mean - own.source_mean) / np.sqrt(own.source_variance)
    ratio = np.log(np.maximum(own.variance, 1e-12) / own.source_variance)
    return StageGap(
        stage=name, title=title, distance=own.distance, shift=_rms(shift), log_variance=_rms(ratio),
        num_channels=len(own.mean), photographs=anchors.photographs.get(name), eyes=anchors.eyes.get(name),
        noise=anchors.noise.get(name),
    )  # fmt: skip


def _is_too_coarse(stage: str, anchors: Anchors) -> bool:
    """Whether one half of the photographs is as far from the other as noise is from all: they say nothing there."""
    apart, noise = anchors.photographs.get(stage), anchors.noise.get(stage)
    return bool(anchors.source) and apart is not None and noise is not None and apart >= noise


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


# Anchors


def _anchors(network: Backbone, progress: Progress) -> Anchors:
    """Those of a network, measured once."""
    path = kept_anchors(network.spec.name)
    found = read_kept(path, Anchors.from_dict)
    if found is None:
        found = measure_anchors(network, progress=progress)
        write_json(path, vars(found))
    return found


def measure_anchors(network: Backbone, *, side_px: int = SIDE_PX, progress: Progress = ignore_progress) -> Anchors:
    """How far photographs, generated eyes and noise are, stage by stage."""
    photographs, eyes = photograph_crops(side_px), shipped_eyes(side_px)
    noise = np.random.default_rng(0).integers(0, 256, (NUM_NOISE, side_px, side_px, 3)).astype(np.uint8)
    sets = {"photographs": np.concatenate(photographs), "eyes": eyes, "noise": noise}
    counts: dict[str, Any] = {
        "num_photographs": len(photographs), "num_crops": len(sets["photographs"]), "num_eyes": len(eyes),
    }  # fmt: skip
    if _has_statistics(network):
        found = {
            name: _distances(read_stages(network, pixels, progress=_titled(progress, name))[1]) if len(pixels) else {}
            for name, pixels in sets.items()
        }
        return Anchors(photographs=found["photographs"], eyes=found["eyes"], noise=found["noise"], **counts)
    read = {name: _output_moments(network, pixels, progress, name) for name, pixels in sets.items() if len(pixels)}
    source = _source(read["photographs"], slice(None))
    # No image is far from itself: photographs are held against other photographs.
    half = len(photographs) // 2 * NUM_CROPS
    others = _against(_source(read["photographs"], slice(half)), _part(read["photographs"], slice(half, None)))
    distances = {name: _distances(_against(source, own)) for name, own in read.items()}
    return Anchors(
        photographs=_distances(others), eyes=distances.get("eyes", {}), noise=distances["noise"], source=source,
        **counts,
    )  # fmt: skip


def _titled(progress: Progress, name: str) -> Progress:
    return lambda done, total, _: progress(done, total, f"reading {name}, once for this network")


def _has_statistics(network: Backbone) -> bool:
    return any(getattr(module, "running_mean", None) is not None for module in network.stages.modules())


def _distances(moments: Mapping[str, ChannelMoments | None]) -> dict[str, float | None]:
    return {name: own.distance if own else None for name, own in moments.items()}


def photograph_crops(side_px: int = SIDE_PX) -> list[np.ndarray]:
    """Photographs that come with scikit-image and scikit-learn, each as its middle and two random pieces:
    uint8 (3, side, side, 3). Files that a package was installed without are left out.
    """
    random, found = np.random.default_rng(0), []
    for package, (folder, *names) in _FILES.items():
        spec = importlib.util.find_spec(package)
        roots = list(spec.submodule_search_locations or ()) if spec else []
        for path in (Path(root) / folder / name for root in roots[:1] for name in names):
            if path.is_file():
                found.append(_pieces(path, side_px, random))
    return found


def _pieces(path: Path, side_px: int, random: np.random.Generator) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    least, pieces = min(image.size), []
    for number in range(NUM_CROPS):
        side = least if number == 0 else int(random.integers(least // 2, least + 1))
        left, top = (
            (length - side) // 2 if number == 0 else int(random.integers(0, length - side + 1)) for length in image.size
        )
        piece = image.resize((side_px, side_px), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        pieces.append(np.asarray(piece))
    return np.stack(pieces)


def shipped_eyes(side_px: int = SIDE_PX) -> np.ndarray:
    """Some of the generated eyes that come with the program, uint8 (n, side, side, 3); none where there are none."""
    paths = sorted(path for path in _EYES.glob("[0-9]*/*.jpg"))
    found = []
    for path in paths[:: max(1, len(paths) // NUM_EYES)][:NUM_EYES]:
        try:
            found.append(decode_bytes(path.read_bytes(), side_px=side_px, crop_policy="retina_box").pixels)
        except (BadImage, OSError):
            continue
    return np.stack(found) if found else np.empty((0, side_px, side_px, 3), dtype=np.uint8)


# Networks without BatchNorm


def _output_moments(
    network: Backbone, pixels: np.ndarray | RowsOfPixels, progress: Progress, what: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By stage with places, means and variances (N, C) over the places of each image, of what the stage puts out."""
    spec, device = network.spec, next(network.parameters()).device
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    with torch.inference_mode():
        for start in range(0, len(pixels), _BATCH):
            hidden = to_batch(
                pixels[start : start + _BATCH], size_px=spec.input_size_px, mean=spec.mean, std=spec.std,
                resizing=spec.resizing, device=device,
            )  # fmt: skip
            for name, stage in network.stages.eval().items():
                hidden = stage(hidden)
                own = spec.stage(name)
                if own.output == "vector":
                    continue  # one number a channel and image: nothing to take a variance of
                values = (
                    hidden.flatten(2) if own.output == "map" else hidden[:, own.num_prefix_tokens :].transpose(1, 2)
                )
                variance, mean = torch.var_mean(values.float(), 2, correction=0)
                parts.setdefault(name, []).append((mean.cpu().numpy(), variance.cpu().numpy()))
            progress(min(start + _BATCH, len(pixels)), len(pixels), f"reading {what}")
    return {
        name: (np.concatenate([mean for mean, _ in own]), np.concatenate([variance for _, variance in own]))
        for name, own in parts.items()
    }


def _part(moments: Mapping[str, tuple[np.ndarray, np.ndarray]], rows: slice) -> dict[str, Any]:
    return {name: (means[rows], variances[rows]) for name, (means, variances) in moments.items()}


def _source(moments: Mapping[str, tuple[np.ndarray, np.ndarray]], rows: slice) -> dict[str, list[list[float]]]:
    """Per stage, means and variances of the channels over these images."""
    return {
        name: [value.astype(float).tolist() for value in _over_images(means[rows], variances[rows])]
        for name, (means, variances) in moments.items()
    }


def _over_images(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images have equally many places: the variance is that within images and that between their means."""
    return means.mean(0, dtype=np.float64), variances.mean(0, dtype=np.float64) + means.var(0, dtype=np.float64)


def _against(
    source: Mapping[str, Sequence[Sequence[float]]], moments: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, ChannelMoments | None]:
    found: dict[str, ChannelMoments | None] = {}
    for name, (means, variances) in moments.items():
        source_mean, source_variance = (np.asarray(column, dtype=np.float64) for column in source[name])
        mean, variance = _over_images(means, variances)
        quiet = _QUIET * float(source_variance.mean()) + 1e-12
        found[name] = ChannelMoments(mean, variance + quiet, source_mean, source_variance + quiet)
    return found
