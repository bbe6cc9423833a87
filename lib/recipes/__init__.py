"""Published experiments as named trainings: data protocol, settings, figures, and what cannot be repeated exactly.

The table is made of one file a study. `plan_recipe` turns an entry into a training config for the data sets and weights
at hand; lib/sweeps/recipes.py runs it. Imports no torch: pages read it too.
"""

from lib.recipes.plan import BUDGETS, RecipePlan, changed_settings, fits_subject, plan_recipe
from lib.recipes.published import PublishedLine, published_line, published_results, read_published, write_published
from lib.recipes.spec import Published, RecipeSpec, Study
from lib.recipes.table import RECIPES
from lib.recipes.titles import run_title

__all__ = [
    "BUDGETS",
    "RECIPES",
    "Published",
    "PublishedLine",
    "RecipePlan",
    "RecipeSpec",
    "Study",
    "changed_settings",
    "fits_subject",
    "plan_recipe",
    "published_line",
    "published_results",
    "read_published",
    "run_title",
    "write_published",
]
