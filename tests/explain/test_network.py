import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.explain.attribution import grad_cam, trace_image
from lib.explain.network import as_map, make_batch
from lib.models.backbones import StageSpec
from tests.explain.tiny import TinyNetwork, tiny_batch


@pytest.fixture
def network() -> TinyNetwork:
    network = TinyNetwork()
    network.requires_grad_(False)
    return network


def test_unknown_and_vector_stages_are_refused(network: TinyNetwork) -> None:
    with pytest.raises(UserError, match=r"not a stage of this network\. Choose one of: stem, middle, last"):
        grad_cam(network, tiny_batch(), stage="conv9")
    with pytest.raises(UserError, match="its output is a vector"):
        grad_cam(network, tiny_batch(), stage="logits")
    with pytest.raises(ValueError, match="One image"):
        trace_image(network, tiny_batch(2)).cams()
    with pytest.raises(ValueError, match="2 images need 2 target classes"):
        grad_cam(network, tiny_batch(2), stage="last", target=[1])


def test_tokens_on_a_grid_are_drawn_in_their_places():
    spec = StageSpec("block", "Block", "tokens", num_channels=2, num_prefix_tokens=1, is_on_grid=True)
    tokens = torch.arange(10.0).reshape(1, 5, 2)  # a class token, then the places of a grid of 2 x 2
    laid = as_map(tokens, spec)
    assert laid.shape == (1, 2, 2, 2)
    assert laid[0, 0].tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert laid[0, 1].tolist() == [[3.0, 5.0], [7.0, 9.0]]


FORMAT = {"size_px": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (48, 48, 3), dtype=np.uint8)


def test_batch_has_the_network_size(pixels: np.ndarray) -> None:
    batch = make_batch(pixels, TinyNetwork(), FORMAT)
    assert tuple(batch.shape) == (1, 3, 32, 32)
    # 255 -> (1 - 0.5) / 0.25 = 2.
    white = make_batch(np.full((48, 48, 3), 255, dtype=np.uint8), TinyNetwork(), FORMAT)
    np.testing.assert_allclose(white.numpy(), 2.0, atol=1e-5)
