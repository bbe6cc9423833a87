"""Every recipe by name, on eight generated photographs of each grade; all share one library and one store of runs."""

import itertools
import json

import pytest

from lib import cli
from lib.errors import UserError
from lib.recipes import RECIPES, plan_recipe
from lib.registry import Registry
from lib.sweeps.recipes import sweep_of
from lib.sweeps.runner import run_sweep
from lib.tracking import list_runs
from tests.kept_home import put_generated_eyes
from tests.run_store import make_run_store
from tests.stand_in import StandIn


@pytest.fixture(scope="module")
def tiny_home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
        make_run_store()
        put_generated_eyes()
    return folder / "home"


@pytest.fixture
def recipes_home(tiny_home, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tiny_home))
    return tiny_home


QUICK = ("vgg16-dr-ft-random",)  # the others run with the slow tests


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


SEEDS = itertools.count(101)


class ByRecipe(StandIn):
    """Does a run at once and keeps its recipe and the run whose head it starts from."""

    def __init__(self):
        super().__init__()
        self.heads = []

    def write(self, run):
        self.heads.append((run.config["recipe"], run.config["head_from"]))
        (run.folder / "bundle").mkdir()


@pytest.fixture
def plans(recipes_home, bundled_default, monkeypatch):
    """Two recipes of which the second starts from the head of a third, with a seed of their own in each test."""
    monkeypatch.setattr("lib.experiment.start._refuse_held_out", lambda *_, **__: None)  # nothing was fitted
    seed = next(SEEDS)
    return [plan_recipe(name, budget="tiny", changes={"seed": seed}) for name in ("vgg16-dr-lr", "vgg16-dr-ft-learned")]


def test_recipes_that_were_broken_off_go_on_where_they_were(plans):
    sweep, work = sweep_of(plans), ByRecipe()
    assert [entry.key for entry in sweep.entries] == ["vgg16-dr-lr", "vgg16-dr-mlp1", "vgg16-dr-ft-learned"]
    work.stops = {"feature_extraction"}
    state = run_sweep(sweep, work=work)
    assert (state.state, len(work.heads)) == ("stopped", 1)
    broken_off = state.runs["vgg16-dr-mlp1"]

    work.stops = set()
    again = sweep_of(plans)  # another call of the same command, in another process
    assert again.read().runs == state.runs
    state = run_sweep(again, work=work)
    assert state.state == "finished"
    assert state.runs["vgg16-dr-mlp1"] == broken_off
    assert work.heads == [("vgg16-dr-lr", None), ("vgg16-dr-mlp1", None), ("vgg16-dr-ft-learned", broken_off)]


def test_what_is_finished_is_taken_over_also_of_other_calls_and_made_again_on_request(plans):
    work = ByRecipe()
    alone = run_sweep(sweep_of(plans[1:]), work=work)
    both = run_sweep(sweep_of(plans), work=work)
    assert [name for name, _ in work.heads] == ["vgg16-dr-mlp1", "vgg16-dr-ft-learned", "vgg16-dr-lr"]
    assert {**both.runs, **alone.runs} == both.runs
    work.stops = {"partial_finetuning"}
    broken_off = run_sweep(sweep_of(plans, is_again=True), work=work)
    work.stops = set()
    anew = run_sweep(sweep_of(plans, is_again=True), work=work)
    assert (broken_off.state, anew.runs, len(work.heads)) == ("stopped", broken_off.runs, 6)
    assert not set(anew.runs.values()) & set(both.runs.values())
    assert work.heads[-1] == ("vgg16-dr-ft-learned", anew.runs["vgg16-dr-mlp1"])


def test_a_recipe_whose_head_failed_is_not_begun(plans):
    work = ByRecipe()
    work.fails = {"feature_extraction"}
    sweep = sweep_of(plans)
    with pytest.raises(UserError, match=r"^vgg16-dr-mlp1, vgg16-dr-ft-learned failed: Memory ran out\. What is done"):
        run_sweep(sweep, work=work)
    assert [name for name, _ in work.heads] == ["vgg16-dr-lr"]
    state = sweep.read()
    assert set(state.problems.values()) == {"Memory ran out."}
    assert "vgg16-dr-ft-learned" not in state.runs


def test_a_head_of_other_images_is_trained_beside_its_namesake(plans):
    _, learned = plans
    namesake = plan_recipe("vgg16-dr-mlp1", budget="tiny", changes={"seed": 1000})
    entries = sweep_of([namesake, learned]).entries
    assert [(entry.key, entry.follows) for entry in entries] == [
        ("vgg16-dr-mlp1", ""), ("vgg16-dr-mlp1 2", ""), ("vgg16-dr-ft-learned", "vgg16-dr-mlp1 2")
    ]  # fmt: skip


def test_all_of_them_are_told_in_one_table_though_one_failed(plans, monkeypatch, capsys):
    work = ByRecipe()
    work.fails = {"linear_probe"}
    monkeypatch.setattr("lib.jobs.work", work)
    few = Registry("recipe")
    for name in ("vgg16-dr-mlp1", "vgg16-dr-lr", "vgg16-dr-ft-learned"):
        few.add(RECIPES.get(name))
    monkeypatch.setattr("lib.cli.recipes.RECIPES", few)
    seed = str(plans[0].config.seed)
    assert cli.run(["recipes", "run", "all", "--budget", "tiny", "--seed", seed, "--json"]) == 1
    answer = capsys.readouterr()
    found = {one["recipe"]: one for one in json.loads(answer.out.splitlines()[-1])["recipes"]}
    assert tuple(found) == few.names
    assert (found["vgg16-dr-lr"]["state"], found["vgg16-dr-lr"]["problem"]) == ("failed", "Memory ran out.")
    assert found["vgg16-dr-ft-learned"]["state"] == "finished"
    assert answer.err.count("Memory ran out.") == 1
    assert cli.run(["recipes", "run", "vgg16-dr-lr", "--budget", "tiny", "--seed", seed]) == 2
    assert "vgg16-dr-lr failed: Memory ran out." in capsys.readouterr().err


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
