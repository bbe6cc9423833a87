"""What the channels of a stage do in one image, by hand on a network of two detectors."""

import dataclasses

import numpy as np
import pytest

from lib.errors import UserError
from lib.explain.channels import ChannelMaps, channel_maps
from lib.models.backbones import BACKBONES
from lib.models.networks import HandcraftedNetwork
from lib.models.stages import Backbone, build_backbone
from tests.explain.planted import BLUE, DEAD, INPUTS, RED, PlantedNetwork, planted_images, state_of

IMAGES = planted_images()
MAPS = ChannelMaps(
    np.array([[[0, 0.005], [0.5, 0.5]], [[0, 0], [0, 1.0]], [[0, 0], [0.004, 0]]], dtype=np.float32),
    np.full((8, 8, 3), 100, dtype=np.uint8),
    "spots",
)


def test_strength_sparsity_rank_and_range_by_hand() -> None:
    first, second, third = (MAPS.facts(channel) for channel in range(3))
    assert MAPS.order.tolist() == [0, 1, 2]
    assert (first.rank, first.strength, first.sparsity) == (1, pytest.approx(1.005 / 4), 0.5)
    assert (second.rank, second.strength, second.sparsity) == (2, 0.25, 0.75)
    assert (first.low, first.high) == (0, 0.5)
    assert (third.is_silent, third.sparsity, MAPS.num_silent) == (True, 1.0, 1)
    assert "Rank 1 of 3 by strength (mean magnitude 0.25); 50% of its places" in first.describe()
    assert "silent" in third.describe()
    assert list(MAPS.page(1, 2)) == [0, 1]
    assert list(MAPS.page(2, 2)) == [2]


def test_the_detector_of_red_is_warm_where_the_spot_is() -> None:
    network = PlantedNetwork()
    before = state_of(network)
    found = channel_maps(network, IMAGES.pixels[3], INPUTS, "spots")
    assert state_of(network) == before
    assert found.maps[RED].argmax() == 2 * 8 + 5
    assert found.order[0] == RED
    assert found.facts(BLUE).is_silent
    assert found.facts(DEAD).is_silent
    assert not found.is_signed
    picture = found.over_image(RED, 128).astype(int)
    assert np.abs(np.diff(picture[40, 88])).max() > 50  # coloured
    assert picture[40, 88, 0] > 150  # yellow
    assert found.cells(RED, 64).shape == (64, 64, 3)
    assert (np.ptp(found.over_image(DEAD, 32), axis=2) == 0).all()  # grey
    with pytest.raises(UserError, match="has no channel 3"):
        found.over_image(3, 64)


def test_negative_values_are_blue_over_the_image_and_zero_is_grey() -> None:
    values = np.array([[[-1.0, 0.0], [0.0, 1.0]]], dtype=np.float32)
    signed = dataclasses.replace(MAPS, maps=values)
    assert signed.is_signed
    picture = signed.over_image(0, 8).astype(int)
    assert picture[0, 0, 2] > picture[0, 0, 0] + 50
    assert picture[-1, -1, 0] > picture[-1, -1, 2] + 50
    assert np.ptp(picture[0, -1]) < 30
    silent = dataclasses.replace(MAPS, maps=np.concatenate([values, np.full((1, 2, 2), 0.001, np.float32)]))
    assert (np.ptp(silent.over_image(1, 8), axis=2) == 0).all()


def test_tokens_in_their_places_and_hand_made_filters_refused() -> None:
    network = build_backbone("timm:test_vit", weights="random")
    found = channel_maps(network, IMAGES.pixels[0], network.spec, network.spec.stage_names[0])
    assert found.maps.shape[1:] == (10, 10)
    assert found.over_image(0, 64).shape == (64, 64, 3)
    by_hand = Backbone(BACKBONES.get("handcrafted"), HandcraftedNetwork(69), weights="random")
    with pytest.raises(UserError, match="features are made by hand-made filters"):
        channel_maps(by_hand, IMAGES.pixels[0], by_hand.spec, "measures")
