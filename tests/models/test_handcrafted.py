"""Hand-made measures in the place of a network: asked for by name, offered in no list, refused where one is trained."""

from types import SimpleNamespace

import pytest
import torch

from lib.data.retina_measures import FEATURE_NAMES
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.stages import build_backbone
from lib.training.config import TrainConfig
from lib.training.resolution import _with_own_backbone
from lib.training.strategies import STRATEGIES


def test_it_is_found_by_name_and_in_no_list() -> None:
    spec = BACKBONES.get("handcrafted")
    assert "handcrafted" not in BACKBONES.names
    assert spec not in list(BACKBONES)
    assert spec.feature_dim == len(FEATURE_NAMES) == spec.stage("measures").num_channels
    assert not spec.map_stages


def test_a_batch_is_measured_like_its_images_one_by_one() -> None:
    backbone = build_backbone("handcrafted", weights="random")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    together = backbone.forward_until(images, "measures")
    assert together.shape == (3, len(FEATURE_NAMES))
    for index in range(3):
        assert torch.equal(backbone.forward_until(images[index : index + 1], "measures")[0], together[index])


def test_the_strategy_takes_it_and_networks_are_not_trained_on_it() -> None:
    config = TrainConfig(dataset="any", backbone="bundled_vgg", strategy="handcrafted_features", feature_stage="pool")
    taken = _with_own_backbone(config, STRATEGIES.get("handcrafted_features"))
    assert (taken.backbone, taken.feature_stage) == ("handcrafted", None)
    wrong = SimpleNamespace(backbone="handcrafted")
    with pytest.raises(UserError, match="are no network, so Linear probe has nothing to work on"):
        _with_own_backbone(wrong, STRATEGIES.get("linear_probe"))


def test_a_map_is_refused_in_words() -> None:
    from lib.explain.network import check_map_stage

    with pytest.raises(UserError, match="no network"):
        check_map_stage(build_backbone("handcrafted", weights="random"), "features")
