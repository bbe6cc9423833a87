"""Published experiments as named trainings: data protocol, settings, figures, and what cannot be repeated exactly.

`plan_recipe` turns an entry of the table into a training config for the data sets and weights at hand;
lib/sweeps/recipes.py runs it. Imports no torch: pages read it too.
"""

from lib.recipes.plan import (
    BUDGETS,
    RecipePlan,
    changed_settings,
    fits_subject,
    plan_recipe,
    run_title,
)
from lib.recipes.published import (
    PublishedLine,
    published_line,
    published_matrices,
    published_protocols,
    published_results,
    write_published,
)
from lib.recipes.spec import Protocol, Published, PublishedResult, RecipeSpec, Study
from lib.recipes.table import RECIPES

__all__ = [
    "BUDGETS", "RECIPES", "Protocol", "Published", "PublishedLine", "PublishedResult", "RecipePlan", "RecipeSpec",
    "Study", "changed_settings", "fits_subject", "plan_recipe", "published_line", "published_matrices",
    "published_protocols", "published_results", "run_title", "write_published",
]  # fmt: skip
