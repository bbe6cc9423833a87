import subprocess
import sys

import numpy as np
import pytest

from lib.atomic import read_json
from lib.errors import UserError
from lib.evaluation.metrics import accuracy, quadratic_weighted_kappa
from lib.models.backbones import BACKBONES
from lib.recipes import RECIPES, published_line, published_results, read_published
from lib.recipes.published import PUBLISHED_FILE
from lib.training.config import TrainConfig

# The figures as the studies print them; kappa only where there is one.
PUBLISHED = {
    "vgg16-dr-lr": (0.36333, 0.51096, "79-80"),
    "vgg16-dr-mlp1": (0.66667, 0.74558, "25-26"),
    "vgg16-dr-mlp2": (0.63333, 0.70822, ""),
    "vgg16-dr-ft-random": (0.61667, 0.74487, "26-27"),
    "vgg16-dr-ft-learned": (0.63, 0.72214, "32-33"),
    "vgg16-dr-lr-augmented": None,
    "vgg16-dr-mlp1-augmented": None,
    "googlenet-dr-ft": None,
    "googlenet-dr-ft-four": None,
    "handcrafted-dr-svm": None,
    "inceptionv3-dr-scratch": (0.40, None, ""),
    "inceptionv3-dr-transfer": (0.48, None, ""),
    "inceptionv3-dr-transfer-finetune": (0.52, None, ""),
    "vgg16-dogscats": (0.983, None, ""),
    "cnn-food-scratch": (0.5696, None, ""),
    "vgg16-food-transfer": (0.7324, None, ""),
    "vgg16-food-finetune": (0.8152, None, ""),
}


def test_table_holds_every_published_experiment_with_its_figures():
    found = {
        recipe.name: (
            recipe.published.accuracy,
            recipe.published.quadratic_weighted_kappa,
            recipe.published.leaderboard_places,
        )
        if recipe.published
        else None
        for recipe in RECIPES
    }
    assert found == PUBLISHED


WITH_MATRIX = [recipe for recipe in RECIPES if recipe.published and recipe.published.confusion]


@pytest.mark.parametrize("recipe", WITH_MATRIX, ids=lambda recipe: recipe.name)
def test_published_figures_follow_from_the_published_matrix(recipe):
    matrix = np.array(recipe.published.confusion)
    true, predicted = np.nonzero(np.ones_like(matrix))
    targets, answers = np.repeat(true, matrix.ravel()), np.repeat(predicted, matrix.ravel())
    probabilities = np.eye(5)[answers]
    assert len(targets) == 300
    assert accuracy(targets, probabilities) == pytest.approx(recipe.published.accuracy, abs=1e-5)
    kappa = quadratic_weighted_kappa(targets, probabilities)
    assert kappa == pytest.approx(recipe.published.quadratic_weighted_kappa, abs=1e-5)


def test_all_five_matrices_are_here():
    assert len(WITH_MATRIX) == 5


@pytest.mark.parametrize("recipe", list(RECIPES), ids=lambda recipe: recipe.name)
def test_settings_are_those_of_a_training(recipe):
    assert {*recipe.stages_on, *recipe.small_on} <= set(BACKBONES.names)
    for changes in ({}, recipe.elsewhere, *recipe.stages_on.values(), recipe.small, *recipe.small_on.values()):
        TrainConfig(dataset="any", **{**recipe.settings, **changes})
    assert recipe.backbone in BACKBONES
    assert recipe.protocol and recipe.deviations
    assert all("\n" not in line and line.endswith(".") and len(line) < 140 for line in recipe.deviations)
    assert not recipe.follows or recipe.follows in RECIPES.names[: RECIPES.names.index(recipe.name)]


def test_file_of_published_results_is_that_of_the_table():
    # Written by: python -m lib recipes list --write-published
    assert read_json(PUBLISHED_FILE) == published_results()


def test_published_line_of_a_metric():
    line = published_line("vgg16-dr-mlp1", "test_quadratic_weighted_kappa")
    assert (line.value, line.source) == (0.74558, "talk, November 2016")
    assert published_line("vgg16-dogscats", "test_quadratic_weighted_kappa") is None
    assert published_line("vgg16-dr-lr-augmented", "test_accuracy") is None
    assert published_line("", "test_accuracy") is None


def test_a_missing_file_draws_no_lines(tmp_path):
    assert read_published(tmp_path / "none.json") == {}


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'vgg16-dogscats'"):
        RECIPES.get("vgg16-dogcats")


def test_table_and_plans_need_no_torch():
    code = "import sys; import lib.recipes; lib.recipes.published_line('vgg16-dr-lr', 'test_accuracy'); "
    assert subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], timeout=60).returncode == 0
