"""Every recipe by name, on eight generated photographs of each grade; all share one library and one store of runs."""

import json

import pytest

from lib import cli
from lib.data import builtin
from lib.recipes import RECIPES, plan_recipe
from lib.tracking import list_runs
from tests.run_store import make_run_store


@pytest.fixture(scope="module")
def tiny_home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
        make_run_store()
        builtin.make_synthetic_fundus(per_class=8, size_px=96)
    return folder / "home"


@pytest.fixture
def recipes_home(tiny_home, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tiny_home))
    return tiny_home


# Frozen features and fine-tuning of one study; the others run with the slow tests.
QUICK = ("vgg16-dr-mlp1", "vgg16-dr-ft-random")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in RECIPES.names]
)
def test_every_recipe_runs_by_name(name, recipes_home, bundled_default, capsys):
    recipe = RECIPES.get(name)
    assert cli.run(["recipes", "run", name, "--budget", "tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["recipes"][-1]
    assert (found["recipe"], found["state"]) == (name, "finished")
    assert 0 <= found["test_accuracy"] <= 1
    run = next(run for run in list_runs() if run.run_id == found["run_id"])
    assert run.config["recipe"] == name
    assert run.label.endswith(" · tiny")
    if run.config["backbone"] != recipe.backbone:
        assert "instead of" in run.label
        assert any("not at hand" in note for note in found["notes"])


def test_a_finished_recipe_is_not_run_again(recipes_home, bundled_default, capsys):
    before = {run.run_id for run in list_runs()}
    assert cli.run(["recipes", "run", QUICK[0], "--budget", "tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["recipes"][0]
    if before:  # the whole file runs in order; alone, this test is the first run
        assert found["state"] == "finished before"
        assert found["run_id"] in before
        assert {run.run_id for run in list_runs()} == before


def test_plan_says_what_stands_in(recipes_home):
    plan = plan_recipe("vgg16-dogscats")
    assert (plan.config.backbone, plan.config.feature_stage) == ("efficientnet_lite0", "last_vector")
    assert plan.config.target_map == "any_dr"
    assert any("instead of photographs of a cats-and-dogs competition" in note for note in plan.notes)
    assert plan.name.startswith("vgg16-dogscats · EfficientNet-Lite0 instead of VGG16 · synthetic-fundus")
    fallback = plan_recipe("vgg16-dr-ft-random", backbone="bundled_vgg", budget="small").config
    assert (fallback.unfreeze_from, fallback.input_size_px, fallback.epochs) == ("block5", None, 20)
    other = plan_recipe("vgg16-dr-ft-random", backbone="mobilenet_v2")
    assert other.config.unfreeze_from is None
    assert not any("not at hand" in note for note in other.notes)


def test_train_takes_a_recipe_with_changes(recipes_home, capsys, monkeypatch):
    from lib import jobs

    started = []
    monkeypatch.setattr(jobs, "start", lambda config: started.append(config) or "0" * 32)
    assert cli.run(["train", "--recipe", "vgg16-dr-mlp1", "--epochs", "3", "--set", "head=linear", "--detach"]) == 0
    config = started[0]
    assert (config.recipe, config.epochs, config.head, config.strategy) == (
        "vgg16-dr-mlp1", 3, "linear", "feature_extraction"
    )  # fmt: skip
    assert config.split_seed == 42


def test_show_and_list_answer(recipes_home, capsys):
    assert cli.run(["recipes", "show", "vgg16-dr-mlp1"]) == 0
    said = capsys.readouterr().out
    assert "0.667" in said
    assert "BGR" in said
    assert "--set max_per_class=200" in said
    assert cli.run(["recipes", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["recipes"]) == len(RECIPES)
    assert cli.run(["recipes", "run", "nothing"]) == 2
    assert cli.run(["recipes", "run", "vgg16-dr-lr", "--budget", "huge"]) == 2
