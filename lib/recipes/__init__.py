"""Published experiments as named trainings: data protocol, settings, figures, and what cannot be repeated exactly.

`plan_recipe` turns an entry of the table into a training config for the data sets and weights at hand;
lib/sweeps/recipes.py runs it. Imports no torch: pages read it too.
"""

from lib.recipes.plan import (
    BUDGETS,
    PublishedLine,
    RecipePlan,
    changed_settings,
    fits_subject,
    plan_recipe,
    published_line,
    published_results,
    run_title,
    write_published,
)
from lib.recipes.spec import Published, RecipeSpec, Study
from lib.recipes.table import RECIPES

__all__ = [
    "BUDGETS", "RECIPES", "Published", "PublishedLine", "RecipePlan", "RecipeSpec", "Study", "changed_settings",
    "fits_subject", "plan_recipe", "published_line", "published_results", "run_title", "write_published",
]  # fmt: skip
