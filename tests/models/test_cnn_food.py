import pytest
import torch

from lib.errors import WeightsUnavailable
from lib.models.classifier import build_classifier
from lib.models.cnn_food import CNNFood
from lib.models.stages import build_backbone
from lib.models.weights import download_weights


@pytest.fixture(scope="module")
def backbone():
    return build_backbone("cnn_food", weights="random", seed=1)


def test_published_number_of_parameters(backbone):
    assert sum(parameter.numel() for parameter in CNNFood(10).parameters()) == 10_588_458
    classifier = build_classifier(backbone, head="linear", num_classes=10)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == 10_588_458


def test_sizes_at_128_px_are_the_published_ones(backbone):
    h, sides = torch.zeros(1, 3, 128, 128), []
    with torch.no_grad():
        for name in ("block1", "block2", "block3", "block4"):
            h = backbone.stages[name](h)
            sides.append(h.shape[-1])
    assert sides == [63, 30, 14, 2]
    assert h.numel() == 2048


def test_smallest_image_leaves_one_position(backbone):
    with torch.no_grad():
        assert backbone.forward_until(torch.zeros(1, 3, 78, 78), "block4").shape[-2:] == (1, 1)
        with pytest.raises(RuntimeError):
            backbone.forward_until(torch.zeros(1, 3, 77, 77), "block4")


def test_it_has_no_pretrained_weights():
    with pytest.raises(WeightsUnavailable, match="train it from scratch"):
        build_backbone("cnn_food")
    with pytest.raises(WeightsUnavailable, match="no pretrained weights"):
        download_weights("cnn_food")
