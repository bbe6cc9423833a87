"""The filters of any convolution: weights as they are, responses as a forward pass gives them, nothing touched."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.explain.filters import convolution_layers, filter_responses
from lib.models.stages import build_backbone


@pytest.fixture(scope="module")
def network():
    return build_backbone("mobilenet_v3_small", weights="random")


def test_every_convolution_is_found_with_its_shape(network) -> None:
    layers = convolution_layers(network)
    assert len(layers) == sum(isinstance(module, nn.Conv2d) for module in network.modules())
    first = layers[0]
    assert (first.stage, first.num_filters, first.num_inputs, first.kernel) == ("stem", 16, 3, (3, 3))
    assert any(layer.num_inputs == 1 and layer.num_filters > 1 for layer in layers)  # depthwise


def test_responses_are_those_of_the_layer_and_nothing_is_touched(network) -> None:
    batch = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = convolution_layers(network)[0]
    found = filter_responses(network, batch, first.path)
    module = network.stages["stem"].get_submodule(first.path.partition(".")[2])
    with torch.no_grad():
        np.testing.assert_array_equal(found.responses, module(batch)[0].numpy())
    np.testing.assert_array_equal(found.weights, module.weight.detach().numpy())
    strength = np.abs(found.responses).mean(axis=(1, 2))
    assert found.strongest(3) == sorted(range(16), key=lambda index: -strength[index])[:3]
    colours = found.colours(0)
    assert colours.shape == (3, 3, 3)
    assert max(colours.max(), 1 - colours.min()) == pytest.approx(1.0)
    assert not any(module._forward_hooks for module in network.modules())
    assert not network.training


def test_the_shown_part_of_a_filter_is_the_input_channel_with_the_largest_weights(network) -> None:
    path = next(layer.path for layer in convolution_layers(network) if layer.num_inputs > 3)
    found = filter_responses(network, torch.randn(1, 3, 32, 32), path)
    part, channel = found.shown_slice(1)
    assert channel == int(np.square(found.weights[1]).sum(axis=(1, 2)).argmax())
    np.testing.assert_array_equal(part, found.weights[1, channel])


def test_an_unknown_convolution_is_one_sentence(network) -> None:
    with pytest.raises(UserError, match=r"no convolution 'conv9'. Choose one of: stem\.0"):
        filter_responses(network, torch.randn(1, 3, 32, 32), "conv9")
