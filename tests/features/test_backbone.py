import pytest
import torch

from lib.features.frozen_stages import frozen_backbone


@pytest.mark.parametrize("name", ["mobilenet_v2", "googlenet"])
def test_random_features_neither_die_nor_explode(name: str) -> None:
    backbone = frozen_backbone(name, weights="random", seed=1)
    assert not backbone.training
    batch = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = backbone.forward_until(batch, backbone.spec.feature_stage).mean((2, 3))
    assert 1e-2 < float(features.std()) < 1e2


def test_random_backbone_is_repeatable() -> None:
    first, second = (frozen_backbone("mobilenet_v3_small", weights="random", seed=1).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
