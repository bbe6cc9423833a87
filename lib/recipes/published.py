"""The published figures as a table for the results board; `assets/published_results.json` is that table as a file."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.atomic import read_json, write_json
from lib.recipes.spec import RecipeSpec
from lib.recipes.table import RECIPES
from lib.settings import ASSETS_DIR

PUBLISHED_FILE = ASSETS_DIR / "published_results.json"
_FORMAT = 1


@dataclass(frozen=True)
class PublishedLine:
    """What a picture draws beside a run: the published figure of its recipe, and where it comes from."""

    recipe: str
    value: float
    source: str
    measured_on: str
    published_data: str


def published_results() -> dict[str, Any]:
    """Every recipe with its study and figures, as the file holds them."""
    return {"format_version": _FORMAT, "results": [_entry(recipe) for recipe in RECIPES]}


def write_published(path: Path = PUBLISHED_FILE) -> None:
    """Write the file afresh from the table (`python -m lib recipes list --write-published`)."""
    write_json(path, published_results())


def read_published(path: Path = PUBLISHED_FILE) -> dict[str, dict[str, Any]]:
    """Recipe -> its entry of the file; empty if the file is missing or unreadable."""
    try:
        return {entry["recipe"]: entry for entry in read_json(path)["results"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def published_line(recipe: str, metric: str) -> PublishedLine | None:
    """The published value of "test_accuracy" or "test_quadratic_weighted_kappa"; None where there is none."""
    entry = read_published().get(recipe)
    key = {"test_accuracy": "accuracy", "test_quadratic_weighted_kappa": "quadratic_weighted_kappa"}.get(metric)
    if entry is None or key is None or entry.get(key) is None:
        return None
    return PublishedLine(recipe, float(entry[key]), entry["source"], entry["measured_on"], entry["published_data"])


def _entry(recipe: RecipeSpec) -> dict[str, Any]:
    published = recipe.published
    figures: dict[str, Any] = asdict(published) if published else {}
    figures["confusion"] = [list(row) for row in figures.get("confusion", ())]
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "study": recipe.study.title,
        "source": recipe.study.line,
        "year": recipe.study.year,
        "published_data": recipe.subject.published_data,
        "accuracy": None,
        "quadratic_weighted_kappa": None,
        "leaderboard_places": "",
        "measured_on": "",
        **figures,
    }
