"""From the options that were typed to a training: what is refused before any image is read, and what is said."""

from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from lib.cli import training_config
from lib.cli.training_config import config_from, given_options, note_merged_classes, recipe_config, training_options
from lib.data.specs import DatasetSpec
from lib.errors import UserError
from lib.settings import DEFAULT_DATASET
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES

OPTIONS = {"backbone": "mobilenet_v3_small", "strategy": "linear_probe", "weights": "random", "settings": ()}


@pytest.fixture
def opened(monkeypatch):
    """Names of the data sets that were opened; each is "eyes" of three grades, in the library since long ago."""
    names: list[str] = []
    dataset = SimpleNamespace(name="eyes", description={"created_s": 1.0})

    def take(name, progress=None, **_):
        names.append(name)
        return dataset

    monkeypatch.setattr(training_config, "resolve_dataset", take)
    monkeypatch.setattr(training_config, "ensure_default_dataset", lambda progress: take(DEFAULT_DATASET))
    spec = DatasetSpec(name="eyes", title="Eyes", class_names=("none", "mild", "severe"), store_side_px=32)
    monkeypatch.setattr(training_config, "open_dataset", lambda name: SimpleNamespace(spec=spec))
    return names


def options_of(*typed):
    """All options of a training as a command gets them, and those of them that count as given."""
    found = []

    @click.command()
    @training_options
    @click.pass_context
    def train(ctx, **options):
        found.extend((options, given_options(ctx, options)))

    assert CliRunner().invoke(train, typed, catch_exceptions=False).exit_code == 0
    return found


def test_only_what_was_typed_is_given_even_where_it_is_the_default():
    options, given = options_of("--seed", "0", "--set", "dtype=float32", "--set", "patience=3", "--folds", "5")
    assert given == {"seed": 0, "settings": ("dtype=float32", "patience=3"), "num_folds": 5}
    assert (options["strategy"], options["split_seed"], options["epochs"]) == ("linear_probe", 0, None)
    assert options_of()[1] == {}


def test_help_names_what_the_tables_hold_now(monkeypatch):
    command = training_options(click.command()(lambda **_: None))
    monkeypatch.setitem(STRATEGIES._specs, "of_a_plugin", STRATEGIES.get("linear_probe"))
    said = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "How much of the network learns." in said
    assert f"Known: {', '.join(STRATEGIES.names)}." in said
    assert "of_a_plugin" in STRATEGIES.names


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": ""}, "Missing --dataset: give a folder"),
        ({"strategy": "linear_prob"}, "Did you mean 'linear_probe'"),
        ({"backbone": "mobilenet_v9"}, "mobilenet"),
        ({"settings": ("epoch=3",)}, "epoch"),
        ({"dataset": "no/such/folder"}, "no/such/folder"),
        ({"weights": "pretrained"}, "mobilenet_v3_small"),
    ],
)
def test_a_slip_of_the_pen_is_known_before_any_image_is_read(opened, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        config_from(**{"dataset": "eyes", **OPTIONS, **changes})
    assert opened == []


def test_a_strategy_from_scratch_needs_no_weights_and_starts_at_random(opened):
    config = config_from(**OPTIONS | {"dataset": "eyes", "strategy": "from_scratch", "weights": "pretrained"})
    assert (config.dataset, config.weights, config.strategy) == ("eyes", "random", "from_scratch")


def test_settings_and_the_name_of_an_imported_folder_reach_the_config(opened, tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(training_config, "check_folder", checked.append)
    config = config_from(**OPTIONS | {"dataset": str(tmp_path), "settings": ("patience=3",), "seed": 4})
    assert (config.dataset, config.patience, config.seed) == ("eyes", 3, 4)
    assert checked == opened == [str(tmp_path)]


def test_the_default_data_set_is_made_where_it_lacks(opened):
    config_from(**OPTIONS | {"dataset": DEFAULT_DATASET})
    assert opened == [DEFAULT_DATASET]


@pytest.mark.parametrize(("max_classes", "said"), [(None, "severe"), (2, "mild")])
def test_of_fewer_classes_only_those_are_said_to_be_merged(opened, capsys, max_classes, said):
    text = "0,1,1" if max_classes is None else "0,1"
    note_merged_classes(TrainConfig(dataset="eyes", target_map=text, max_classes=max_classes))
    err = capsys.readouterr().err
    assert said in err
    assert ("severe" in err) == (max_classes is None)
    note_merged_classes(TrainConfig(dataset="eyes"))
    assert capsys.readouterr().err == ""


def test_a_recipe_that_goes_on_from_another_needs_its_head(opened, monkeypatch):
    config = TrainConfig(dataset="eyes")
    plans = [SimpleNamespace(recipe=SimpleNamespace(name=name), config=config, notes=()) for name in ("later", "first")]
    monkeypatch.setattr(training_config, "RECIPES", SimpleNamespace(get=lambda name: None))
    monkeypatch.setattr(training_config, "plan_recipe", lambda *_, **__: plans[0])
    monkeypatch.setattr("lib.sweeps.recipes.parent_plan", lambda plan: plans[1])
    monkeypatch.setattr("lib.sweeps.recipes.finished_run", lambda config: None)
    with pytest.raises(UserError, match=r"later starts from the head of first, which has not been run on 'eyes'"):
        recipe_config("later", dataset="eyes")
    monkeypatch.setattr("lib.sweeps.recipes.finished_run", lambda config: SimpleNamespace(run_id="r1"))
    seen = []
    monkeypatch.setattr("lib.sweeps.recipes.from_head", lambda plan, run_id: seen.append(run_id) or plan)
    assert recipe_config("later", dataset="eyes", settings=("patience=3",)).patience == 3
    assert seen == ["r1"]


def test_an_unknown_recipe_is_refused_before_any_image_is_read(opened):
    with pytest.raises(UserError, match="Did you mean 'vgg16-dogscats'"):
        recipe_config("vgg16-dogcats")
    assert opened == []
