import time

import pytest

from lib.advisor.guide import Readings, StageReading, kept_advice, recommend
from lib.atomic import write_json
from lib.data.library import open_dataset
from lib.training.config import TrainConfig
from pages.common import background
from tests.pages.scene import make_dataset
from tests.pages.test_train_model import assert_calm, open_train, words

# The form is the same for every network; trained and measured is the quick one.
pytestmark = pytest.mark.usefixtures("bundled_default")

STAGES = (StageReading("block3", 0.9, 0.4), StageReading("block4", 0.9, 0.2), StageReading("pool", None, 0.9))
ADVICE = recommend(Readings(least_per_class=40, num_classes=2, stages=STAGES, nearest_centroid=0.8, num_scored=80))


def has_advice(at) -> bool:
    return any(button.key == "train_take_advice" for button in at.button)


def test_the_suggestion_is_measured_on_a_click_and_fills_the_form(home, monkeypatch):

    make_dataset()
    asked = []

    def measure(arguments, progress):
        asked.append(arguments)
        write_json(kept_advice(open_dataset("tiny").version, TrainConfig(dataset="tiny")), ADVICE.to_dict())
        return ADVICE.to_dict()

    monkeypatch.setattr(background, "run_child_command", measure)
    at = open_train()
    at.session_state["train_strategy"] = "full_finetuning"
    at.session_state["train_advisor"] = True
    at.run()
    assert_calm(at)
    at.button(key="train_advise").click().run()
    deadline = time.monotonic() + 10
    while not has_advice(at) and time.monotonic() < deadline:
        time.sleep(0.1)
        at.run()
    assert has_advice(at)
    assert asked == [["advise", "--dataset", "tiny", "--backbone", "bundled_vgg", "--split-seed", "0"]]
    assert "rule of thumb" in words(at)
    at.multiselect(key="train_preprocessing").set_value(["clahe"]).run()
    assert not has_advice(at)  # it was for other images
    at.button(key="train_advise").click().run()
    deadline = time.monotonic() + 10
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert asked[1][-2:] == ["--set", "preprocessing=clahe"]
    at.multiselect(key="train_preprocessing").set_value([]).run()
    at.button(key="train_take_advice").click().run()
    assert_calm(at)
    assert at.session_state["train_strategy"] == "linear_probe"
    assert at.selectbox(key="train_feature_stage_bundled_vgg").value == "block3"
