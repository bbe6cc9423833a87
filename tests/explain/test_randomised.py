"""Twins with weights drawn anew: alive, different, and nothing of the network itself touched."""

import pytest
import torch

from lib.explain.randomised import cascade, is_untrained, randomised_twin
from lib.features.frozen_stages import smooth_pictures
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone

SIDE = 64


@pytest.fixture(scope="module")
def network():
    backbone = build_backbone("mobilenet_v3_small", weights="random", seed=1, feature_only=True)
    return build_classifier(backbone, head="linear", num_classes=3).eval()


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return smooth_pictures(1, SIDE, seed=5)


def test_each_twin_has_one_stage_more_drawn_anew(network, batch: torch.Tensor) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        answer = network(batch)
    names, kept = [], None
    for name, twin in cascade(network, input_size_px=SIDE):
        names.append(name)
        shared = [spec.name for spec in network.stage_specs][: -len(names)]
        assert all(twin.stages[stage] is not network.stages[stage] for stage in shared)  # a tree of its own ...
        own = {id(one) for one in network.parameters()}
        assert all(id(one) in own for stage in shared for one in twin.stages[stage].parameters())  # ... same tensors
        with torch.no_grad():
            output = twin(batch)
        assert torch.isfinite(output).all()
        assert output.std() > 1e-3  # alive
        assert not torch.equal(output, answer)
        kept = twin
    stages = [stage.name for stage in network.spec.stages_until(network.feature_stage)]
    assert names == ["head", *reversed(stages)]
    assert not {id(one) for one in kept.parameters()} & {id(one) for one in network.parameters()}
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    with torch.no_grad():
        assert torch.equal(network(batch), answer)


def test_the_seed_decides(network, batch: torch.Tensor) -> None:
    with torch.no_grad():
        first, again, other = (
            randomised_twin(network, input_size_px=SIDE, seed=seed)(batch) for seed in (0, 0, 1)
        )  # fmt: skip
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_who_has_learned_nothing(network) -> None:
    assert is_untrained(network)
    assert is_untrained(build_backbone("resnet18", weights="random", seed=3))
    changed = build_backbone("resnet18", weights="random", seed=3)
    with torch.no_grad():
        changed.stages["stem"][0].weight.add_(1e-3)
    assert not is_untrained(changed)
    assert not is_untrained(build_backbone("bundled_vgg"))
