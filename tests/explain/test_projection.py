"""Deconvolution and guided back-propagation of one place, by hand and beside captum's on a plain network."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop
from torch import nn

from lib.errors import UserError
from lib.explain.network import make_batch
from lib.explain.projection import PROJECTIONS, WARNING, project_back, why_no_projection
from lib.models.stages import build_backbone
from tests.explain.planted import BLUE, INPUTS, RED, Failing, PlantedNetwork, planted_images, state_of
from tests.explain.tiny import TinyNetwork

IMAGES = planted_images()
CAPTUM = {"deconvolution": Deconvolution, "guided": GuidedBackprop}


class OnePlace(nn.Module):
    def __init__(self, network: TinyNetwork, channel: int, row: int, column: int) -> None:
        super().__init__()
        self.network, self.where = network, (channel, row, column)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channel, row, column = self.where
        return self.network.forward_until(x, "last")[:, channel, row, column]


@pytest.mark.parametrize("kind", PROJECTIONS)
def test_the_planted_spot_lights_up_in_red_alone(kind: str) -> None:
    found = project_back(PlantedNetwork(), IMAGES.pixels[3], INPUTS, stage="spots", channel=RED, kind=kind)
    assert found.place == (2, 5)
    assert found.activation == pytest.approx(1.0)
    assert found.seen == (7, 19, 13, 25)
    # One 3 x 3 window gave the maximum: each of its pixels has the weight 1/9 for red, -1/9 for green and blue.
    assert (np.abs(found.gradient[0]) > 0).sum() == 9
    assert found.gradient[0].max() == pytest.approx(1 / 9)
    assert found.gradient[1].min() == pytest.approx(-1 / 9)
    rows, columns = np.nonzero(found.gradient[0])
    assert rows.min() >= 7
    assert rows.max() < 13
    assert columns.min() >= 19
    assert columns.max() < 25
    assert found.picture.shape == (32, 32, 3)
    assert found.picture[rows[0], columns[0]].tolist() == [255, 0, 0]
    assert (found.picture[0, 0] == 128).all()
    assert found.crop.shape == (6, 6, 3)


@pytest.mark.parametrize("kind", PROJECTIONS)
def test_it_is_captums_own_result(kind: str) -> None:
    network = TinyNetwork()
    found = project_back(network, IMAGES.pixels[0], INPUTS, stage="last", channel=4, kind=kind)
    batch = make_batch(IMAGES.pixels[0], network, INPUTS)
    expected = CAPTUM[kind](OnePlace(network, 4, *found.place)).attribute(batch)[0].detach().numpy()
    np.testing.assert_allclose(found.gradient, expected, atol=1e-6)
    assert np.abs(expected).max() > 0


def test_networks_without_relu_are_refused_with_the_reason() -> None:
    network = build_backbone("timm:test_efficientnet", weights="random")
    assert "silu" in why_no_projection(network)
    with pytest.raises(UserError, match=r"Deconvolution does not fit: .*silu"):
        project_back(network, IMAGES.pixels[0], network.spec, stage=network.spec.stage_names[0], channel=0)
    assert why_no_projection(PlantedNetwork()) == ""
    assert "whatever the weights" in WARNING


def test_bad_names_and_silent_channels_are_one_sentence() -> None:
    for options, expected in (
        ({"channel": BLUE}, "Channel 1 of 'spots' is silent"),
        ({"channel": 3}, "has no channel 3"),
        ({"channel": RED, "kind": "magic"}, "Unknown projection 'magic'"),
        ({"channel": RED, "stage": "logits"}, "'logits' has no map"),
    ):
        with pytest.raises(UserError, match=expected):
            project_back(PlantedNetwork(), IMAGES.pixels[3], INPUTS, **({"stage": "spots"} | options))


@pytest.mark.parametrize("is_training", [False, True])
def test_the_network_stays_as_it_is_also_after_a_failure(*, is_training: bool) -> None:
    network = Failing().train(is_training).requires_grad_(False)
    before = state_of(network)
    with pytest.raises(RuntimeError):
        project_back(network, IMAGES.pixels[3], INPUTS, stage="spots", channel=RED)
    project_back(network, IMAGES.pixels[3], INPUTS, stage="colours", channel=RED)
    assert state_of(network) == before


def test_eight_threads_on_one_network_give_the_serial_answer() -> None:
    network = TinyNetwork()

    def project(_: int) -> np.ndarray:
        return project_back(network, IMAGES.pixels[0], INPUTS, stage="last", channel=4).gradient

    serial = project(0)
    with ThreadPoolExecutor(8) as pool:
        assert all((found == serial).all() for found in pool.map(project, range(8)))
