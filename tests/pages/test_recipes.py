"""A recipe fills the training form, and its published figure stands beside its runs."""

import pytest

from lib import jobs
from lib.recipes import RECIPES
from lib.training.config import TrainConfig
from pages.common import state
from tests.kept_home import put_generated_eyes
from tests.pages.scene import link, make_dataset, make_run, open_page, words
from tests.run_store import make_run_store


@pytest.fixture(autouse=True)
def _store(home):
    make_run_store()


@pytest.mark.slow
def test_a_recipe_fills_the_form_and_the_run_keeps_its_name(started):
    put_generated_eyes()
    at = open_page("train_model", dataset="synthetic-fundus")
    at.selectbox(key="train_recipe").set_value("vgg16-dr-mlp1").run()
    assert not at.exception
    said = words(at)
    assert "accuracy 0.667, quadratic kappa 0.746" in said
    assert "BGR" in said
    assert "Lite0 instead of VGG16" in said
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
    assert jobs.active_runs()[0].name.startswith("vgg16-dr-mlp1 · EfficientNet-Lite0 instead of VGG16")
    at.button(key="train_strategy_linear_probe").click().run()
    assert at.selectbox(key="train_recipe").value == ""


@pytest.fixture(scope="module")
def recipe_home(tmp_path_factory):
    """A home with the generated set and a small one of two classes."""
    home = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(home))
        put_generated_eyes()
        make_dataset()
        make_run_store()
    return home


@pytest.fixture
def both_sets(recipe_home, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(recipe_home))


FOREIGN = {
    "train_seed": 7, "train_sampling": "balanced", "train_preprocessing": ["clahe"], "train_time_budget_s": 90.0,
    "train_pinned": True, "train_mixup": 0.4, "train_num_views": 3, "train_head_from": "abc", "train_split_seed": 3,
    "train_num_folds": 5, "train_label_smoothing": 0.1, "train_epochs_feature_extraction": 3,
}  # fmt: skip


def changes(at):
    return [text for text in words(at).splitlines() if "Changed from" in text]


@pytest.mark.parametrize(
    "name",
    [
        "vgg16-dr-mlp1",
        "vgg16-dr-lr",
        pytest.param("inceptionv3-dr-scratch", marks=pytest.mark.slow),
        pytest.param("vgg16-dogscats", marks=pytest.mark.slow),
    ],
)
def test_a_recipe_sets_the_whole_form_whatever_it_held(name, both_sets, started):
    at = open_page("train_model", dataset="synthetic-fundus")
    at.button(key="train_strategy_feature_extraction").click().run()
    for key, value in FOREIGN.items():
        at.session_state[key] = value
    at.run()
    at.selectbox(key="train_recipe").set_value(name).run()
    assert not at.exception
    assert not at.error
    assert changes(at) == []
    at.button(key="train_start").click().run()
    fresh = open_page("train_model", dataset="synthetic-fundus", recipe=name, backbone=started[0].backbone)
    assert changes(fresh) == []
    fresh.button(key="train_start").click().run()
    assert started[0] == started[1]
    assert started[0].seed == 0


def test_a_recipe_is_in_the_link_and_survives_a_reload(both_sets):
    at = open_page("train_model", dataset="synthetic-fundus")
    at.selectbox(key="train_recipe").set_value("vgg16-dr-mlp1").run()
    at.segmented_control(key="train_recipe_budget").set_value("small").run()
    view = {key: link(at, key) for key in ("dataset", "backbone", "recipe", "budget")}
    assert view["recipe"] == "vgg16-dr-mlp1"
    assert view["budget"] == "small"
    epochs = at.number_input(key="train_epochs_feature_extraction").value
    again = open_page("train_model", **view)
    assert again.selectbox(key="train_recipe").value == "vgg16-dr-mlp1"
    assert again.number_input(key="train_epochs_feature_extraction").value == epochs
    assert changes(again) == []
    assert open_page("train_model", dataset="tiny", recipe="no-such").error[0].value.startswith("Unknown recipe")


def test_another_data_set_makes_another_plan_of_the_recipe(both_sets, started):
    at = open_page("train_model", dataset="synthetic-fundus", recipe="googlenet-dr-ft")
    assert at.selectbox(key="train_target_map").value != ""
    at.sidebar.selectbox(key="sidebar_dataset").select("tiny").run()
    assert not at.exception
    assert link(at, "recipe") == "googlenet-dr-ft"
    assert at.selectbox(key="train_target_map").value == ""  # two classes already
    assert changes(at) == []
    again = open_page("train_model", dataset="tiny", recipe="googlenet-dr-ft")
    at.button(key="train_start").click().run()
    again.button(key="train_start").click().run()
    assert started[0] == started[1]


def test_back_takes_a_recipe_out_of_the_form(both_sets, monkeypatch):
    at = open_page("train_model", dataset="synthetic-fundus")
    at.number_input(key="train_seed").set_value(4).run()
    at.selectbox(key="train_recipe").set_value("vgg16-dr-mlp1").run()
    assert at.number_input(key="train_seed").value == 0
    with monkeypatch.context() as patch:
        patch.setattr(state, "is_history_navigation", lambda: True)
        at.query_params.clear()
        at.query_params["dataset"] = "synthetic-fundus"
        at.run()
    assert at.selectbox(key="train_recipe").value == ""
    assert at.number_input(key="train_seed").value == 4
    assert "Published:" not in words(at)


@pytest.mark.slow
def test_the_recipe_whose_head_is_missing_is_started_once(started):
    put_generated_eyes()
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
