"""Where a run looked in images of a data set: one map for each image and class, made once and kept on disk.

Pages that show many images of many runs read what is kept and have the rest made in the background.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import digest_of, read_json, read_json_or_empty
from lib.data.input_transform import InputTransform
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import UserError
from lib.explain.methods import DEFAULT_METHOD
from lib.models.backbones import BACKBONES
from lib.models.heads import HEADS
from lib.progress import Progress, ignore_progress
from lib.tracking.state import BUNDLE_FOLDER, run_folder

if TYPE_CHECKING:
    from lib.grading.grader import Grader

_FORMAT = 1
_AT_ONCE = 8


def kept_map(run_id: str, image_id: str, target: int) -> np.ndarray | None:
    """The map (h, w), -1..1 or 0..1, of what speaks for class `target` in an image; None before it was made.

    All zeros where nothing speaks for the class.
    """
    path = _path(run_id, image_id, target)
    try:
        num_rows = len(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, OSError, TypeError):
        return None
    found = read_entry(path, num_rows, is_mapped=False)
    return None if found is None else np.asarray(found)


def framed_picture(run_id: str, pixels: np.ndarray) -> np.ndarray:
    """The stored square (S, S, 3) as the run's maps lie on it: cropped as the network's input is."""
    inputs = _inputs(run_folder(run_id))
    return pixels if inputs is None else inputs.framed(pixels)


@lru_cache(maxsize=64)
def _inputs(folder: Path) -> InputTransform | None:
    try:
        return InputTransform.of(read_json(folder / BUNDLE_FOLDER / "manifest.json")["preprocessing"])
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None


def why_no_maps(run_id: str) -> str:
    """Why a run has no maps, as a part of a sentence; "" where it has, or where only the network itself can tell."""
    manifest = read_json_or_empty(run_folder(run_id) / BUNDLE_FOLDER / "manifest.json")
    network = manifest.get("network")
    if not isinstance(network, dict):
        return "it has kept no network" if not manifest else ""
    if str(manifest.get("map_method") or DEFAULT_METHOD) != DEFAULT_METHOD:
        return ""
    backbone, head = str(network.get("backbone")), str(network.get("head"))
    if backbone in BACKBONES and not BACKBONES.get(backbone).map_stages:
        tokens = any(stage.output == "tokens" for stage in BACKBONES.get(backbone).stages)
        return "its network works on tokens, not on maps" if tokens else "it has no network"
    if head in HEADS and not HEADS.get(head).is_differentiable:
        return "its head passes no gradient to the image"
    return ""


def missing_maps(run_id: str, image_ids: Sequence[str], targets: Sequence[int]) -> list[int]:
    """The places in the list of those images whose map has not been made."""
    return [
        place
        for place, (image_id, target) in enumerate(zip(image_ids, targets, strict=True))
        if not _path(run_id, image_id, target).is_file()
    ]


def make_maps(
    grader: "Grader",
    dataset: Any,
    rows: Sequence[int],
    targets: Sequence[int],
    *,
    progress: Progress = ignore_progress,
) -> int:
    """Make and keep the maps of some images that are not there yet, by the run's own method (Grad-CAM as a rule).

    The map is of the classifier that the run has kept: for a run with folds, not that of each image's own fold.

    Args:
        grader: of a run.
        dataset: `pixels` (N, S, S, 3) and `table` with image_id.
        rows: of the images.
        targets: the class that each map speaks for.
        progress: told after each batch; may raise `Stopped`.

    Returns:
        How many were made.

    Raises:
        UserError: the classifier has no map: no network, tokens, or a head that passes no gradient.
    """
    from lib.explain.attribution_map import attribute
    from lib.explain.network import map_stage_names

    if not grader.has_cam:
        raise UserError(f"{grader.why_no_cam}, so there are no maps.")
    ids = dataset.table["image_id"].iloc[list(rows)].tolist()
    waiting = missing_maps(grader.run, ids, targets)
    method = grader.map_method
    stage = map_stage_names(grader.classifier)[-1] if method.is_at_stage else None
    for start in range(0, len(waiting), _AT_ONCE):
        places = waiting[start : start + _AT_ONCE]
        pixels = np.stack([np.asarray(dataset.pixels[int(rows[place])]) for place in places])
        batch = grader.inputs.batch(pixels, device=grader.device)
        asked = [int(targets[place]) for place in places]
        found = attribute(grader.classifier, batch, method=method.name, stage=stage, target=asked)
        for place, one in zip(places, found, strict=True):
            scaled = one.scaled.astype(np.float32)
            for _ in write_entry(_path(grader.run, ids[place], targets[place]), [scaled], len(scaled)):
                pass
        progress(min(start + _AT_ONCE, len(waiting)), len(waiting), "Looking where the run looked")
    return len(waiting)


def _path(run_id: str, image_id: str, target: int) -> Path:
    described = {"format": _FORMAT, "run": run_id, "image": image_id, "target": int(target)}
    return entry_path("maps", digest_of(described))
