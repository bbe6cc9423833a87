"""One title for a run, whichever page, command or sweep made it."""

import dataclasses

import pytest

from lib.data.specs import DatasetSpec
from lib.demo import STORY
from lib.recipes import fits_subject, run_title
from lib.recipes.spec import CATS_DOGS, FOOD
from lib.sweeps.seeds import SeedSweep
from lib.sweeps.strategies import ARMS, StrategySweep
from lib.tracking.state import present_name
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES

CONFIG = TrainConfig(dataset="cats_dogs", backbone="mobilenet_v2", strategy="partial_finetuning")


def test_the_title_has_strategy_backbone_data_and_what_tells_it_from_its_kind():
    assert run_title(CONFIG) == "Partial fine-tuning · MobileNetV2 · cats_dogs"
    assert run_title(CONFIG, mark="seed 3") == "Partial fine-tuning · MobileNetV2 · cats_dogs · seed 3"
    merged = dataclasses.replace(CONFIG, target_map="referable")
    assert (
        run_title(merged, mark="demo") == "Partial fine-tuning · MobileNetV2 · cats_dogs · Referable retinopathy · demo"
    )
    assert run_title(dataclasses.replace(CONFIG, target_map="0,1")).endswith(" · 0,1")
    recipe = dataclasses.replace(CONFIG, recipe="vgg16-dogscats")
    assert run_title(recipe) == "vgg16-dogscats · MobileNetV2 instead of VGG16 · cats_dogs"


@pytest.mark.parametrize("strategy", STRATEGIES.names)
def test_every_sweep_names_its_runs_by_the_same_title(strategy):
    title = STRATEGIES.get(strategy).title
    config = dataclasses.replace(CONFIG, strategy=strategy)
    seeds = SeedSweep(group_id="ab12cd34", num_seeds=2, config=config.to_dict()).entries[1]
    assert seeds.name == f"{title} · MobileNetV2 · cats_dogs · seed 1"
    for entry in StrategySweep(race_id="beef1234", dataset="cats_dogs", rungs=ARMS.names).entries:
        assert entry.name == f"{STRATEGIES.get(entry.key).title} · EfficientNet-Lite0 · cats_dogs · race beef"
    for run in STORY:
        assert run.title == STRATEGIES.get(run.key).title
        assert run.name == f"{run.title} · EfficientNet-Lite0 · fundus-demo · demo"


def test_runs_that_the_demo_made_under_other_names_are_shown_by_their_titles():
    now = {f"{run.title} · Bundled VGG · synthetic-fundus · demo" for run in STORY}
    former = ("Similar images vote", "Frozen network, linear probe", "Frozen network, small network on top",
              "Last blocks retrained", "Everything retrained", "From scratch, no transfer")  # fmt: skip
    assert {present_name(f"{name} · demo") for name in former} == now
    assert present_name("My best run") == "My best run"


def test_public_sets_under_their_own_names_are_those_of_the_studies():
    foods = DatasetSpec(name="food101", title="Food-101", class_names=("apple_pie", "baklava"))
    pets = DatasetSpec(name="oxford_pets", title="Oxford-IIIT Pet", class_names=("Cat", "Dog"))
    assert [fits_subject(FOOD, foods), fits_subject(FOOD, pets)] == [True, False]
    assert [fits_subject(CATS_DOGS, foods), fits_subject(CATS_DOGS, pets)] == [False, True]
