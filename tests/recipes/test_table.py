import shlex
import subprocess
import sys

import numpy as np
import pytest

from lib.atomic import read_json
from lib.cli.datasets import datasets
from lib.data.sources.catalogue import SOURCES
from lib.errors import UserError
from lib.evaluation.metrics import accuracy, quadratic_weighted_kappa
from lib.models.backbones import BACKBONES
from lib.recipes import RECIPES, published_line, published_results
from lib.recipes.published import PUBLISHED_FILE
from lib.training.config import TrainConfig

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
    """The committed figures are those that the studies print; written by recipes list --write-published."""
    found = published_results()
    assert read_json(PUBLISHED_FILE) == found
    assert len(found["results"]) == len(RECIPES) >= 17


def test_published_line_of_a_metric():
    line = published_line("vgg16-dr-mlp1", "test_quadratic_weighted_kappa")
    assert (line.value, line.source) == (0.74558, "talk, November 2016")
    assert published_line("vgg16-dogscats", "test_quadratic_weighted_kappa") is None
    assert published_line("vgg16-dr-lr-augmented", "test_accuracy") is None
    assert published_line("", "test_accuracy") is None


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'vgg16-dogscats'"):
        RECIPES.get("vgg16-dogcats")


def test_table_and_plans_need_no_torch():
    code = "import sys; import lib.recipes; lib.recipes.published_line('vgg16-dr-lr', 'test_accuracy'); "
    assert subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], timeout=60).returncode == 0


def test_images_of_a_study_are_brought_by_a_command_that_there_is():
    subjects = {recipe.subject.bring: recipe.subject for recipe in RECIPES}
    assert len(subjects) == 3
    for bring in subjects:
        words = shlex.split(bring)
        assert words[:4] == ["python", "-m", "lib", "datasets"]
        context = datasets.commands[words[4]].make_context("import", words[5:])
        if source := context.params["source"]:
            settings = dict(setting.split("=") for setting in context.params["settings"])
            assert SOURCES.get(source).complete(settings)
