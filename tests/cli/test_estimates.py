import pytest

from lib.advisor import measurement
from lib.advisor.guide import Readings, StageReading, advice_command, kept_advice, recommend
from lib.atomic import read_json
from lib.data.importing import import_folder
from lib.training.config import TrainConfig

ADVICE = recommend(Readings(least_per_class=40, num_classes=2, stages=(StageReading("block3", 0.9, 0.4),)))


@pytest.fixture
def measured(monkeypatch):
    """What was to be measured, as (images, config)."""
    asked = []

    def advise(dataset, config, **options):
        asked.append((dataset, config))
        return ADVICE

    monkeypatch.setattr(measurement, "advise", advise)
    return asked


@pytest.mark.slow
def test_advice_takes_the_settings_of_a_training_and_is_kept_for_them(images, command, measured):
    version = import_folder(images, name="two").version
    asked = TrainConfig(dataset="two", preprocessing="clahe", max_per_class=5, target_map="1,0", num_folds=3)
    answer = command(*advice_command(asked), "--json")
    assert answer.status == 0
    [(part, config)] = measured
    assert config == asked
    assert part.num_images == 10
    assert kept_advice(version, asked).is_file()
    assert not kept_advice(version, TrainConfig(dataset="two")).exists()
    assert read_json(kept_advice(version, asked))["strategy"] == ADVICE.strategy


@pytest.mark.parametrize(
    ("setting", "words"),
    [("target_map=referable", "is for the five grades"), ("preprocessing=sharp", "sharp"), ("x=1", "x")],
)
def test_settings_that_do_not_fit_are_said(images, command, measured, setting, words):
    import_folder(images, name="two")
    answer = command("advise", "--dataset", "two", "--set", setting)
    assert (answer.status, measured) == (2, [])
    assert words in answer.err
