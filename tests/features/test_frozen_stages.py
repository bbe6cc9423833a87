import logging

import pytest
import torch

from lib.errors import Stopped
from lib.features.frozen_stages import FrozenStages, frozen_backbone, smooth_pictures
from lib.features.onnx_session import EngineUnavailable, OnnxSession
from lib.models.backbones import BACKBONES
from lib.models.stages import build_backbone, set_batchnorm_statistics


@pytest.mark.slow
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


SIZES = {"cnn_food": 128}  # at 64 px its pools do not divide its maps, and the exporter refuses those


# A stage as large as VGG16's fc1 (400 MiB) takes seconds to export, and is a matrix product like fc2.
MAX_VALUES = 20_000_000


def network(name, num_images=2, size_px=None, seed=0):
    """A random backbone whose BatchNorm has seen images, and images for it."""
    backbone = build_backbone(name, weights="random", seed=seed)
    images = smooth_pictures(num_images, size_px or max(backbone.spec.min_input_px, 64), seed=1)
    set_batchnorm_statistics(backbone, images[:8])
    return backbone, images


def cosine(one, other):
    one, other = (torch.as_tensor(values).flatten(1).double() for values in (one, other))
    return float(torch.nn.functional.cosine_similarity(one, other).min())


LARGE = (
    "vgg16",
    "resnet50",
    "inception_v3",
    "googlenet",
    "mobilenet_v2",
)  # to export; kinds of blocks that others have


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in BACKBONES.names]
)
def test_every_stage_is_the_same_folded_and_by_onnx_runtime(name):
    backbone, hidden = network(name, size_px=SIZES.get(name))
    folded = FrozenStages(backbone.stages, size_px=hidden.shape[-1]).folded
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    with torch.no_grad():
        for stage, module in backbone.stages.items():
            expected = module(hidden)
            assert expected.std() > 1e-4, stage
            assert cosine(folded[stage](hidden), expected) >= 0.9999, stage
            if sum(parameter.numel() for parameter in module.parameters()) < MAX_VALUES:
                assert cosine(OnnxSession(module, tuple(hidden.shape[1:]))(hidden), expected) >= 0.9999, stage
            hidden = expected
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "efficientnet_lite0", "mobilenet_v3_small", "bundled_vgg"]
)
def test_both_engines_predict_the_same_for_a_hundred_images(name):
    backbone, images = network(name, 100, 48)
    with torch.no_grad():
        expected = torch.cat([backbone(part) for part in images.split(25)])
    assert len(set(expected.argmax(1).tolist())) > 5  # a network that always says the same would agree with anything
    for engine_name in ("torch", "onnx"):
        frozen = FrozenStages(backbone.stages, size_px=48, engine=engine_name)
        found = torch.cat([frozen.forward_until(part, "logits") for part in images.split(25)])
        assert frozen.engine == engine_name
        assert torch.equal(found.argmax(1), expected.argmax(1))
        assert cosine(found, expected) >= 0.9999


def test_batchnorm_is_folded_away_and_its_statistics_stay_at_hand():
    backbone, images = network("mobilenet_v2")
    folded = FrozenStages(backbone.stages, size_px=images.shape[-1]).folded
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in stages.modules()) for stages in (backbone.stages, folded)]
    assert norms == [52, 0]
    first = next(module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert float(first.running_var.std()) > 0


def test_a_convolution_whose_output_is_read_twice_keeps_its_batchnorm():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)

        def forward(self, x):
            h = self.conv(x)
            return self.norm(h) + h

    stages = torch.nn.ModuleDict({"twice": Twice()})
    images = torch.randn(4, 3, 8, 8)
    set_batchnorm_statistics(stages["twice"], 3 * images + 1)
    stages.eval()
    found = FrozenStages(stages, size_px=8).forward_until(images, "twice")
    assert found == pytest.approx(stages["twice"](images).detach(), abs=1e-5)


def test_stages_behind_the_last_frozen_one_run_on_torch(monkeypatch):
    backbone, images = network("mobilenet_v3_small")
    frozen = FrozenStages(backbone.stages, size_px=images.shape[-1], engine="onnx", last="block2")
    with torch.no_grad():
        for stage in ("block1", "block2", "block5", "logits"):
            expected = backbone.forward_until(images, stage)
            assert frozen.forward_until(images, stage) == pytest.approx(expected, rel=1e-3, abs=1e-3), stage
    assert sorted(frozen._sessions) == [("block1",), ("block2",)]


def test_what_cannot_be_exported_is_computed_by_torch(caplog, capfd):
    class Strange(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x).flatten(1)

    with pytest.raises(EngineUnavailable, match="the network cannot be exported"):
        OnnxSession(Strange(), (3, 8, 8))
    stages, images = torch.nn.ModuleDict({"strange": Strange()}), torch.randn(2, 3, 8, 8)
    frozen = FrozenStages(stages, size_px=8, engine="onnx")
    with caplog.at_level(logging.WARNING):
        found = frozen.forward_until(images, "strange")
    assert torch.equal(found, stages["strange"](images))
    assert frozen.engine == "torch"
    assert capfd.readouterr().out == ""  # where a command prints its JSON
    assert "torch computes the frozen stages instead of ONNX Runtime: the network cannot be exported" in caplog.text


def test_torch_hears_a_stop_between_stages():
    backbone, images = network("mobilenet_v3_small")
    frozen, calls = FrozenStages(backbone.stages, size_px=images.shape[-1]), []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Stopped("now")

    with pytest.raises(Stopped, match="now"):
        frozen.forward_until(images, "logits", check)
