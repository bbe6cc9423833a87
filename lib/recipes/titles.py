"""The one title of a run, for every page, table, sweep and log."""

from lib.data.target_map import TARGET_MAPS
from lib.models.backbones import BACKBONES
from lib.recipes.table import RECIPES
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES


def run_title(config: TrainConfig, *, mark: str = "") -> str:
    """Such as "Partial fine-tuning · Bundled VGG · cats_dogs · seed 3", or with the name of a recipe in front.

    Args:
        config: the training; what it leaves open makes no difference.
        mark: what tells it from others of its kind, such as "demo", "seed 3" or "race 1a2b".
    """
    backbone = BACKBONES.get(config.backbone).title
    first = STRATEGIES.get(config.strategy).title
    if config.recipe in RECIPES:
        recipe = RECIPES.get(config.recipe)
        first = recipe.name
        if config.backbone != recipe.backbone:
            backbone = f"{backbone} instead of {BACKBONES.get(recipe.backbone).title}"
    classes = config.target_map or ""
    if classes in TARGET_MAPS:
        classes = TARGET_MAPS.get(classes).title
    return " · ".join(part for part in (first, backbone, config.dataset, classes, mark) if part)
