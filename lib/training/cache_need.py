"""What the cache of frozen features will take on the disk, and why a training uses one or not. Imports no torch."""

from dataclasses import dataclass

from lib.data.augmentation import POLICIES
from lib.features.extraction import UNPOOLED
from lib.models.backbones import BACKBONES
from lib.training.preparation import CachedPart, Preparation


@dataclass(frozen=True)
class CacheNeed:
    """`mib` that are still to be written, 0.0 where all is there or nothing is kept; `why` is a phrase."""

    mib: float
    why: str


def cache_need(
    preparation: Preparation, part: CachedPart | None, *, num_values: int, num_missing: int, num_versions: int = 1
) -> CacheNeed:
    """Size and reason.

    Args:
        preparation: of the training.
        part: what it keeps; None if every epoch starts from images.
        num_values: float32 numbers of an image in one view.
        num_missing: views of `part` that are not in the cache, counted for each version.
        num_versions: of the images, which folds may preprocess in their own way.
    """
    if part is None:
        return CacheNeed(0.0, why_uncached(preparation))
    what, stages = ("activations" if part.pooling == UNPOOLED else "features"), f"the frozen stages up to {part.stage}"
    if preparation.strategy.starts_from_probe:
        stages = f"{part.stage} for the probe that it starts from"
    num_views, num_copies = len(part.all_views), len(part.all_views) * num_versions
    views = "" if num_views == 1 else f" in {num_views} views"
    if not num_missing:
        return CacheNeed(0.0, f"all {what} of {part.stage}{views} are in the cache")
    there = f", {num_copies - num_missing} of them there already" if 0 < num_missing < num_copies else ""
    views += f" for {num_versions} mean colours" if num_versions > 1 else ""
    mib = num_missing * len(preparation.dataset.table) * num_values * 4 / 2**20
    return CacheNeed(mib, f"{what} of {stages}{views}{there}")


def why_uncached(preparation: Preparation) -> str:
    """Why a training that keeps nothing starts each epoch from images, as a phrase."""
    config, strategy = preparation.config, preparation.strategy
    if strategy.trains_backbone == "all":
        return "every stage is trained, so each epoch starts from images"
    if preparation.views() is None:
        title = POLICIES.get(config.augmentation).title.lower()
        return f"the augmentation ({title}) draws new images each epoch; num_views keeps a fixed number of them"
    first = BACKBONES.get(config.backbone).stage_names[0]
    if config.unfreeze_from == first:
        return "no stage below the first trained one is frozen"
    return "activations at the cut would exceed the limit"
