"""Pinned images: what a network says of them, and where it looks, after every epoch of its training.

One small file an epoch in the run's folder, read by pages without torch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import atomic_path
from lib.data.input_transform import to_batch
from lib.explain.methods import DEFAULT_METHOD, METHODS
from lib.training.resolution import watched_rows

if TYPE_CHECKING:
    from lib.models.classifier import Classifier
    from lib.training.config import TrainConfig

FRAMES_FOLDER = "pinned"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class WatchedFrame:
    """The pinned images (n of them, K classes) after an epoch; epoch 0 is before the first, or the only fit there is.

    `maps` (n, h, w) in 0..1 are those of the predicted class by `method`, None where it does not fit the classifier, as
    Grad-CAM a head without a gradient; `seconds` is what this frame took.
    """

    epoch: int
    image_ids: list[str]
    probabilities: np.ndarray  # (n, K)
    maps: np.ndarray | None
    stage: str
    seconds: float
    method: str = DEFAULT_METHOD


def watch_images(
    config: "TrainConfig",
    dataset: Any,
    folder: Path,
    device: str,
    *,
    prepare: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels,
) -> "Callable[[Classifier, int], None] | None":
    """What a training session calls with its classifier and the epoch; None where the config pins nothing.

    Folds train on different images, so that none is unseen by all: nothing is watched then.
    """
    if not config.pinned_images or config.num_folds:
        return None
    rows, image_ids = watched_rows(config.pinned_images, dataset), config.pinned_images.split(",")

    def watch(classifier: "Classifier", epoch: int) -> None:
        started = time.perf_counter()
        probabilities, maps, stage = _look(classifier, prepare(dataset.pixels[rows]), config.input_size_px, device)
        seconds = time.perf_counter() - started
        write_frame(folder, WatchedFrame(epoch, image_ids, probabilities, maps, stage, seconds))

    return watch


def write_frame(folder: Path, frame: WatchedFrame) -> None:
    """Write one frame into a run's folder, a few KB."""
    maps: dict[str, Any] = {} if frame.maps is None else {"maps": frame.maps.astype(np.float16)}
    path = folder / FRAMES_FOLDER / f"epoch_{frame.epoch:04d}.npz"
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        np.savez(
            opened, format_version=_FORMAT, image_ids=np.array(frame.image_ids), stage=frame.stage,
            probabilities=frame.probabilities.astype(np.float32), seconds=frame.seconds, method=frame.method, **maps,
        )  # fmt: skip


def frame_epochs(folder: Path) -> list[int]:
    """The epochs that a run's folder holds frames of, in order."""
    return sorted(int(path.stem.removeprefix("epoch_")) for path in (folder / FRAMES_FOLDER).glob("epoch_*.npz"))


def read_frame(folder: Path, epoch: int) -> WatchedFrame:
    """Read one frame; raises OSError if there is none."""
    with np.load(folder / FRAMES_FOLDER / f"epoch_{epoch:04d}.npz", allow_pickle=False) as stored:
        return WatchedFrame(
            epoch, stored["image_ids"].tolist(), stored["probabilities"].astype(np.float64),
            stored["maps"].astype(np.float32) if "maps" in stored else None, str(stored["stage"]),
            float(stored["seconds"]), str(stored["method"]) if "method" in stored else DEFAULT_METHOD,
        )  # fmt: skip


def _look(
    classifier: "Classifier", pixels: np.ndarray, size_px: int | None, device: str
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Probabilities (n, K), maps (n, h, w) or None, and the stage of the maps; leaves the classifier as it was."""
    import torch

    from lib.explain.attribution_map import attribute
    from lib.explain.network import evaluation_view, map_stage_names

    spec, maps = classifier.spec, map_stage_names(classifier)
    stage = spec.cam_stage if spec.cam_stage in maps else maps[-1] if maps else ""
    size_px = size_px or spec.input_size_px
    batch = to_batch(pixels, size_px=size_px, mean=spec.mean, std=spec.std, resizing=spec.resizing, device=device)
    if stage and not METHODS.get(DEFAULT_METHOD).misfit(classifier):
        found = attribute(classifier, batch, method=DEFAULT_METHOD, stage=stage)
        return np.stack([one.probabilities for one in found]), np.stack([one.scaled for one in found]), stage
    with evaluation_view(classifier) as view, torch.no_grad():
        first = view.stage_specs[0].name
        logits = view.forward_after(view.forward_until(batch, first), first)
    return logits.float().softmax(1).cpu().numpy(), None, stage
