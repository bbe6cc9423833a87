"""Pictures that a channel answers to as strongly as possible: of a detector of a colour, that colour."""

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from lib.errors import Stopped, UserError
from lib.explain.feature_visualization import Making, MakingRequest, _ascend, animated_picture, maximize
from tests.explain.planted import BLUE, DEAD, INPUTS, RED, Failing, PlantedNetwork, state_of


def request(channel: int = RED, stage: str = "colours", **options: int) -> MakingRequest:
    network = PlantedNetwork()
    with torch.no_grad():  # so that grey wakes the detectors: from silence no direction leads anywhere
        network.stages["colours"][0].bias[[RED, BLUE]] = 0.6
    return MakingRequest(network, stage, channel, INPUTS, **options)


@pytest.mark.parametrize(("channel", "colour"), [(RED, 0), (BLUE, 2)])
def test_a_detector_of_a_colour_gives_that_colour(channel: int, colour: int) -> None:
    made = maximize(request(channel))
    means = made.picture.reshape(-1, 3).mean(axis=0)
    assert means[colour] > 120
    assert all(means[other] < 40 for other in range(3) if other != colour)
    assert made.activations[-1] > 0.9 > 0.3 > made.activations[0]  # 1.6 for the pure colour, 0.1 for grey
    assert f"to {made.activations[-1]:.2g} after 96 steps, seed 0" in made.describe()


def test_frames_are_kept_from_noise_to_the_last() -> None:
    made = maximize(request(num_steps=10))
    assert made.steps == (0, 4, 8, 10)
    assert made.frames.shape == (4, 32, 32, 3)
    assert made.frames[0].std() > 1  # noise, no plain grey
    assert (made.picture == made.frames[-1]).all()
    assert made.activations[0] < made.activations[1] < made.activations[-1]


def test_the_same_seed_gives_the_same_picture_and_another_seed_another() -> None:
    first = request(num_steps=6)
    made = maximize(first)
    again = first.read()
    assert again is not None
    assert (again.frames == made.frames).all()
    assert again.activations == made.activations
    first.path.unlink()
    assert (maximize(first).frames == made.frames).all()
    assert (maximize(request(num_steps=6, seed=1)).frames != made.frames).any()
    keys = {first.key, request(num_steps=6, seed=1).key, request(BLUE, num_steps=6).key, request(num_steps=7).key}
    assert len(keys) == 4


def test_a_damaged_file_is_made_again() -> None:
    first = request(num_steps=4)
    maximize(first)
    content = bytearray(first.path.read_bytes())
    content[300] ^= 1
    first.path.write_bytes(bytes(content))
    assert first.read() is None
    assert maximize(first).steps == (0, 4)


def test_a_channel_that_is_silent_says_so() -> None:
    made = maximize(request(DEAD, num_steps=2))
    assert made.is_silent
    assert "stayed silent" in made.describe()


def test_bad_names_are_one_sentence_and_stop_leaves_nothing() -> None:
    with pytest.raises(UserError, match="no channel 3"):
        maximize(request(3))
    with pytest.raises(UserError, match="'logits' has no map"):
        maximize(request(stage="logits"))

    def stop(done: int, total: int, what: str) -> None:
        assert total == 96
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        maximize(request(), stop)
    assert request().read() is None


@pytest.mark.parametrize("is_training", [False, True])
def test_the_network_stays_as_it_is_also_after_a_failure(*, is_training: bool) -> None:
    network = Failing().train(is_training).requires_grad_(False)
    before = state_of(network)
    with pytest.raises(RuntimeError):
        maximize(MakingRequest(network, "spots", RED, INPUTS, num_steps=2))
    maximize(MakingRequest(network, "colours", RED, INPUTS, num_steps=2))
    assert state_of(network) == before


def test_eight_threads_on_one_network_give_the_serial_answer() -> None:
    one = request(num_steps=3)

    def make(_: int) -> list[float]:
        return [value for picture, activation in _ascend(one) for value in (activation, float(picture.double().sum()))]

    serial = make(0)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == serial for found in pool.map(make, range(8)))


def test_the_making_can_be_played() -> None:
    made = maximize(request(num_steps=8))
    played = Image.open(io.BytesIO(animated_picture(made)))
    assert played.n_frames == 3
    assert played.size == (32, 32)


def test_the_animation_shrinks_until_it_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (12, 128, 128, 3), dtype=np.uint8)
    made = Making(noise, (0.0,) * 12, tuple(range(12)), 0)
    content = animated_picture(made, 60_000)
    assert len(content) <= 60_000
    assert Image.open(io.BytesIO(content)).width < 128
    assert dataclasses.replace(made, activations=(0.0, *(1.0,) * 11)).is_silent is False
