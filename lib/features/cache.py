"""Frozen stages run once per image: their output is kept on disk under a hash of everything that it depends on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from lib.checked_rows import Rows
from lib.distributed import ALONE, Ranks
from lib.features.request import WHAT, FeatureRequest, write_features
from lib.features.shards import fill_together
from lib.progress import Progress, ignore_progress


@dataclass(frozen=True)
class FeatureSet:
    """Frozen outputs of all images in the order of the data set's table.

    `features` is float32, (N, D) pooled or (N, C, H, W) unpooled (then memory-mapped); `seconds` and
    `images_per_second` tell what this call took; `key` is the cache's name for it.
    """

    features: Rows
    seconds: float
    was_cached: bool
    key: str
    images_per_second: float


def read_or_extract(
    request: FeatureRequest,
    *,
    copies_left: int = 1,
    ranks: Ranks = ALONE,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> FeatureSet:
    """Return the frozen features of every image, from the cache where they are; a hit builds no network.

    Args:
        request: whose features.
        copies_left: how many sets of this size are still to be kept, this one included: the disk must hold them all.
        ranks: who computes together; each calls this alike and does its share.
        progress: called after each batch.
        should_stop: asked before each batch, and between stages.

    Raises:
        Stopped: `should_stop()` turned true; nothing is left behind.
        UserError: an unknown network, or the disk has not enough room.
        WeightsUnavailable: pretrained weights are needed and not at hand.
    """
    started = time.perf_counter()
    features, num_images = request.read(), request.num_images
    if features is not None:
        progress(num_images, num_images, WHAT)
        return FeatureSet(
            features, time.perf_counter() - started, was_cached=True, key=request.key, images_per_second=0.0
        )
    if ranks.is_alone:
        batches = request.extraction().batches(request.dataset, should_stop, range(num_images))
        write_features(request.path, batches, num_images, progress, copies_left=copies_left)
    else:
        fill_together(request, ranks, progress=progress, should_stop=should_stop)
    seconds, features = time.perf_counter() - started, request.read()
    if features is None:
        raise RuntimeError(f"The features just written to {request.path} cannot be read back.")
    return FeatureSet(
        features, seconds, was_cached=False, key=request.key, images_per_second=num_images / max(seconds, 1e-9)
    )
