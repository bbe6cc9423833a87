import json

import numpy as np
import pytest
from PIL import Image

from lib import tracking


@pytest.fixture
def linear_run(trained) -> str:
    return next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)


def test_a_channel_of_a_run_over_its_data_set(command, trained, linear_run, tmp_path):
    out = tmp_path / "unit.png"
    options = ["--run", linear_run, "--dataset", "colours", "--stage", "stem"]
    answer = command("unit", *options, "--out", out, "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out.splitlines()[-1])
    assert found["stage"] == "stem"
    activations = [patch["activation"] for patch in found["patches"]]
    assert activations == sorted(activations, reverse=True)
    assert len(activations) <= 24
    assert {patch["class_name"] for patch in found["patches"]} <= {"warm", "cold"}
    assert found["receptive_field"]["size_px"] == 3
    assert Image.open(out).width > 300
    again = command("unit", *options, "--channel", found["channel"])
    assert again.status == 0, again.err
    assert f"Channel {found['channel']} of stem: " in again.out
    assert "of the data set are." in again.out
    assert "--out FILE.png" in again.err


def test_a_picture_is_made_without_a_data_set(command, trained, linear_run, tmp_path):
    out = tmp_path / "made.png"
    options = ["--run", linear_run, "--stage", "stem", "--channel", 1, "--maximize", "--out", out]
    answer = command("unit", *options, "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out.splitlines()[-1])
    assert found["activations"][-1] > found["activations"][0]
    first = np.asarray(Image.open(out))
    assert command("unit", *options).status == 0
    assert (np.asarray(Image.open(out)) == first).all()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run", "a", "--backbone", "b"], "whose channel is it"),
        (["--channel", "1"], "Give --dataset NAME"),
        (["--maximize", "--out", "a.png"], "Give --channel K"),
        (["--dataset", "x", "--out", "y.gif"], "must end in .png"),
        (["--maximize", "--channel", "1"], "Give --out FILE.png"),
        (["--dataset", "x", "--backbone", "nonsense"], "nonsense"),
    ],
)
def test_unit_says_what_it_needs(arguments, expected, command):
    answer = command("unit", *arguments)
    assert answer.status == 2
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1


def test_unknown_stage_channel_and_data_set(command, trained, linear_run, tmp_path):
    for options, expected in (
        (["--dataset", "colours", "--stage", "conv9"], "conv9"),
        (["--dataset", "colours", "--stage", "stem", "--channel", 999], "has no channel 999"),
        (["--dataset", "none", "--stage", "stem"], "There is no data set"),
    ):
        answer = command("unit", "--run", linear_run, *options)
        assert answer.status == 2
        assert expected in answer.err
