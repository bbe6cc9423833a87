"""The program's own networks: the CNN of the food tutorial, and hand-made measures in the place of a network."""

from types import SimpleNamespace

import pytest
import torch

from lib.data.retina_measures import FEATURE_NAMES
from lib.errors import UserError, WeightsUnavailable
from lib.explain.network import check_map_stage
from lib.models.backbones import BACKBONES
from lib.models.classifier import build_classifier
from lib.models.downloads import download_weights
from lib.models.networks import CNNFood, build_network, without_parameters
from lib.models.stages import build_backbone
from lib.training.config import TrainConfig
from lib.training.resolution import _with_own_backbone
from lib.training.strategies import STRATEGIES


@pytest.fixture(scope="module")
def cnn_food():
    return build_backbone("cnn_food", weights="random", seed=1)


def test_cnn_food_has_the_published_number_of_parameters(cnn_food):
    assert sum(parameter.numel() for parameter in CNNFood(10).parameters()) == 10_588_458
    classifier = build_classifier(cnn_food, head="linear", num_classes=10)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == 10_588_458


def test_cnn_food_sizes_at_128_px_are_the_published_ones(cnn_food):
    h, sides = torch.zeros(1, 3, 128, 128), []
    with torch.no_grad():
        for name in ("block1", "block2", "block3", "block4"):
            h = cnn_food.stages[name](h)
            sides.append(h.shape[-1])
    assert sides == [63, 30, 14, 2]
    assert h.numel() == 2048


def test_smallest_image_of_cnn_food_leaves_one_position(cnn_food):
    with torch.no_grad():
        assert cnn_food.forward_until(torch.zeros(1, 3, 78, 78), "block4").shape[-2:] == (1, 1)
        with pytest.raises(RuntimeError):
            cnn_food.forward_until(torch.zeros(1, 3, 77, 77), "block4")


def test_cnn_food_has_no_pretrained_weights():
    with pytest.raises(WeightsUnavailable, match="train it from scratch"):
        build_backbone("cnn_food")
    with pytest.raises(WeightsUnavailable, match="no pretrained weights"):
        download_weights("cnn_food")


def test_handcrafted_is_found_by_name_and_in_no_list() -> None:
    spec = BACKBONES.get("handcrafted")
    assert "handcrafted" not in BACKBONES.names
    assert spec not in list(BACKBONES)
    assert spec.feature_dim == len(FEATURE_NAMES) == spec.stage("measures").num_channels
    assert not spec.map_stages


def test_a_batch_by_hand_is_measured_like_its_images_one_by_one() -> None:
    backbone = build_backbone("handcrafted", weights="random")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    together = backbone.forward_until(images, "measures")
    assert together.shape == (3, len(FEATURE_NAMES))
    for index in range(3):
        assert torch.equal(backbone.forward_until(images[index : index + 1], "measures")[0], together[index])


def test_the_strategy_takes_handcrafted_and_networks_are_not_trained_on_it() -> None:
    config = TrainConfig(dataset="any", backbone="bundled_vgg", strategy="handcrafted_features", feature_stage="pool")
    taken = _with_own_backbone(config, STRATEGIES.get("handcrafted_features"))
    assert (taken.backbone, taken.feature_stage) == ("handcrafted", None)
    wrong = SimpleNamespace(backbone="handcrafted")
    with pytest.raises(UserError, match="are no network, so Linear probe has nothing to work on"):
        _with_own_backbone(wrong, STRATEGIES.get("linear_probe"))


def test_a_map_of_handcrafted_is_refused_in_words() -> None:
    with pytest.raises(UserError, match="no network"):
        check_map_stage(build_backbone("handcrafted", weights="random"), "features")


def test_a_network_that_is_to_be_filled_has_no_parameters_of_its_own_and_other_tensors_are_drawn() -> None:
    with without_parameters():
        network, drawn = build_network(BACKBONES.get("bundled_vgg")), torch.zeros(8, device="cpu").normal_()
    assert all(parameter.is_meta for parameter in network.parameters())
    assert drawn.std() > 0
    filled = build_network(BACKBONES.get("bundled_vgg")).state_dict()
    network.load_state_dict(filled, assign=True)
    assert all(torch.equal(tensor, filled[key]) for key, tensor in network.state_dict().items())
