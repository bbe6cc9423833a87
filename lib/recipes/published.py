"""The published figures of the table, for pictures and the results board, and as a file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.atomic import write_json
from lib.recipes.spec import Published, RecipeSpec
from lib.recipes.table import RECIPES
from lib.settings import ASSETS_DIR

PUBLISHED_FILE = ASSETS_DIR / "published_results.json"
_FORMAT = 1
_NOTHING = Published(accuracy=None, measured_on="")  # type: ignore[arg-type]  # of a recipe without figures


@dataclass(frozen=True)
class PublishedLine:
    """What a picture draws beside a run: the published figure of its recipe, and where it comes from."""

    recipe: str
    value: float
    source: str
    measured_on: str
    published_data: str


def published_line(name: str, metric: str) -> PublishedLine | None:
    """The published value of "test_accuracy" or "test_quadratic_weighted_kappa"; None where there is none."""
    recipe = RECIPES.get(name) if name in RECIPES else None
    figures = recipe.published if recipe else None
    key = metric.removeprefix("test_")
    if recipe is None or figures is None or key not in ("accuracy", "quadratic_weighted_kappa"):
        return None
    value = getattr(figures, key)
    if value is None:
        return None
    return PublishedLine(name, value, recipe.study.line, figures.measured_on, recipe.subject.published_data)


def published_results() -> dict[str, Any]:
    """Every recipe with its study and figures, as the file holds them."""
    return {"format_version": _FORMAT, "results": [_entry(recipe) for recipe in RECIPES]}


def write_published(path: Path = PUBLISHED_FILE) -> None:
    """Write the file afresh from the table (`python -m lib recipes list --write-published`)."""
    write_json(path, published_results())


def _entry(recipe: RecipeSpec) -> dict[str, Any]:
    figures = asdict(recipe.published or _NOTHING)
    return {
        "recipe": recipe.name, "title": recipe.title, "study": recipe.study.title, "source": recipe.study.line,
        "year": recipe.study.year, "published_data": recipe.subject.published_data, **figures,
        "confusion": [list(row) for row in figures["confusion"]],
    }  # fmt: skip
