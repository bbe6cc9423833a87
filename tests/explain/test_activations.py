import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.explain.attribution import (
    first_layer_filters,
    stage_activations,
    top_channels,
    trace_image,
)
from lib.explain.network import as_map
from lib.models.backbones import StageSpec
from lib.models.stages import build_backbone
from tests.explain.tiny import TinyNetwork, tiny_batch


def test_filters_are_scaled_around_grey() -> None:
    network = TinyNetwork()
    with torch.no_grad():
        network.stages["stem"][0].weight[0].zero_()
        network.stages["stem"][0].weight[1].fill_(0.25)
        network.stages["stem"][0].weight[1, 2, 0, 1] = -0.5  # blue, row 0, column 1
    filters = first_layer_filters(network)
    assert filters.shape == (8, 3, 3, 3)
    assert filters.min() >= 0
    assert filters.max() <= 1
    np.testing.assert_array_equal(filters[0], 0.5)
    # 0.25 / 0.5 / 2 + 0.5 = 0.75, and -0.5 / 0.5 / 2 + 0.5 = 0.
    assert filters[1, 0, 1].tolist() == [0.75, 0.75, 0.0]
    assert filters[1, 2, 2].tolist() == [0.75, 0.75, 0.75]


def test_a_colour_transform_is_no_filter_bank() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 7, 5))
    assert first_layer_filters(network).shape == (7, 5, 5, 3)
    with pytest.raises(UserError, match="no convolution"):
        first_layer_filters(nn.Sequential(nn.Linear(3, 4)))


def test_activations_are_the_stage_outputs() -> None:
    network = TinyNetwork().train()
    batch = tiny_batch()
    expected = TinyNetwork().forward_until(batch, "middle")[0].detach().numpy()
    np.testing.assert_array_equal(stage_activations(network, batch, "middle"), expected)
    assert network.training
    strip = trace_image(network, batch).activations()
    assert [values.shape for values in strip.values()] == [(16, 16), (8, 8), (4, 4)]
    np.testing.assert_allclose(strip["middle"], np.abs(expected).mean(axis=0), rtol=1e-6)
    with pytest.raises(UserError, match="vector"):
        stage_activations(network, batch, "logits")


def test_top_channels_rank_by_mean_magnitude() -> None:
    activations = np.zeros((4, 1, 2), dtype=np.float32)
    activations[1] = [[0.0, 5.0]]  # mean 2.5
    activations[2] = [[-4.0, -4.0]]  # mean magnitude 4
    activations[3] = [[2.5, 2.5]]  # mean 2.5, after channel 1
    assert top_channels(activations, 3).tolist() == [2, 1, 3]
    assert top_channels(activations, 9).tolist() == [2, 1, 3, 0]


def test_tokens_on_a_grid_are_drawn_in_their_places():
    spec = StageSpec("block", "Block", "tokens", num_channels=2, num_prefix_tokens=1, is_on_grid=True)
    tokens = torch.arange(10.0).reshape(1, 5, 2)  # a class token, then the places of a grid of 2 x 2
    laid = as_map(tokens, spec)
    assert laid.shape == (1, 2, 2, 2)
    assert laid[0, 0].tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert laid[0, 1].tolist() == [[3.0, 5.0], [7.0, 9.0]]


def test_a_transformer_shows_its_tokens_and_its_first_filters():
    network = build_backbone("timm:test_vit", weights="random")
    batch = torch.randn(1, 3, 160, 160)
    strip = trace_image(network, batch).activations()
    assert list(strip) == [*(f"blocks_{number}" for number in range(6)), "features"]
    assert {maps.shape for maps in strip.values()} == {(10, 10)}
    assert stage_activations(network, batch, "blocks_3").shape == (64, 10, 10)
    assert first_layer_filters(network).shape == (64, 16, 16, 3)
    with pytest.raises(UserError, match=r"The stage 'pool' has no map \(its output is a vector\)"):
        stage_activations(network, batch, "pool")
