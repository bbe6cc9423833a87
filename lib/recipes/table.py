"""The table of recipes, study by study."""

from lib.recipes import cats_dogs, food, googlenet_retinopathy, inception_retinopathy, vgg16_retinopathy
from lib.recipes.spec import RecipeSpec
from lib.registry import Registry

RECIPES: Registry[RecipeSpec] = Registry("recipe")
for _study in (vgg16_retinopathy, googlenet_retinopathy, inception_retinopathy, cats_dogs, food):
    for _recipe in _study.RECIPES:
        RECIPES.add(_recipe)
