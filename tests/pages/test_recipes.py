"""A recipe fills the training form, and its published figure stands beside its runs."""

import pytest

from lib import jobs
from lib.data import library
from lib.recipes import RECIPES
from lib.training.config import TrainConfig
from tests.pages.scene import make_dataset, make_run, open_page, words
from tests.run_store import make_run_store


@pytest.fixture(autouse=True)
def _store(home):
    make_run_store()


def test_a_recipe_fills_the_form_and_the_run_keeps_its_name(started):
    library.make_synthetic_fundus(per_class=8, size_px=64)
    at = open_page("train_model", dataset="synthetic-fundus")
    at.selectbox(key="train_recipe").set_value("vgg16-dr-mlp1").run()
    assert not at.exception
    said = words(at)
    assert "accuracy 0.667, quadratic kappa 0.746" in said
    assert "BGR" in said
    assert "Bundled VGG instead of VGG16" in said
    assert at.number_input(key="train_epochs_feature_extraction").value == 50
    assert at.selectbox(key="train_optimizer").value == "adadelta"
    at.number_input(key="train_epochs_feature_extraction").set_value(2).run()
    assert [text for text in words(at).splitlines() if "Changed from" in text] == [
        ":material/edit: Changed from the recipe: epochs 2 instead of 50."
    ]
    at.button(key="train_start").click().run()
    assert not at.error
    config: TrainConfig = started[0]
    assert (config.recipe, config.strategy, config.head) == ("vgg16-dr-mlp1", "feature_extraction", None)
    assert (config.test_fraction, config.max_per_class, config.split_seed, config.warmup_fraction) == (
        0.3,
        200,
        42,
        0.0,
    )
    assert config.epochs == 2
    assert jobs.active_runs()[0].name.startswith("vgg16-dr-mlp1 · Bundled VGG instead of VGG16")
    at.button(key="train_strategy_linear_probe").click().run()
    assert at.selectbox(key="train_recipe").value == ""


def test_the_recipe_whose_head_is_missing_is_started_once(started):
    library.make_synthetic_fundus(per_class=8, size_px=64)
    at = open_page("train_model", dataset="synthetic-fundus")
    at.selectbox(key="train_recipe").set_value("vgg16-dr-ft-learned").run()
    for _ in range(2):
        at.button(key="train_recipe_first").click().run()
        assert not at.exception
        assert not at.error
    assert [config.recipe for config in started] == ["vgg16-dr-mlp1"]


def test_every_recipe_is_offered():
    make_dataset()
    at = open_page("train_model")
    assert len(at.selectbox(key="train_recipe").options) == len(RECIPES) + 1
    assert "Published:" not in words(at)


def test_board_shows_the_published_figure_marked_as_of_other_data(monkeypatch):
    from tests.pages import scene

    make_dataset()
    original = scene.create_run
    with monkeypatch.context() as patch:
        patch.setattr(
            scene, "create_run", lambda config, **options: original({**config, "recipe": "vgg16-dr-mlp1"}, **options)
        )
        make_run("feature_extraction")
    at = open_page("compare_runs")
    table = at.dataframe[0].value
    assert table["published_accuracy"].tolist() == [0.66667]
    assert table["published_kappa"].tolist() == [0.74558]
    assert table["recipe"].tolist() == ["vgg16-dr-mlp1"]
    said = words(at)
    assert "300 test photographs" in said
    assert "other data" in said
