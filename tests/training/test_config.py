import shlex

import pytest

from lib.errors import UserError
from lib.training.config import TrainConfig


def test_round_trip_and_repetition_as_command_and_python():
    config = TrainConfig(dataset="my photos", strategy="full_finetuning", epochs=3, batch_size=8, split_seed=2)
    assert TrainConfig.from_dict(config.to_dict()) == config
    words = shlex.split(config.to_command())
    assert words[:6] == ["python", "-m", "lib", "train", "--dataset", "my photos"]
    assert words[words.index("--set") + 1] == "batch_size=8"
    assert eval(config.to_python().splitlines()[-1].removeprefix("summary = train")) == config  # noqa: S307


def test_settings_of_the_command_line_take_the_type_of_their_field():
    config = TrainConfig(dataset="d").with_settings(["batch_size=8", "learning_rate=1e-3", "epochs=none", "seed=4"])
    assert (config.batch_size, config.learning_rate, config.epochs, config.seed) == (8, 1e-3, None, 4)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("epochs=-3", "The setting epochs must lie between 1 and 10000, received -3."),
        ("seed=99999999999", "The setting seed must lie between 0 and 2147483647, received 99999999999."),
        ("learning_rate=0", "The setting learning_rate must lie between 1e-09 and 100, received 0.0."),
        ("learning_rate=nan", "received nan"),
        ("batch_size=many", "The setting batch_size needs a value of type int, received 'many'."),
        ("batch_size", "--set needs key=value, received 'batch_size'"),
        ("speed=9", "Unknown setting 'speed'. Known settings: dataset, backbone"),
        ("device=tpu", "The setting device must be auto, cpu, cuda, cuda:N or mps, received 'tpu'."),
        ("device=cuda:x", "received 'cuda:x'"),
        ("weights=places", "Unknown weights 'places'. Choose 'pretrained' or 'random'."),
    ],
)
def test_a_bad_setting_is_named_with_what_was_received_and_what_is_expected(setting, sentence):
    with pytest.raises(UserError) as caught:
        TrainConfig(dataset="d").with_settings([setting])
    assert sentence in str(caught.value)


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_devices_that_torch_may_have_are_left_to_it(device):
    assert TrainConfig(dataset="d", device=device).device == device


def test_a_newer_or_unknown_file_is_refused():
    with pytest.raises(UserError, match="newer than 1; update the program"):
        TrainConfig.from_dict({"dataset": "d", "format_version": 2})
    with pytest.raises(UserError, match="Unknown setting 'colour'"):
        TrainConfig.from_dict({"dataset": "d", "colour": "red"})


def test_a_config_of_before_there_was_a_choice_of_engines_opens_as_torch() -> None:
    stored = TrainConfig(dataset="d").to_dict()
    assert TrainConfig.from_dict(stored).engine == "auto"
    del stored["engine"]
    assert TrainConfig.from_dict(stored).engine == "torch"
    assert "--set engine=torch" in TrainConfig.from_dict(stored).to_command()
    with pytest.raises(UserError, match="engine must be one of auto, torch, onnx, received 'tpu'"):
        TrainConfig(dataset="d", engine="tpu")
    with pytest.raises(UserError, match="engine=onnx computes in float32; leave out dtype=bfloat16"):
        TrainConfig(dataset="d", engine="onnx", dtype="bfloat16")
