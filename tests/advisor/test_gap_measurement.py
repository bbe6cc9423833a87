from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib.advisor import gap_measurement
from lib.advisor.gap import PHOTOGRAPHS, RUNNING
from lib.advisor.gap_measurement import measure_anchors, measure_gap, photograph_crops, shipped_eyes
from lib.advisor.measurement import advise
from lib.errors import WeightsUnavailable
from lib.models.backbone_spec import StageSpec
from lib.models.backbones import BACKBONES
from lib.models.stages import Backbone
from lib.training.config import TrainConfig
from tests.features.tiny_dataset import TinyDataset


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = BACKBONES.get("bundled_vgg")
    monkeypatch.setitem(BACKBONES._specs, spec.name, replace(spec, input_size_px=32))
    monkeypatch.setattr(gap_measurement, "photograph_crops", lambda _: photographs(8))
    monkeypatch.setattr(gap_measurement, "shipped_eyes", lambda _: np.full((2, 32, 32, 3), 40, np.uint8))
    monkeypatch.setattr(gap_measurement, "NUM_NOISE", 2)
    monkeypatch.setattr(gap_measurement, "SIDE_PX", 32)


def photographs(number: int) -> list[np.ndarray]:
    """Smooth pictures, three pieces of each."""
    random = np.random.default_rng(3)
    coarse = random.integers(0, 256, (number, 3, 4, 4, 3)).astype(np.uint8)
    return list(coarse.repeat(8, 2).repeat(8, 3))


def test_the_distances_are_the_advisors_and_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TinyDataset(num_images=40)
    steps = []
    found = measure_gap(dataset, "bundled_vgg", progress=lambda *step: steps.append(step))
    advice = advise(dataset, TrainConfig(dataset="tiny", backbone="bundled_vgg"))
    assert found.source == RUNNING
    assert [(one.stage, one.distance) for one in found.stages] == [
        (one.stage, pytest.approx(one.distance) if one.distance else None) for one in advice.readings.stages
    ]
    assert found.distance == pytest.approx(advice.readings.distance)
    assert (found.num_images, found.least_per_class) == (advice.readings.num_sampled, advice.readings.least_per_class)
    assert (found.num_photographs, found.num_crops, found.num_eyes, found.num_noise) == (8, 24, 2, 2)
    assert any("photographs, once" in what for _, _, what in steps)
    known = [one for one in found.stages if one.distance is not None]
    assert all(one.num_channels and one.shift is not None and one.noise is not None for one in known)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("built again")

    # A second data set asks for no anchors; the same one asks for nothing.
    monkeypatch.setattr(gap_measurement, "measure_anchors", refuse)
    assert measure_gap(replace_version(dataset), "bundled_vgg").distance == pytest.approx(found.distance)
    monkeypatch.setattr(gap_measurement, "build_backbone", refuse)
    assert measure_gap(dataset, "bundled_vgg") == found


def replace_version(dataset: TinyDataset) -> TinyDataset:
    other = TinyDataset(num_images=dataset.num_images)
    other.version = "v2"
    return other


def test_weights_that_are_not_here_are_one_sentence() -> None:
    with pytest.raises(WeightsUnavailable, match="resnet18"):
        measure_gap(TinyDataset(num_images=40), "resnet18")


class Tripled(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 3 * images


class AsTokens(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(2).transpose(1, 2)
        return torch.cat([torch.full_like(tokens[:, :1], 1e6), tokens], dim=1)  # a class token that must not count


class FirstToken(nn.Module):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 0]


@pytest.fixture
def without_norm() -> Backbone:
    """A network without BatchNorm whose stages put out a map, tokens and a vector."""
    stages = (
        StageSpec("map", "Map", "map", 3), StageSpec("tokens", "Tokens", "tokens", 3, num_prefix_tokens=1),
        StageSpec("head", "Head", "vector", 3),
    )  # fmt: skip
    spec = replace(
        BACKBONES.get("bundled_vgg"), stages=stages, feature_stage="tokens", input_size_px=32, mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0), pooling="average",
    )  # fmt: skip
    modules = nn.ModuleDict({"map": Tripled(), "tokens": AsTokens(), "head": FirstToken()})
    network = Backbone(spec, modules, weights="pretrained")
    network.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    return network


def test_without_batchnorm_photographs_are_the_source(without_norm: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = measure_anchors(without_norm, side_px=32)
    assert set(anchors.source) == {"map", "tokens"}  # a vector has no places
    pixels = np.concatenate(photographs(8)) / 255
    means, variances = anchors.source["map"]
    assert means == pytest.approx(3 * pixels.mean((0, 1, 2)), rel=1e-3)
    assert variances == pytest.approx(9 * pixels.var((0, 1, 2)), rel=1e-3)
    assert anchors.source["tokens"][0] == pytest.approx(means, rel=1e-4)
    assert 0 < anchors.photographs["map"] < 1  # one half of them from the other
    assert anchors.eyes["map"] > 1  # all alike: no variance at all

    monkeypatch.setattr(gap_measurement, "build_backbone", lambda *_, **__: without_norm)
    dataset = TinyDataset(num_images=40)
    found = measure_gap(dataset, "bundled_vgg")
    assert found.source == PHOTOGRAPHS
    assert [one.stage for one in found.stages] == ["map", "tokens"]
    assert found.stages[0].distance == pytest.approx(found.stages[1].distance, rel=1e-3)

    coarse = replace(anchors, photographs={**anchors.photographs, "tokens": anchors.noise["tokens"]})
    monkeypatch.setattr(gap_measurement, "_anchors", lambda *_: coarse)
    found = measure_gap(TinyDataset(num_images=40), "bundled_vgg", split_seed=1)
    assert [one.place is None for one in found.stages] == [False, True]


def test_photographs_and_eyes_at_hand() -> None:
    crops = photograph_crops(16)
    assert len(crops) >= 10
    assert {piece.shape for piece in crops} == {(3, 16, 16, 3)}
    assert np.array_equal(crops[0], photograph_crops(16)[0])
    assert shipped_eyes(16).shape[1:] == (16, 16, 3)


def test_eyes_that_were_left_out_are_no_anchor(monkeypatch: pytest.MonkeyPatch, without_norm: Backbone) -> None:
    monkeypatch.setattr(gap_measurement, "shipped_eyes", lambda _: np.empty((0, 32, 32, 3), np.uint8))
    found = measure_anchors(without_norm, side_px=32)
    assert (found.num_eyes, found.eyes) == (0, {})
